/** The keys of the HTTP proxy on the gateway. */
import { ProxyUrlError, parseUpstreamSetting, type UpstreamSetting } from "@hostd/httpproxy";
import * as z from "zod";
import { DEFAULTS } from "./defaults.ts";
import { expecting, key, oneOf, text } from "./key-schema.ts";
import { FLAG_GROUPS, path, yesOrNo } from "./schema-values.ts";
import { ValueError } from "./values.ts";

/** What becomes of a connection that cannot be looked into, or of a request as long as a PAC script fails. */
export const PROXY_FALLBACKS = ["direct", "refuse"] as const;

export type ProxyFallback = (typeof PROXY_FALLBACKS)[number];

/** Ports whose connections are looked into. */
export type TransparentPorts = "none" | "all" | readonly number[];

/** Where requests go, with the text that it was written as. */
export interface WrittenUpstream {
  readonly setting: UpstreamSetting;
  /** With credentials, if there are any. */
  readonly text: string;
}

const UPSTREAM_FORM =
  "a proxy such as http://proxy.example:3128, https://, socks5:// or socks5h://, several with commas between, the URL of a " +
  "PAC script with pac+ in front, system or direct";

/** `proxy`: where requests of guests go. */
export const proxySchema = z.strictObject({
  enabled: key(yesOrNo(), {
    description: "Whether the gateway is an HTTP proxy, as http.docker.internal on the ports 3128 and 3129",
    default: "true",
  }),
  upstream: key(text(UPSTREAM_FORM, readUpstream), {
    description:
      "Which way requests take: `system` is what the environment of hostd says (HTTP_PROXY and so on), or else the " +
      "operating system; of several proxies the next one is taken when one fails",
    default: DEFAULTS.proxyUpstream,
    flag: { flags: "--proxy <url>", group: FLAG_GROUPS.proxy },
  }),
  noProxy: key(expecting("a list of hosts as NO_PROXY has it, with commas between", z.string()), {
    description:
      "What goes direct nevertheless: names with their subdomains, addresses, networks such as 10.0.0.0/8, host:port, " +
      "`<local>` for names without a dot, `*` for all",
    default: "nothing but this host itself",
    flag: { flags: "--no-proxy <list>", group: FLAG_GROUPS.proxy },
  }),
  transparentPorts: key(text('ports such as 80,443, "all" or "none"', readTransparentPorts), {
    description:
      "Ports whose connections, wherever they lead, take the same way without the guest's knowing; they are looked into only " +
      "while there is a proxy",
    default: DEFAULTS.proxyTransparentPorts,
    flag: { flags: "--transparent-ports <list>", group: FLAG_GROUPS.proxy },
  }),
  other: key(oneOf(PROXY_FALLBACKS), {
    description: "What becomes of connections to those ports that are neither HTTP nor TLS",
    default: DEFAULTS.proxyOther,
  }),
  pacFailure: key(oneOf(PROXY_FALLBACKS), {
    description: "What becomes of requests as long as a PAC script cannot be had or fails",
    default: DEFAULTS.proxyPacFailure,
  }),
  ca: key(path("file"), {
    description: "A file of certificates (PEM) that proxies at `https://` are checked against",
    default: "those that Node has",
  }),
  credentials: key(path("file"), {
    description:
      "A file with `user:password` in one line, that only its owner may read, for proxies that are named without them, but not " +
      "for those of a PAC script that `upstream` does not name; another password holds for the next request",
    default: "none",
  }),
  via: key(text("a name without spaces such as hostd", readPseudonym), {
    description: "The name under which the proxy writes itself into the field Via of requests and responses",
    default: "nothing is written",
  }),
  vpnkitFile: key(path("file"), {
    description:
      "A JSON file of proxy settings as vpnkit has it, in place of `upstream`, `noProxy` and `transparentPorts`; changes of it " +
      "hold at once",
    default: "none",
  }),
});

function readUpstream(written: string): WrittenUpstream {
  try {
    return { setting: parseUpstreamSetting(written), text: written };
  } catch (error) {
    if (!(error instanceof ProxyUrlError)) throw error;
    throw new ValueError(error.reason);
  }
}

/** Reads `none`, `all` or ports with commas between. */
export function readTransparentPorts(written: string): TransparentPorts {
  const word = written.trim();
  if (word === "none" || word === "all") return word;
  return word.split(",").map((part) => {
    const port = /^\s*\d{1,5}\s*$/.test(part) ? Number(part) : 0;
    if (port < 1 || port > 65_535) throw new ValueError("each is a number from 1 to 65535");
    return port;
  });
}

/** A token (RFC 9110, 7.6.3). */
function readPseudonym(written: string): string {
  if (!/^[!#$%&'*+.^_`|~\w-]{1,64}$/.test(written)) throw new ValueError("");
  return written;
}
