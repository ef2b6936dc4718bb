/** The network that a peer gives its guest: where the guest finds what. */
export interface GuestNetwork {
  readonly address: string;
  readonly prefixLength: number;
  readonly gateway: string;
  /** At this address the guest reaches the services on the host's loopback. */
  readonly host: string;
  /** The name server, which forwards to the host's own. */
  readonly resolver: string;
}

/** A program that is installed. */
export interface Installation {
  readonly version: string;
  /** The first words of its command line. */
  readonly command: readonly string[];
}

/** A TCP port of the host's loopback that leads to one of the guest. */
export interface PublishedPort {
  readonly host: number;
  readonly guest: number;
}

/** What a peer is started with. */
export interface Start {
  readonly command: readonly string[];
  /** The largest IP packet on the guest's link, in bytes. */
  readonly mtu: number;
  /** An empty folder for sockets and the like, which every user may write to. */
  readonly folder: string;
  /** Path of the guest's network namespace. */
  readonly namespace: string;
  readonly published: PublishedPort;
}

/** How a peer is started. */
export interface Launch {
  readonly command: readonly string[];
  /** A file that the peer gets as descriptor 3, for writing. */
  readonly descriptor?: string;
  /** Whether a VM can attach by now; asked every millisecond. */
  readonly isReady: () => boolean;
  /**
   * The Unix socket with QEMU's framing to which the guest's eth0 is connected. Without one the peer has made the
   * namespace's eth0 itself, with addresses and routes, when it is ready.
   */
  readonly socket?: string;
}

/** A program that is measured. */
export interface PeerKind {
  readonly name: string;
  readonly network: GuestNetwork;
  /** What is installed, in any order. */
  installations(): Installation[];
  /** Does what has to be done before a start and is no part of it. */
  prepare?(): void;
  launch(start: Start): Launch;
  /** Publishes the port of `start` once the peer runs; not needed where the launch did so. */
  publish?(start: Start): Promise<void>;
  /** Why the peer cannot do a measure at an MTU, if it cannot. */
  cannot?(measure: string, mtu: number): string | undefined;
}

/** One version of a program that is measured. */
export interface Peer {
  /** As on the command line: the name, and the version behind "@" unless it is the newest. */
  readonly id: string;
  readonly kind: PeerKind;
  readonly installation: Installation;
}

/**
 * A version as people call it: without Debian's epoch and revision, and a snapshot of a Git repository by its date.
 *
 * @example shortVersion("0.0~git20250503.587980c-2+deb13u1") is "2025-05-03"
 */
export function shortVersion(version: string): string {
  const [, year, month, day] = /git(\d{4})(\d\d)(\d\d)/.exec(version) ?? [];
  if (year !== undefined) return `${year}-${month}-${day}`;
  return version.replace(/^\d+:/, "").replace(/-[^-\s()]*$/, "");
}
