/** Which proxies requests take: what one source of settings says. */
import type { ProxyServer } from "../route.ts";
import type { ExclusionList } from "../settings/exclusion-list.ts";

/** An exclusion list and where it is from. */
export interface Exclusions {
  readonly list: ExclusionList;
  /** As they were written, without credentials. */
  readonly entries: readonly string[];
  /** For people: `the environment (NO_PROXY)`. */
  readonly from: string;
}

/** The only hosts that may be reached. */
export interface AllowList extends Exclusions {
  /** What is said about others; `%s` stands for the host. */
  readonly message: string;
}

/**
 * Which proxies requests take. One object never changes; other settings are another object.
 *
 * A scheme without a proxy goes direct: what is set for `http` says nothing about `https`, as with curl and Go. Where a
 * source means one proxy for every scheme (`ALL_PROXY`, SOCKS of an operating system), it is in both lists.
 */
export interface ProxySettings {
  /** For requests, to be tried in their order. */
  readonly http: readonly ProxyServer[];
  /** For tunnels. */
  readonly https: readonly ProxyServer[];
  /** The URL of a PAC script, which decides alone; the lists are empty then. */
  readonly pac: string | null;
  /** What goes direct, PAC script or not. */
  readonly exclusions: readonly Exclusions[];
  readonly allowed: AllowList | null;
  /** Where they are from, for people: `the environment (HTTPS_PROXY)`. */
  readonly from: string;
}

/** What was found at a source. */
export interface SourceReading {
  /** Null when it says nothing, so that the next source is asked. */
  readonly settings: ProxySettings | null;
  /** What could not be used, each in one line, without credentials. */
  readonly problems: readonly string[];
}

/** A source that says nothing. */
export const NOTHING: SourceReading = { settings: null, problems: [] };

/** Settings by which everything goes direct. */
export function directSettings(from: string): ProxySettings {
  return { http: [], https: [], pac: null, exclusions: [], allowed: null, from };
}

/** Whether nothing but direct can come of them. */
export function isDirect({ http, https, pac, exclusions, allowed }: ProxySettings): boolean {
  if (allowed !== null) return false;
  return (http.length === 0 && https.length === 0 && pac === null) || exclusions.some(({ list }) => list.hasAll);
}

/** The URL of a PAC script as it is written for people: without a query, which may be a secret. */
export function formatPacUrl(text: string): string {
  const url = URL.parse(text);
  return url === null ? "at no URL" : `${url.protocol}//${url.host}${url.pathname}`;
}
