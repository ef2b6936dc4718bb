import type { Credentials, ProxyServer } from "../route.ts";
import { ExclusionList, type ExclusionListOptions } from "../settings/exclusion-list.ts";
import { parseProxy, parseUpstreamSetting } from "../settings/proxy-url.ts";
import type { Exclusions } from "./proxy-settings.ts";

const MAX_PROBLEMS = 20;

/** How an operating system takes its exclusions: a name is that host alone, and one that begins with a dot is below it. */
export const SYSTEM_EXCLUSIONS: ExclusionListOptions = { strictDot: true, exactNames: true };

/** Reads what a source has, and collects what cannot be used of it. */
export class ProblemList {
  readonly #lines: string[] = [];
  readonly #from: string;

  /** @param from - the source, for people. */
  constructor(from: string) {
    this.#from = from;
  }

  /** Each in one line that names the source. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  add(problem: string): void {
    if (this.#lines.length < MAX_PROBLEMS) this.#lines.push(`${this.#from}: ${problem}`);
  }

  /** Entries are separated as {@link ExclusionList.parse} has it. */
  exclusions(text: string | readonly string[], from = this.#from, options: ExclusionListOptions = {}): Exclusions {
    const list = ExclusionList.parse(text, options);
    for (const { entry, reason } of list.problems) this.add(`the exclusion ${JSON.stringify(mask(entry))}: ${reason}`);
    const entries = [text].flat().flatMap((part) => part.match(/[^\s,;]+/g) ?? []);
    return { list, entries: entries.map(mask), from };
  }

  /**
   * The proxy that a URL names, in a list of one; an empty list when there is none.
   *
   * @param name - what the source calls it.
   */
  proxyUrl(name: string, url: string): ProxyServer[] {
    try {
      return [parseProxy(url)];
    } catch (error) {
      this.add(`${name}: ${messageOf(error)}`);
      return [];
    }
  }

  /** As {@link proxyUrl}, of a host and a port. An empty port is the usual one. */
  proxy(
    name: string,
    kind: ProxyServer["kind"],
    host: string,
    port: string,
    credentials: Credentials | null = null,
  ): ProxyServer[] {
    if (host === "") {
      this.add(`${name}: there is no host`);
      return [];
    }
    const who =
      credentials === null ? "" : `${percentEncode(credentials.user)}:${percentEncode(credentials.password)}@`;
    const where = host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
    return this.proxyUrl(name, `${kind}://${who}${where}${port === "" ? "" : `:${port}`}`);
  }

  /** The URL of a PAC script; null when it is none. */
  pac(name: string, url: string): string | null {
    if (url === "") {
      this.add(`${name} is empty, and automatic discovery (WPAD) is not supported`);
      return null;
    }
    try {
      const setting = parseUpstreamSetting(`pac+${url}`);
      return setting.kind === "pac" ? setting.url : null;
    } catch (error) {
      this.add(`${name}: ${messageOf(error)}`);
      return null;
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A lone surrogate is no text; what stands for it is refused by the reader. */
function percentEncode(text: string): string {
  return text.isWellFormed() ? encodeURIComponent(text) : "%";
}

/** An entry without the credentials that a URL among them may have; no entry that holds has such parts. */
function mask(entry: string): string {
  return entry.replace(/:\/\/.*$/s, "://...").replace(/^.*@/s, "...@");
}
