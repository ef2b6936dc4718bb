import { formatIpv4 } from "@hostd/stack";
import { EntryError, type ExclusionRule, parseExclusion } from "./exclusion-entry.ts";
import { Glob } from "./glob.ts";
import { MAX_NAME, normalizeName, parseIpLiteral } from "./host-names.ts";
import { NetworkTable } from "./network-table.ts";
import { PortRules } from "./port-rules.ts";
import { maskProxyUrl } from "./proxy-url.ts";

/** The most entries of a list; what comes after them is left out. */
const MAX_ENTRIES = 20_000;
/** The most patterns of a list, which are tried one after the other. Suffixes and networks are none. */
const MAX_GLOBS = 256;
/** How much of an entry that is too long is kept, in characters. */
const SHOWN = 100;

export interface ExclusionListOptions {
  /**
   * Whether `.example.com` and `*.example.com` leave out `example.com` itself, as with Go, macOS and Windows. Otherwise
   * they have it in, as with curl and undici.
   */
  readonly strictDot?: boolean;
  /** Whether `example.com` is that host alone, as with macOS and Windows, and not what is below it too. */
  readonly exactNames?: boolean;
}

/** An entry that does not hold. */
export interface ExclusionProblem {
  /** As it was written, or its beginning, without a password. */
  readonly entry: string;
  readonly reason: string;
}

interface GlobRule {
  readonly glob: Glob;
  readonly entry: string;
  readonly port: number | null;
}

/**
 * The hosts that are reached without a proxy: the union of what curl, Go, undici, macOS and Windows take. Entries for
 * addresses match hosts that are given as addresses; no name is resolved.
 */
export class ExclusionList {
  readonly #options: ExclusionListOptions;
  readonly #all = new PortRules();
  readonly #names = new Map<string, PortRules>();
  /** By the name that they are below. */
  readonly #below = new Map<string, PortRules>();
  readonly #networks = new NetworkTable();
  readonly #nameGlobs: GlobRule[] = [];
  readonly #addressGlobs: GlobRule[] = [];
  readonly #problems: ExclusionProblem[] = [];
  #local: string | null = null;
  #size = 0;

  private constructor(options: ExclusionListOptions) {
    this.#options = options;
  }

  /**
   * Reads a list. Entries stand between commas, semicolons and white space; a list of several texts is all of their
   * entries. What is no entry becomes a problem, and the others hold.
   */
  static parse(text: string | readonly string[], options: ExclusionListOptions = {}): ExclusionList {
    const list = new ExclusionList(options);
    let count = 0;
    for (const part of typeof text === "string" ? [text] : text) {
      for (const [entry] of part.matchAll(/[^\s,;]+/g)) {
        if (++count > MAX_ENTRIES) {
          list.#report(entry, `it and all after it are left out: a list has at most ${MAX_ENTRIES} entries`);
          return list;
        }
        list.#read(entry);
      }
    }
    return list;
  }

  /** How many entries hold. */
  get size(): number {
    return this.#size;
  }

  /** The entries that do not hold, as they came. */
  get problems(): readonly ExclusionProblem[] {
    return this.#problems;
  }

  /** Whether it has every host, with every port. */
  get hasAll(): boolean {
    return this.#all.any !== null;
  }

  /**
   * The entry that a host and port match, as it was written; null when there is none.
   *
   * @param host - a name, or an address without brackets.
   */
  match(host: string, port: number): string | null {
    const all = this.#all.find(port);
    if (all !== null) return all;
    // A guest chose it, and the work below grows with the square of the length.
    const name = host.length > MAX_NAME + 1 ? "" : normalizeName(host);
    if (name === "") return null;
    const literal = parseIpLiteral(name);
    if (literal === null) return this.#matchName(name, port);
    const entry = this.#networks.find(literal, port);
    if (entry !== null || literal.width === 128 || this.#addressGlobs.length === 0) return entry;
    return findGlob(this.#addressGlobs, formatIpv4(Number(literal.value)), port);
  }

  #matchName(name: string, port: number): string | null {
    const exact = this.#names.get(name)?.find(port) ?? null;
    if (exact !== null) return exact;
    const firstDot = name.indexOf(".");
    if (firstDot === -1 && this.#local !== null) return this.#local;
    for (let dot = firstDot; dot !== -1; dot = name.indexOf(".", dot + 1)) {
      const entry = this.#below.get(name.slice(dot + 1))?.find(port) ?? null;
      if (entry !== null) return entry;
    }
    return findGlob(this.#nameGlobs, name, port);
  }

  #read(entry: string): void {
    try {
      this.#add(entry, parseExclusion(entry));
      this.#size++;
    } catch (error) {
      if (!(error instanceof EntryError)) throw error;
      this.#report(entry, error.message);
    }
  }

  #add(entry: string, rule: ExclusionRule): void {
    const { strictDot = false, exactNames = false } = this.#options;
    switch (rule.kind) {
      case "all":
        this.#all.add(rule.port, entry);
        break;
      case "local":
        this.#local ??= entry;
        break;
      case "nothing":
        break;
      case "network":
        this.#networks.add(rule.network, rule.port, entry);
        break;
      case "name": {
        const isBare = rule.form === "bare";
        if (isBare || !strictDot) PortRules.in(this.#names, rule.name).add(rule.port, entry);
        if (!isBare || !exactNames) PortRules.in(this.#below, rule.name).add(rule.port, entry);
        break;
      }
      case "glob": {
        if (this.#nameGlobs.length + this.#addressGlobs.length >= MAX_GLOBS) {
          throw new EntryError(`a list has at most ${MAX_GLOBS} patterns`);
        }
        const globs = rule.of === "names" ? this.#nameGlobs : this.#addressGlobs;
        globs.push({ glob: new Glob(rule.pattern), entry, port: rule.port });
        break;
      }
    }
  }

  #report(entry: string, reason: string): void {
    // The URL of a proxy is put here by mistake, and may have a password in it.
    const shown = /@|:\/\//.test(entry) ? maskProxyUrl(entry) : entry;
    this.#problems.push({ entry: shown.length > SHOWN ? `${shown.slice(0, SHOWN)}...` : shown, reason });
  }
}

function findGlob(globs: readonly GlobRule[], text: string, port: number): string | null {
  for (const rule of globs) {
    if ((rule.port === null || rule.port === port) && rule.glob.matches(text)) return rule.entry;
  }
  return null;
}
