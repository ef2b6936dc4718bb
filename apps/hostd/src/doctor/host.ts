/** What the checks see of this host and of the hostd that runs on it. Tests hand in another. */
import type { Policy, ServerAddress } from "@hostd/dns";
import type { TcpAddress, UnixAddress } from "@hostd/frontends";
import type { SettingsReport } from "@hostd/httpproxy";
import type { ForwardRule } from "@hostd/portfwd";
import type { HostEnvironment } from "../config/environment.ts";
import type { HostdConfig } from "../config/resolve.ts";
import type { StoredContext } from "../docker/context-store.ts";
import type { HostRoute } from "../subnet-clash.ts";
import type { Finding } from "./finding.ts";
import type { RunningHostd } from "./running-hostd.ts";

/** A file as it is, a link not followed. */
export interface FileStatus {
  readonly kind: "folder" | "socket" | "other";
  /** The permissions, as 0o700. */
  readonly mode: number;
  readonly userId: number;
}

export interface HttpReply {
  readonly status: number;
  readonly body: string;
}

/** None of these takes longer than {@link PROBE_TIME}. What fails rejects with the system's error. */
export interface Host extends HostEnvironment {
  readonly platform: NodeJS.Platform;
  readonly arch: string;
  /** Without a `v` in front. */
  readonly nodeVersion: string;
  /** How many files this process may have open. */
  readonly openFiles: number;
  readFile(path: string): Promise<string>;
  /** Null when there is nothing. */
  lookAt(path: string): Promise<FileStatus | null>;
  /** Whether files can be made in a folder. */
  canWriteIn(folder: string): Promise<boolean>;
  /** What a program writes to standard output. */
  run(program: string, args: readonly string[]): Promise<string>;
  get(address: UnixAddress | TcpAddress, path: string): Promise<HttpReply>;
  /**
   * Writes text to a Unix socket, and more when something has come back; gives all that comes until it ends.
   *
   * @param time - how long that may take, in milliseconds; {@link PROBE_TIME} unless given.
   */
  exchange(path: string, first: string, second: string, time?: number): Promise<string>;
  /** Connects to a Unix socket and goes. */
  connect(path: string): Promise<void>;
  /** The paths of the Unix sockets that are listened on; null where the system does not tell. */
  listeningSockets(): ReadonlySet<string> | null;
  /** Listens for a moment as hostd would; rejects with what hostd would say. */
  tryForward(config: HostdConfig, rule: ForwardRule): Promise<void>;
  /** Why there are no system calls beyond those of Node; null when there are. */
  whyNoSystemCalls(): string | null;
  /** Opens a socket for pings and closes it: null when that works, otherwise the error's name and a sentence. */
  tryPing(): { readonly code: string | null; readonly reason: string } | null;
  routes(): readonly HostRoute[];
  /** A context of the docker command; null when there is none of that name. */
  findDockerContext(name: string): Promise<StoredContext | null>;
  /** The name of the context that the docker command uses, unless its environment says otherwise. */
  currentDockerContext(): Promise<string>;
  /** The name servers that hostd would ask. */
  namePolicy(config: HostdConfig): Promise<Policy>;
  /** The proxies that hostd would use, by its configuration and what this host has set. */
  proxySettings(config: HostdConfig): Promise<SettingsReport>;
  /** Why no credentials can be taken from a file; null when they can. */
  whyNoCredentials(path: string): string | null;
  /** Connects and goes. */
  connectTcp(address: TcpAddress): Promise<void>;
  /** Asks a name server for those of the root; what it answered, such as `NOERROR`. */
  askNameServer(server: ServerAddress): Promise<string>;
}

/** How long one look may take, in milliseconds. */
export const PROBE_TIME = 1500;

/** What is checked. */
export interface Subject {
  readonly config: HostdConfig;
  /** The file that the configuration is from, if any. */
  readonly configFile: string | undefined;
  readonly hostd: RunningHostd;
}

/** Looks at one thing, which may be several of a kind, or nothing that there is here. */
export type Check = (host: Host, subject: Subject) => readonly Finding[] | Promise<readonly Finding[]>;
