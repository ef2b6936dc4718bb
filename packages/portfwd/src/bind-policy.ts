import { BlockList, isIP, isIPv6 } from "node:net";
import { type ForwardRule, formatListen, isSocketPath } from "./forward-rule.ts";
import { canonicalHost } from "./host-address.ts";

/** Who asks for a forward: the user of this host, or a guest by way of the gateway. */
export type Requester = "host" | "guest";

/** Addresses of the host and ports on them that may be listened on. */
export interface BindRange {
  /** An address, a network in CIDR form, or null for every address. */
  readonly address: string | null;
  readonly firstPort: number;
  readonly lastPort: number;
}

/** A forward that is not allowed. Nothing was listened on. */
export class BindRefusedError extends Error {
  override readonly name = "BindRefusedError";
}

/** Which addresses and ports of the host forwards may listen on, by who asks. What the host may not, a guest may not. */
export class BindPolicy {
  readonly #allowed: Readonly<Record<Requester, readonly Rule[]>>;

  constructor(allowed: Readonly<Record<Requester, readonly BindRange[]>>) {
    this.#allowed = { host: allowed.host.map(makeRule), guest: allowed.guest.map(makeRule) };
  }

  /**
   * Checks what a forward wants to listen on.
   *
   * @throws {BindRefusedError} with what is allowed.
   */
  check({ listen, to }: ForwardRule, requester: Requester): void {
    if (isSocketPath(listen)) {
      if (requester === "host") return;
      throw new BindRefusedError(`${formatListen(listen)}: a guest may not have sockets of this host's files`);
    }
    // A key of the host's user opens the connection then.
    if (requester === "guest" && "path" in to) {
      throw new BindRefusedError("a guest may not use SSH keys of this host");
    }
    const { host, port } = listen;
    const reason =
      this.whyRefused(host, port, port) ?? (requester === "guest" ? this.#why(host, port, port, "guest") : null);
    if (reason !== null) throw new BindRefusedError(reason);
  }

  /**
   * Says why the user of this host may listen on none of some ports of an address.
   *
   * @param host - an IP address; empty for every address.
   * @returns null when one of them may be listened on.
   */
  whyRefused(host: string, firstPort: number, lastPort: number): string | null {
    return this.#why(host, firstPort, lastPort, "host");
  }

  #why(host: string, firstPort: number, lastPort: number, requester: Requester): string | null {
    const where = formatBindRange({ address: host === "" ? null : host, firstPort, lastPort });
    const canonical = canonicalHost(host);
    // A name could become any address.
    if (canonical !== "" && isIP(canonical) === 0) return `${where}: not an IP address`;
    const rules = this.#allowed[requester];
    if (rules.some((rule) => rule.overlaps(canonical, firstPort, lastPort))) return null;
    const allowed = rules.length === 0 ? "nothing" : rules.map(({ text }) => text).join(", ");
    return `listening on ${where} is not allowed; allowed: ${allowed}`;
  }
}

interface Rule {
  readonly text: string;
  /**
   * Whether it has one of some ports of an address.
   *
   * @param host - in canonical form.
   */
  overlaps(host: string, first: number, last: number): boolean;
}

/** Writes a range as it is configured: `127.0.0.1:1024-65535`, `[::1]:80`, `any:8080`, `10.0.0.0/8`. */
export function formatBindRange({ address, firstPort, lastPort }: BindRange): string {
  const host = address === null ? "any" : address.includes(":") ? `[${address}]` : address;
  if (firstPort === 0 && lastPort === 65_535) return host;
  return firstPort === lastPort ? `${host}:${firstPort}` : `${host}:${firstPort}-${lastPort}`;
}

function makeRule(range: BindRange): Rule {
  const { address, firstPort, lastPort } = range;
  const text = formatBindRange(range);
  const hasPort = (first: number, last: number) => last >= firstPort && first <= lastPort;
  if (address === null) return { text, overlaps: (_, first, last) => hasPort(first, last) };
  const addresses = new BlockList();
  const [network, prefix] = address.split("/");
  const family = familyOf(network);
  addresses.addSubnet(network, prefix === undefined ? (family === "ipv6" ? 128 : 32) : Number(prefix), family);
  const any = family === "ipv6" ? "::" : "0.0.0.0";
  const isEvery = prefix === undefined ? canonicalHost(network) === any : prefix === "0";
  const every = isEvery ? any : null;
  return {
    text,
    overlaps: (host, first, last) => {
      if (!hasPort(first, last)) return false;
      // Every address is more than any one of them: it is only allowed by name, that of IPv6 being for both families.
      if (host === "" || host === "::") return every === "::";
      if (host === "0.0.0.0") return every === "0.0.0.0" || every === "::";
      return addresses.check(host, familyOf(host));
    },
  };
}

function familyOf(address: string): "ipv4" | "ipv6" {
  return isIPv6(address) ? "ipv6" : "ipv4";
}
