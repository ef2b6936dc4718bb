import { join } from "node:path";
import { isWritten } from "./installed.ts";
import { cannotTakeFragments, commonOptions, network, passtInstallations } from "./passt.ts";
import type { Launch, PeerKind, Start } from "./peer.ts";

function launch(start: Start): Launch {
  const pidFile = join(start.folder, "pid");
  return {
    command: [
      ...start.command,
      ...commonOptions(start),
      // No shortcut between the loopback interfaces of the two sides.
      ...["--tcp-ns", "none"],
      ...["--udp-ns", "none"],
      "--config-net",
      ...["--ns-ifname", "eth0"],
      // As nobody it may not enter a namespace that root has made.
      ...["--runas", "0"],
      ...["--pid", pidFile],
      ...["--netns", start.namespace],
    ],
    // Written when everything is set up.
    isReady: () => isWritten(pidFile),
  };
}

/** passt for a namespace instead of a VM: it makes a TAP device in there. A published port skips the device. */
export const pasta: PeerKind = {
  name: "pasta",
  network,
  installations: () => passtInstallations("pasta"),
  launch,
  cannot: cannotTakeFragments,
};
