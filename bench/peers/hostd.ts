import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { isListening } from "./installed.ts";
import type { GuestNetwork, Installation, Launch, PeerKind, Start } from "./peer.ts";

const REPOSITORY = join(import.meta.dirname, "..", "..");
const PACKAGE = join(REPOSITORY, "apps", "hostd");

const bundle = pathToFileURL(join(PACKAGE, "bin", "bundle.mjs")).href;
const { isBundleCurrent }: { isBundleCurrent: () => boolean } = await import(bundle);

/** The default subnet. */
const network: GuestNetwork = {
  address: "192.168.65.2",
  prefixLength: 24,
  gateway: "192.168.65.1",
  host: "192.168.65.254",
  resolver: "192.168.65.1",
};

function installations(): Installation[] {
  const manifest: { version: string } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));
  const git = ["-C", REPOSITORY, "describe", "--always", "--dirty", "--exclude=*"];
  const { status, stdout } = spawnSync("git", git, { encoding: "utf8" });
  const version = status === 0 ? `${manifest.version} (${stdout.trim()})` : manifest.version;
  return [{ version, command: [process.execPath, join(PACKAGE, "bin", "hostd.mjs")] }];
}

function launch({ command, mtu, folder, published }: Start): Launch {
  const socket = join(folder, "vm.sock");
  return {
    command: [
      ...command,
      "up",
      ...["--qemu", `unix://${socket}`],
      ...["--mtu", String(mtu)],
      ...["--state", join(folder, "state")],
      ...["--publish", `127.0.0.1:${published.host}:${network.address}:${published.guest}`],
    ],
    isReady: () => isListening(socket),
    socket,
  };
}

/** Makes the bundle that bin/hostd.mjs prefers to the sources, as `npm run` does, if the sources have changed. */
function prepare(): void {
  if (isBundleCurrent()) return;
  const script = join(REPOSITORY, "scripts", "build-bundle.mjs");
  const { status, stderr } = spawnSync(process.execPath, [script], { encoding: "utf8" });
  if (status !== 0) throw new Error(`hostd cannot be bundled: ${stderr.trim().slice(-400)}`);
}

/** This checkout's hostd, as `hostd up` runs it. */
export const hostd: PeerKind = {
  name: "hostd",
  network,
  installations,
  prepare,
  launch,
};
