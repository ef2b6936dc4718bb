import { Flag, messageFlags, type Query, word } from "../message.ts";
import type { StoredAnswer } from "./stored-answer.ts";

/** Bytes that an entry takes beside its answer and its key, as measured in Node 26. */
const ENTRY_BYTES = 512;
/** The TTL of an answer that has outlived its own, in seconds (RFC 8767, section 4). */
export const STALE_TTL = 30;
/** How long the servers are left alone when one could not be renewed, in milliseconds (RFC 8767, section 5). */
const RETRY_TIME = 30_000;

export interface AnswerCacheOptions {
  /** How many answers are kept. */
  readonly maxEntries: number;
  /** Bytes that they may take together. */
  readonly maxBytes: number;
  /** How long an answer may be given after its time when no server answers, in milliseconds (RFC 8767). */
  readonly staleTime: number;
}

/** What a cache counted since it was made. */
export interface CacheStatistics {
  readonly entries: number;
  readonly bytes: number;
  /** Queries answered with what was kept. */
  readonly hits: number;
  /** Queries whose answer was not there, or had outlived its time. */
  readonly misses: number;
  /** Queries answered with what had outlived its time. */
  readonly stale: number;
  /** Answers that were dropped for others. */
  readonly evictions: number;
}

/** A kept answer. Times are in milliseconds. */
export interface CacheEntry {
  readonly key: string;
  readonly answer: StoredAnswer;
  readonly storedAt: number;
  readonly expiresAt: number;
  /** Until then it is given, though it has outlived its time, without asking anew. */
  staleUntil: number;
  /** Whether it was asked for since it was last considered for eviction. */
  used: boolean;
  /** Its neighbours in the order in which entries are considered. */
  before: CacheEntry | null;
  after: CacheEntry | null;
}

/**
 * Answers of servers by what was asked. When there are too many the oldest goes that was not asked for since it was last
 * considered; one that was asked for counts as new again (second chance).
 *
 * The order is a list of its own. That of a `Map` is one too, but to find its first entry takes a walk over all the
 * places before that were deleted since the map last grew.
 */
export class AnswerCache {
  readonly #options: AnswerCacheOptions;
  readonly #entries = new Map<string, CacheEntry>();
  #first: CacheEntry | null = null;
  #last: CacheEntry | null = null;
  #bytes = 0;
  #hits = 0;
  #misses = 0;
  #stale = 0;
  #evictions = 0;

  constructor(options: AnswerCacheOptions) {
    this.#options = options;
  }

  get statistics(): CacheStatistics {
    return {
      entries: this.#entries.size,
      bytes: this.#bytes,
      hits: this.#hits,
      misses: this.#misses,
      stale: this.#stale,
      evictions: this.#evictions,
    };
  }

  /** What is known, be it past its time; null when nothing is, or when it is too old. */
  find(key: string, now: number): CacheEntry | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    if (now >= entry.expiresAt + this.#options.staleTime) {
      this.#delete(entry);
      return null;
    }
    entry.used = true;
    return entry;
  }

  /** The answer to a query from an entry of {@link find}, when it may be given without asking; null when it may not. */
  answer(query: Query, entry: CacheEntry | null, now: number): Uint8Array | null {
    if (entry !== null && now < entry.expiresAt) {
      this.#hits++;
      return entry.answer.reply(query, Math.floor((now - entry.storedAt) / 1000));
    }
    if (entry !== null && now < entry.staleUntil) return this.staleAnswer(query, entry);
    this.#misses++;
    return null;
  }

  /** The answer from an entry that has outlived its time. */
  staleAnswer(query: Query, entry: CacheEntry): Uint8Array {
    this.#stale++;
    return entry.answer.reply(query, 0, STALE_TTL);
  }

  /** Notes that an entry could not be renewed. */
  notRenewed(entry: CacheEntry, now: number): void {
    entry.staleUntil = now + RETRY_TIME;
  }

  /** Keeps an answer for as long as it says; what was known under the key is gone in any case. */
  store(key: string, answer: StoredAnswer, now: number): void {
    const known = this.#entries.get(key);
    if (known !== undefined) this.#delete(known);
    const { maxEntries, maxBytes } = this.#options;
    const expiresAt = now + answer.lifetime * 1000;
    const entry: CacheEntry = {
      key,
      answer,
      storedAt: now,
      expiresAt,
      staleUntil: 0,
      used: false,
      before: null,
      after: null,
    };
    const bytes = entryBytes(entry);
    if (answer.lifetime === 0 || maxEntries === 0 || bytes > maxBytes) return;
    while (this.#entries.size >= maxEntries || this.#bytes + bytes > maxBytes) this.#evict();
    this.#entries.set(key, entry);
    this.#bytes += bytes;
    this.#append(entry);
  }

  /** Forgets everything; what was counted stays. */
  clear(): void {
    this.#entries.clear();
    this.#first = null;
    this.#last = null;
    this.#bytes = 0;
  }

  #evict(): void {
    for (let entry = this.#first; entry !== null; entry = this.#first) {
      if (!entry.used) {
        this.#delete(entry);
        this.#evictions++;
        return;
      }
      entry.used = false;
      this.#unlink(entry);
      this.#append(entry);
    }
  }

  #delete(entry: CacheEntry): void {
    this.#entries.delete(entry.key);
    this.#bytes -= entryBytes(entry);
    this.#unlink(entry);
  }

  #append(entry: CacheEntry): void {
    entry.before = this.#last;
    entry.after = null;
    if (this.#last === null) this.#first = entry;
    else this.#last.after = entry;
    this.#last = entry;
  }

  #unlink({ before, after }: CacheEntry): void {
    if (before === null) this.#first = after;
    else before.after = after;
    if (after === null) this.#last = before;
    else after.before = before;
  }
}

/**
 * What an answer depends on: the question without regard to case, what the client wants of DNSSEC, and whether servers
 * are to ask further. Null for a query with options or records that the answer may depend on (TSIG, RFC 8945).
 */
export function cacheKey({ message, question, edns }: Query): string | null {
  if (edns !== null && (edns.hasOptions || edns.version > 0)) return null;
  const records = word(message, 6) + word(message, 8) + word(message, 10);
  if (records !== (edns === null ? 0 : 1)) return null;
  const bits = (messageFlags(message) & (Flag.RD | Flag.AD | Flag.CD)) | (edns?.dnssecOk === true ? 1 : 0);
  return `${question.type} ${question.class} ${bits} ${question.labels.join(".")}`;
}

function entryBytes({ key, answer }: CacheEntry): number {
  return ENTRY_BYTES + key.length + answer.bytes;
}
