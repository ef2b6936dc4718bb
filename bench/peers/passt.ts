import { readFileSync } from "node:fs";
import { join } from "node:path";
import { installationsOf, isListening } from "./installed.ts";
import type { GuestNetwork, Installation, Launch, PeerKind, Start } from "./peer.ts";

/**
 * passt and pasta copy the host's own address to the guest, and let the gateway's address stand for the host's loopback;
 * these are the addresses of the benchmark's host.
 */
export const network: GuestNetwork = {
  address: "192.0.2.1",
  prefixLength: 24,
  gateway: "192.0.2.254",
  host: "192.0.2.254",
  resolver: "192.0.2.253",
};

/** Where passt, or pasta, which is in the same package, is installed. */
export function passtInstallations(program: "passt" | "pasta"): Installation[] {
  // It would replace itself by its variant for newer processors, but does not find that when it is run by a loader.
  const hasAvx2 = / avx2 /.test(readFileSync("/proc/cpuinfo", "utf8"));
  return installationsOf({
    package: "passt",
    program,
    ...(hasAvx2 && { fetchedProgram: `${program}.avx2` }),
    versionArguments: ["--version"],
    versionPattern: /^pass?ta? (\S+)/m,
  });
}

/** The options that both programs have in common. */
export function commonOptions({ mtu, published }: Start): string[] {
  return [
    "--foreground",
    "--ipv4-only",
    ...["--mtu", String(mtu)],
    ...["--tcp-ports", `127.0.0.1/${published.host}:${published.guest}`],
    ...["--udp-ports", "none"],
    ...["--dns-forward", network.resolver],
  ];
}

/** "Out of scope" by their documentation. */
export function cannotTakeFragments(measure: string, mtu: number): string | undefined {
  return measure === "udp-up-8000" && mtu < 8028 ? "it does not take fragments" : undefined;
}

function launch(start: Start): Launch {
  const socket = join(start.folder, "vm.sock");
  return {
    command: [...start.command, ...commonOptions(start), "--socket", socket],
    isReady: () => isListening(socket),
    socket,
  };
}

/** passt.top: C, translates between frames and sockets without a TCP of its own. Started as root it turns into nobody. */
export const passt: PeerKind = {
  name: "passt",
  network,
  installations: () => passtInstallations("passt"),
  launch,
  cannot: cannotTakeFragments,
};
