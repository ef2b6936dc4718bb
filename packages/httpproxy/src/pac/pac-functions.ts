import { isIP, isIPv4 } from "node:net";
import { domainToASCII } from "node:url";
import { sandbox } from "pac-resolver";
import { dateRange } from "./date-range.ts";
import { OWN_ADDRESS } from "./pac-protocol.ts";
import { matchesShellExpression } from "./shell-expression.ts";

/** What passes between a script and the functions that it calls. */
export type PacValue = string | number | boolean | null | undefined;
export type PacFunction = (...args: readonly PacValue[]) => PacValue;

/** The longest name of a host, in characters (RFC 1035, 2.3.4). */
const MAX_NAME = 253;
/** What the parser of URLs takes for the end of a host, or decodes. */
const NO_NAME = /[/?#@\\%:[\]]/;

export interface PacFunctionsOptions {
  /** The IPv4 address of a name, or of this host for {@link OWN_ADDRESS}. What it throws is passed on to the script. */
  readonly addressOf: (name: string) => string | null;
  readonly alert: (text: string) => void;
}

/**
 * The functions of PAC scripts, as Netscape described them and browsers have them. None blocks or waits. pac-resolver's
 * are taken as far as they do what they should: it has no `dateRange`, makes regular expressions of what `shExpMatch`
 * gets, takes IPv6 addresses for plain names, and answers what needs the DNS with a promise.
 */
export function pacFunctions({ addressOf, alert }: PacFunctionsOptions): Readonly<Record<string, PacFunction>> {
  const resolve = (host: PacValue): string | null => {
    const text = String(host ?? "");
    if (isIP(text) !== 0) return isIPv4(text) ? text : null;
    const name = text.length > MAX_NAME || NO_NAME.test(text) ? "" : domainToASCII(text);
    if (name === "" || name.length > MAX_NAME) return null;
    // The URL Standard's other ways to write an IPv4 address have become the usual one.
    return isIPv4(name) ? name : addressOf(name);
  };
  // Its arguments are checked by the function itself.
  const weekdayRange = sandbox.weekdayRange as PacFunction;
  return {
    dnsDomainIs: (host, domain) => sandbox.dnsDomainIs(String(host), String(domain)),
    dnsDomainLevels: (host) => sandbox.dnsDomainLevels(String(host)),
    localHostOrDomainIs: (host, domain) => sandbox.localHostOrDomainIs(String(host), String(domain)),
    timeRange: sandbox.timeRange,
    weekdayRange,
    dateRange: (...args) => dateRange(args, new Date()),
    isPlainHostName: (host) => !/[.:]/.test(String(host)),
    shExpMatch: (text, pattern) => matchesShellExpression(String(text), String(pattern)),
    dnsResolve: resolve,
    isResolvable: (host) => resolve(host) !== null,
    isInNet: (host, network, mask) => {
      const base = toNumber(String(network));
      const bits = toNumber(String(mask));
      if (base === null || bits === null) return false;
      const address = toNumber(resolve(host) ?? "");
      return address !== null && (address & bits) === (base & bits);
    },
    myIpAddress: () => addressOf(OWN_ADDRESS) ?? "127.0.0.1",
    alert: (text) => {
      alert(String(text));
      return undefined;
    },
  };
}

/** An IPv4 address as 32 bits. */
function toNumber(address: string): number | null {
  return isIPv4(address) ? address.split(".").reduce((sum, octet) => (sum << 8) | Number(octet), 0) : null;
}
