import { isIP } from "node:net";
import { PolledFile } from "@hostd/host";
import { formatIpv4, type Ipv4 } from "@hostd/stack";
import type { Answer } from "dns-packet";
import type { DnsLogger } from "../logger.ts";
import { Class, type Query, Rcode, Type } from "../message.ts";
import { buildResponse } from "../response.ts";
import { canonicalAddress, reverseAddress } from "../zones/reverse-names.ts";
import type { HostNames } from "./host-names.ts";

/** Where the host keeps it (hosts(5)). */
export const HOSTS_PATH = "/etc/hosts";

/** How long an answer may be kept, in seconds: short, because the file may change. */
const TTL = 10;
/** The largest file that is read, in bytes. Lists that block names have some megabytes. */
const MAX_SIZE = 32 * 1024 * 1024;
/** The most addresses of one name and family; more are left out. */
const MAX_ADDRESSES = 64;
/** What the usual systems write beside `localhost`, in any of its forms. */
const WHOEVER_ASKS = /^(?:ip6-)?(?:localhost|loopback)[46]?(?:\.localdomain[46]?)?$/;

export interface HostsFileOptions {
  /** The file; {@link HOSTS_PATH} when it is not given. */
  readonly path?: string;
  /** What a loopback address of the file means to a guest: the address that stands for the host. */
  readonly host: Ipv4;
  readonly logger?: DnsLogger;
  /** The time in milliseconds, from any start on. */
  readonly now?: () => number;
}

/** The addresses of a name. */
interface Addresses {
  readonly ipv4: string[];
  readonly ipv6: string[];
}

/** What a hosts file says. */
export interface HostsTable {
  /** By the name in lower case. */
  readonly addresses: ReadonlyMap<string, Addresses>;
  /** The first name of an address, as the file writes it. */
  readonly names: ReadonlyMap<string, string>;
}

const EMPTY: HostsTable = { addresses: new Map(), names: new Map() };

/**
 * Reads the text of a hosts file. What does not fit is left out, as libc leaves it out.
 *
 * @param host - the IPv4 address that stands in for every loopback address, of IPv6 too: the guest reaches the host by
 * IPv4.
 */
export function parseHosts(text: string, host: string): HostsTable {
  const addresses = new Map<string, Addresses>();
  const names = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [written, ...found] = line.split("#", 1)[0].trim().split(/\s+/);
    const family = isIP(written);
    if (family === 0 || written.includes("%")) continue;
    let address = canonicalAddress(written);
    const isLoopback = family === 4 ? address.startsWith("127.") : address === "::1";
    if (isLoopback) address = host;
    for (const name of found) {
      const plain = name.endsWith(".") ? name.slice(0, -1) : name;
      const key = plain.toLowerCase();
      // What is no name could not be asked for.
      if (!isName(key) || isWhoeverAsks(key)) continue;
      const known = addresses.get(key) ?? { ipv4: [], ipv6: [] };
      const list = family === 4 || isLoopback ? known.ipv4 : known.ipv6;
      if (list.length < MAX_ADDRESSES && !list.includes(address)) list.push(address);
      addresses.set(key, known);
      // The address of the host has names of its own.
      if (!isLoopback && !names.has(address)) names.set(address, plain);
    }
  }
  return { addresses, names };
}

/** The names of the host's own hosts file, which is followed within a second. */
export class HostsFile implements HostNames {
  readonly #file: PolledFile;
  readonly #host: string;
  readonly #logger: DnsLogger | undefined;
  #table = EMPTY;

  constructor({ path = HOSTS_PATH, host, logger, now = () => performance.now() }: HostsFileOptions) {
    this.#file = new PolledFile(path, now, { maxSize: MAX_SIZE });
    this.#host = formatIpv4(host);
    this.#logger = logger;
  }

  get source(): string {
    return this.#file.path;
  }

  /** How many names it has. */
  get size(): number {
    this.#follow();
    return this.#table.addresses.size;
  }

  answer(query: Query): Uint8Array | null {
    this.#follow();
    const { labels, name, type, class: asked } = query.question;
    if (asked !== Class.IN) return null;
    if (type === Type.PTR) {
      const address = reverseAddress(labels);
      const data = address === null ? undefined : this.#table.names.get(address);
      return data === undefined
        ? null
        : buildResponse(query, { rcode: Rcode.NOERROR, answers: [{ type: "PTR", name, ttl: TTL, data }] });
    }
    if (type !== Type.A && type !== Type.AAAA) return null;
    const addresses = this.#table.addresses.get(labels.join("."));
    if (addresses === undefined) return null;
    const answers =
      type === Type.A
        ? addresses.ipv4.map((data): Answer => ({ type: "A", name, ttl: TTL, data }))
        : addresses.ipv6.map((data): Answer => ({ type: "AAAA", name, ttl: TTL, data }));
    return buildResponse(query, { rcode: Rcode.NOERROR, answers });
  }

  #follow(): void {
    const state = this.#file.changed();
    if (state === null) return;
    const { path } = this.#file;
    if (state.kind === "unreadable") {
      if (state.isMissing) this.#table = EMPTY;
      else this.#logger?.warn({ path, reason: state.reason }, "cannot read the hosts file");
      return;
    }
    this.#table = parseHosts(state.text, this.#host);
    this.#logger?.debug({ path, names: this.#table.addresses.size }, "hosts file read");
  }
}

function isName(name: string): boolean {
  return (
    name.length <= 253 && /^[\x21-\x7e]+$/.test(name) && name.split(".").every((label) => /^[^.\\]{1,63}$/.test(label))
  );
}

/** Whether a name means the machine that asks, and so nothing that this host could say. */
function isWhoeverAsks(name: string): boolean {
  return WHOEVER_ASKS.test(name) || name.endsWith(".localhost");
}
