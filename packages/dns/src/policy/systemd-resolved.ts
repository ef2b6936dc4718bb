/** The name servers of a Linux host whose look-ups go through systemd-resolved. */
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { readFileSync, statSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { hostCommands, type RunCommand } from "@hostd/host";
import type { DnsLogger } from "../logger.ts";
import { ID_COUNT, isAnswerTo, setMessageId, Type } from "../message.ts";
import { newQuery } from "../query.ts";
import type { ServerAddress } from "../server-address.ts";
import { BackgroundReader } from "./background-reader.ts";
import type { Policy } from "./policy.ts";
import { parseResolvConf } from "./resolv-conf.ts";
import { ResolvConfFile } from "./resolv-conf-file.ts";
import { parseLink, parseManager, type ResolvedLink, resolvedPolicy } from "./resolved-properties.ts";
import { unlessChanged } from "./same-policy.ts";

/** Where systemd-resolved keeps what it tells other programs. */
export const RESOLVED_FOLDER = "/run/systemd/resolve";

/** Milliseconds after which it is asked again though nothing seems to have changed. */
const MAX_AGE = 30_000;
/** How long the stub may take for an answer that it knows by itself, in milliseconds. */
const STUB_TIMEOUT = 1000;

const BUS_NAME = "org.freedesktop.resolve1";
const OBJECT = "/org/freedesktop/resolve1";

export interface SystemdResolvedOptions {
  /** {@link RESOLVED_FOLDER} when it is not given. */
  readonly folder?: string;
  readonly logger?: DnsLogger;
  /** The time in milliseconds, from any start on. */
  readonly now?: () => number;
  /** Runs busctl. */
  readonly run?: RunCommand;
  /** Whether a server answers; rejects when it neither answers nor refuses. */
  readonly answers?: (server: ServerAddress, signal: AbortSignal) => Promise<boolean>;
  /** The links that are up, with their addresses. */
  readonly interfaces?: () => object;
  /** The names of the links by their index. */
  readonly linkNames?: () => Promise<ReadonlyMap<number, string>>;
}

/** What is known about systemd-resolved. */
export type ResolvedState =
  /** Nothing yet. */
  | { readonly kind: "unknown" }
  /** It does not run. */
  | { readonly kind: "absent" }
  /** Its stub listens, so that asking that one server keeps its routing, LLMNR and mDNS. */
  | { readonly kind: "stub"; readonly policy: Policy }
  /** It has no stub: these are the servers and domains of its links. */
  | { readonly kind: "links"; readonly policy: Policy };

type Found =
  | { readonly kind: "absent" }
  | { readonly kind: "stub" }
  | { readonly kind: "links"; readonly policy: Policy };

/** Whether a server is a stub of systemd-resolved (systemd-resolved.service(8)). */
export function isStub({ address, port }: ServerAddress): boolean {
  return (address === "127.0.0.53" || address === "127.0.0.54") && port === 53;
}

/**
 * Follows systemd-resolved. Changes are noticed by the files that it and systemd-networkd replace, and by the addresses
 * of the links; only then its properties are read, by processes that the caller does not wait for.
 */
export class SystemdResolved {
  readonly #folder: string;
  readonly #run: RunCommand;
  readonly #options: SystemdResolvedOptions;
  readonly #stubFile: ResolvConfFile;
  readonly #reader: BackgroundReader<Found>;
  #policy: Policy | null = null;

  constructor(options: SystemdResolvedOptions = {}) {
    const { folder = RESOLVED_FOLDER, logger, now = () => performance.now(), run = hostCommands().run } = options;
    this.#folder = folder;
    this.#run = run;
    this.#options = options;
    const path = join(folder, "stub-resolv.conf");
    this.#stubFile = new ResolvConfFile({ path, now, ...(logger && { logger }) });
    this.#reader = new BackgroundReader({
      read: (signal) => this.#read(signal),
      version: () => this.#version(),
      maxAge: MAX_AGE,
      now,
      onFailure: (reason) => logger?.warn({ reason }, "cannot read the servers of systemd-resolved"),
    });
  }

  /** What was found out last. A policy is the same object until something has changed. */
  current(): ResolvedState {
    const found = this.#reader.current();
    if (found === null) return { kind: "unknown" };
    // The file is replaced when the routing behind the stub changes, which makes answers that were kept void.
    return found.kind === "stub" ? { kind: "stub", policy: this.#stubFile.current() } : found;
  }

  /** Resolves when what is being found out is known. */
  settled(): Promise<void> {
    return this.#reader.settled();
  }

  close(): void {
    this.#reader.close();
  }

  #version(): string {
    const files = [".", "resolv.conf", "stub-resolv.conf", "netif", "../netif/links"];
    const { interfaces = upLinks } = this.#options;
    return JSON.stringify([files.map((file) => fileVersion(join(this.#folder, file))), interfaces()]);
  }

  async #read(signal: AbortSignal): Promise<Found> {
    if (fileVersion(this.#folder) === null) return { kind: "absent" };
    const { answers = answersQueries } = this.#options;
    // With DNSStubListener=no it is a link to the file of the servers behind.
    const stub = parseResolvConf(textOf(join(this.#folder, "stub-resolv.conf"))).nameservers.find(isStub);
    if (stub !== undefined && (await answers(stub, signal))) return { kind: "stub" };
    try {
      this.#policy = unlessChanged(this.#policy, await this.#readLinks(signal));
      return { kind: "links", policy: this.#policy };
    } catch (error) {
      // Its files stay when it stops.
      if (await this.#isRunning(signal)) throw error;
      return { kind: "absent" };
    }
  }

  async #readLinks(signal: AbortSignal): Promise<Policy> {
    const manager = parseManager(await this.#properties(OBJECT, "Manager", signal));
    const links = new Map<number, ResolvedLink>();
    for (const { ifindex } of manager.servers) {
      if (ifindex === 0 || links.has(ifindex)) continue;
      // sd_bus_path_encode(3) escapes a digit at the start.
      const path = `${OBJECT}/link/_3${ifindex}`;
      links.set(ifindex, parseLink(await this.#properties(path, "Link", signal)));
    }
    const { linkNames = readLinkNames } = this.#options;
    const names = await linkNames();
    return resolvedPolicy(manager, links, (ifindex) => names.get(ifindex) ?? null);
  }

  #properties(object: string, name: string, signal: AbortSignal): Promise<string> {
    const method = ["org.freedesktop.DBus.Properties", "GetAll", "s", `${BUS_NAME}.${name}`];
    return this.#call([BUS_NAME, object, ...method], signal);
  }

  async #isRunning(signal: AbortSignal): Promise<boolean> {
    const bus = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
    return /"data":\[true\]/.test(await this.#call([...bus, "NameHasOwner", "s", BUS_NAME], signal));
  }

  #call(args: readonly string[], signal: AbortSignal): Promise<string> {
    // It is not for us to start it.
    return this.#run(
      { program: "busctl", args: ["--system", "--json=short", "--auto-start=no", "call", ...args] },
      signal,
    );
  }
}

/** Something that is different once the file was replaced or written, or a folder's files; null when it is not there. */
function fileVersion(path: string): string | null {
  try {
    const { dev, ino, mtimeNs } = statSync(path, { bigint: true });
    return `${dev} ${ino} ${mtimeNs}`;
  } catch {
    return null;
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The links that are up and their addresses. */
function upLinks(): object {
  return Object.entries(networkInterfaces()).map(([name, addresses]) => [name, addresses?.map(({ cidr }) => cidr)]);
}

async function readLinkNames(): Promise<ReadonlyMap<number, string>> {
  const folder = "/sys/class/net";
  const names = new Map<number, string>();
  for (const name of await readdir(folder)) {
    try {
      names.set(Number(await readFile(join(folder, name, "ifindex"), "utf8")), name);
    } catch {
      // The link is gone, or the file is none of a link.
    }
  }
  return names;
}

/** Asks a stub for a name that it knows by itself (systemd-resolved.service(8), "Synthetic records"). */
async function answersQueries({ address, port }: ServerAddress, signal: AbortSignal): Promise<boolean> {
  const query = newQuery("localhost", Type.A);
  const id = randomInt(ID_COUNT);
  const message = Uint8Array.from(query.message);
  setMessageId(message, id);
  const socket = createSocket({ type: "udp4", signal });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`${address} does not answer`)), STUB_TIMEOUT);
      socket.on("message", (answer) => {
        if (isAnswerTo(answer, query, id)) resolve(true);
      });
      // A port where nobody listens is an error of a connected socket.
      socket.on("error", () => resolve(false));
      signal.addEventListener("abort", () => resolve(false));
      socket.once("connect", () => socket.send(message));
      socket.connect(port, address);
    });
  } finally {
    clearTimeout(timer);
    // An abort has closed it.
    if (!signal.aborted) socket.close();
  }
}
