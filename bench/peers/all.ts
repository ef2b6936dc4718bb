import { gvproxy } from "./gvproxy.ts";
import { hostd } from "./hostd.ts";
import { passt } from "./passt.ts";
import { pasta } from "./pasta.ts";
import { type Installation, type Peer, type PeerKind, shortVersion } from "./peer.ts";
import { slirp4netns } from "./slirp4netns.ts";

/** All programs that can be measured, in the order of the table. */
export const PEER_KINDS: readonly PeerKind[] = [hostd, gvproxy, passt, pasta, slirp4netns];

/** What is installed of a program, the newest version first. */
export function peersOf(kind: PeerKind, installations: readonly Installation[] = kind.installations()): Peer[] {
  return installations
    .toSorted((a, b) => b.version.localeCompare(a.version, "en", { numeric: true }))
    .map((installation, index) => {
      const id = index === 0 ? kind.name : `${kind.name}@${shortVersion(installation.version)}`;
      return { id, kind, installation };
    });
}
