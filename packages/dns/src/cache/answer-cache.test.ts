import { encode } from "dns-packet";
import { beforeEach, describe, expect, test } from "vitest";
import {
  decoded,
  type QueryOptions,
  queryMessage,
  queryWithOptions,
  readValid,
  seededRandom,
} from "../testing/messages.ts";
import { addressRecord, responseTo } from "../testing/responses.ts";
import { AnswerCache, type AnswerCacheOptions, cacheKey } from "./answer-cache.ts";
import { StoredAnswer } from "./stored-answer.ts";

const message = queryMessage("a.example", "A");
const query = readValid(message);
const roomy: AnswerCacheOptions = { maxEntries: 1000, maxBytes: 1_000_000, staleTime: 60_000 };
/** Bytes that are counted for an entry beside its key and its answer. */
const ENTRY_BYTES = 512;

/** An answer that may be kept for so many seconds, with this many addresses. */
function answerOf(ttl: number, count = 1): StoredAnswer {
  const answers = Array.from({ length: count }, (_, index) => addressRecord("a.example", `192.0.2.${index}`, ttl));
  const answer = StoredAnswer.from(responseTo(message, { answers }), query);
  if (answer === null) throw new Error("the answer cannot be shared");
  return answer;
}

describe("AnswerCache", () => {
  let cache: AnswerCache;
  beforeEach(() => {
    cache = new AnswerCache(roomy);
  });

  const has = (key: string, now = 0) => cache.find(key, now) !== null;
  const ttlAt = (key: string, now: number) => {
    const reply = cache.answer(query, cache.find(key, now), now);
    return reply === null ? null : decoded(reply).answers?.map((record) => "ttl" in record && record.ttl);
  };

  test("gives an answer until its time is over, with what is left of it", () => {
    cache.store("a", answerOf(60), 5_000);
    expect(ttlAt("a", 5_000)).toEqual([60]);
    expect(ttlAt("a", 5_999)).toEqual([60]);
    expect(ttlAt("a", 6_000)).toEqual([59]);
    expect(ttlAt("a", 64_999)).toEqual([1]);
    expect(ttlAt("a", 65_000)).toBeNull();
    expect(ttlAt("b", 6_000)).toBeNull();
    expect(cache.statistics).toMatchObject({ entries: 1, hits: 4, misses: 2, stale: 0, evictions: 0 });
  });

  test("gives what has outlived its time only while it could not be renewed", () => {
    cache.store("a", answerOf(60), 0);
    const entry = cache.find("a", 70_000);
    if (entry === null) throw new Error("the entry is gone");
    expect(cache.answer(query, entry, 70_000)).toBeNull();
    cache.notRenewed(entry, 70_000);
    expect(ttlAt("a", 70_000)).toEqual([30]);
    expect(ttlAt("a", 99_999)).toEqual([30]);
    expect(ttlAt("a", 100_000)).toBeNull();
    expect(decoded(cache.staleAnswer(query, entry)).answers).toMatchObject([{ ttl: 30, data: "192.0.2.0" }]);
    expect(cache.statistics).toMatchObject({ hits: 0, misses: 2, stale: 3 });
  });

  test("forgets what has outlived its time by the stale time, though it could not be renewed", () => {
    cache.store("a", answerOf(60), 0);
    const entry = cache.find("a", 119_999);
    if (entry === null) throw new Error("the entry is gone");
    cache.notRenewed(entry, 119_999);
    expect(has("a", 120_000)).toBe(false);
    expect(cache.statistics).toMatchObject({ entries: 0, bytes: 0, evictions: 0 });
    // Not even when time were to go back.
    expect(has("a", 0)).toBe(false);
  });

  test("keeps nothing past its time without a stale time", () => {
    cache = new AnswerCache({ ...roomy, staleTime: 0 });
    cache.store("a", answerOf(60), 0);
    expect(has("a", 59_999)).toBe(true);
    expect(has("a", 60_000)).toBe(false);
  });

  test("has the newest answer, and none that may not be kept in the place of one that may", () => {
    cache.store("a", answerOf(60), 0);
    cache.store("a", answerOf(100), 1000);
    expect(ttlAt("a", 1000)).toEqual([100]);
    const { bytes } = cache.statistics;
    expect(bytes).toBe(ENTRY_BYTES + 1 + answerOf(100).bytes);
    cache.store("a", answerOf(0), 2000);
    expect(has("a", 2000)).toBe(false);
    expect(cache.statistics).toMatchObject({ entries: 0, bytes: 0, evictions: 0 });
  });

  test("drops the oldest answer for one too many", () => {
    cache = new AnswerCache({ ...roomy, maxEntries: 3 });
    for (const key of ["a", "b", "c", "d", "e"]) cache.store(key, answerOf(60), 0);
    expect(cache.statistics).toMatchObject({ entries: 3, evictions: 2 });
    expect(["a", "b", "c", "d", "e"].filter((key) => has(key))).toEqual(["c", "d", "e"]);
  });

  test("gives a second chance to what was asked for, once for each time", () => {
    cache = new AnswerCache({ ...roomy, maxEntries: 3 });
    const keys = () => ["a", "b", "c", "d", "e", "f"];
    for (const key of ["a", "b", "c"]) cache.store(key, answerOf(60), 0);
    has("a");
    has("b");
    cache.store("d", answerOf(60), 0);
    // c went; a and b were put behind it, and d behind them.
    cache.store("e", answerOf(60), 0);
    cache.store("f", answerOf(60), 0);
    expect(keys().filter((key) => has(key))).toEqual(["d", "e", "f"]);
    // All were asked for now, so the oldest goes all the same.
    cache.store("a", answerOf(60), 0);
    expect(keys().filter((key) => has(key))).toEqual(["a", "e", "f"]);
    expect(cache.statistics).toMatchObject({ entries: 3, evictions: 4 });
  });

  test("drops as many as are needed for the bytes of the new one, and keeps none that is too large alone", () => {
    const small = ENTRY_BYTES + 1 + answerOf(60).bytes;
    const large = ENTRY_BYTES + 1 + answerOf(60, 10).bytes;
    cache = new AnswerCache({ ...roomy, maxBytes: 4 * small });
    for (const key of ["a", "b", "c", "d"]) cache.store(key, answerOf(60), 0);
    expect(cache.statistics).toMatchObject({ entries: 4, bytes: 4 * small, evictions: 0 });
    expect(large).toBeGreaterThan(small);
    expect(large).toBeLessThan(2 * small);
    cache.store("e", answerOf(60, 10), 0);
    expect(["a", "b", "c", "d", "e"].filter((key) => has(key))).toEqual(["c", "d", "e"]);
    expect(cache.statistics).toMatchObject({ entries: 3, bytes: 2 * small + large, evictions: 2 });
    const huge = answerOf(60, 250);
    expect(huge.bytes).toBeGreaterThan(4 * small);
    cache.store("f", huge, 0);
    expect(has("f")).toBe(false);
    expect(cache.statistics).toMatchObject({ entries: 3, evictions: 2 });
  });

  test("keeps nothing when it may have no entries", () => {
    cache = new AnswerCache({ ...roomy, maxEntries: 0 });
    cache.store("a", answerOf(60), 0);
    expect(has("a")).toBe(false);
    expect(cache.statistics).toMatchObject({ entries: 0, bytes: 0, evictions: 0 });
  });

  test("forgets everything at once, and what it counted not", () => {
    cache = new AnswerCache({ ...roomy, maxEntries: 2 });
    for (const key of ["a", "b", "c"]) cache.store(key, answerOf(60), 0);
    ttlAt("c", 0);
    cache.clear();
    expect(["a", "b", "c"].filter((key) => has(key))).toEqual([]);
    expect(cache.statistics).toEqual({ entries: 0, bytes: 0, hits: 1, misses: 0, stale: 0, evictions: 1 });
    for (const key of ["d", "e", "f"]) cache.store(key, answerOf(60), 0);
    expect(["d", "e", "f"].filter((key) => has(key))).toEqual(["e", "f"]);
  });

  test("never takes more than it may, and has what a model of it has", () => {
    const options = { maxEntries: 20, maxBytes: 20_000, staleTime: 10_000 };
    cache = new AnswerCache(options);
    const random = seededRandom(21);
    const answers = Array.from({ length: 40 }, (_, index) => answerOf(index, 1 + index));
    /** In the order in which they are considered. */
    let model: { key: string; answer: StoredAnswer; expiresAt: number; used: boolean }[] = [];
    const bytesOf = (key: string, answer: StoredAnswer) => ENTRY_BYTES + key.length + answer.bytes;
    const bytes = () => model.reduce((sum, { key, answer }) => sum + bytesOf(key, answer), 0);
    let evictions = 0;
    let now = 0;
    for (let round = 0; round < 20_000; round++) {
      now += random() % 100;
      const key = String(random() % 60);
      const known = model.find((entry) => entry.key === key);
      if (random() % 2 === 0) {
        const isKnown = known !== undefined && now < known.expiresAt + options.staleTime;
        if (isKnown) known.used = true;
        else model = model.filter((entry) => entry !== known);
        expect(has(key, now)).toBe(isKnown);
      } else {
        const answer = answers[random() % answers.length];
        model = model.filter((entry) => entry !== known);
        cache.store(key, answer, now);
        if (answer.lifetime > 0) {
          while (model.length >= options.maxEntries || bytes() + bytesOf(key, answer) > options.maxBytes) {
            const oldest = model.shift();
            if (oldest?.used === true) model.push({ ...oldest, used: false });
            else evictions++;
          }
          model.push({ key, answer, expiresAt: now + answer.lifetime * 1000, used: false });
        }
      }
      expect(cache.statistics).toMatchObject({ entries: model.length, bytes: bytes(), evictions });
    }
    expect(evictions).toBeGreaterThan(1000);
  });
});

describe("what an answer depends on", () => {
  const keyOf = (name: string, type: "A" | "AAAA" | "ANY" = "A", options: QueryOptions = {}) =>
    cacheKey(readValid(queryMessage(name, type, options)));

  /** The key of a query with these EDNS options, by their codes. */
  const keyWithOptions = (codes: readonly number[], changes: QueryOptions = {}) =>
    cacheKey(readValid(queryWithOptions("a.example", codes, changes)));

  test("is the question, whatever the case and the id", () => {
    const key = keyOf("a.example");
    expect(key).not.toBeNull();
    expect(keyOf("A.exAMPLE", "A", { id: 7 })).toBe(key);
    const others = [
      keyOf("b.example"),
      keyOf("example"),
      keyOf("."),
      keyOf("a.example", "AAAA"),
      keyOf("a.example", "ANY"),
      keyOf("a.example", "A", { class: "CH" }),
    ];
    expect(new Set([key, ...others]).size).toBe(7);
  });

  test("tells a dot within a label from one between labels", () => {
    const dotted = queryMessage("a-example", "A");
    dotted[14] = 0x2e;
    expect(cacheKey(readValid(dotted))).not.toBe(keyOf("a.example"));
    expect(cacheKey(readValid(dotted))).not.toBeNull();
  });

  test("is RD, AD, CD and DO, each by itself", () => {
    const keys = [0, 0x0100, 0x0020, 0x0010, 0x0130].flatMap((flags) => [
      keyOf("a.example", "A", { flags }),
      keyOf("a.example", "A", { flags, udpPayloadSize: 1232, dnssecOk: true }),
    ]);
    expect(new Set(keys).size).toBe(10);
  });

  test("is not EDNS itself, nor the size a client takes, nor options that are about the way to this server", () => {
    const key = keyOf("a.example");
    expect(keyOf("a.example", "A", { udpPayloadSize: 1232 })).toBe(key);
    expect(keyOf("a.example", "A", { udpPayloadSize: 4096 })).toBe(key);
    for (const codes of [[10], [11], [12], [10, 11, 12]]) expect(keyWithOptions(codes)).toBe(key);
    expect(keyWithOptions([10], { dnssecOk: true })).not.toBe(key);
  });

  test("is more than can be told with other options, or with another version of EDNS", () => {
    // NSID, client subnet, an option of tomorrow.
    for (const codes of [[3], [8], [200], [10, 8], [8, 12]]) expect(keyWithOptions(codes)).toBeNull();
    expect(keyOf("a.example", "A", { udpPayloadSize: 1232, ednsVersion: 1 })).toBeNull();
    // Options that do not fit their record.
    const broken = queryMessage("a.example", "A", { udpPayloadSize: 1232 });
    broken[broken.length - 1] = 5;
    expect(cacheKey(readValid(Uint8Array.of(...broken, 0, 10, 0, 9, 1)))).toBeNull();
  });

  test("is more than can be told with other records beside the question, such as a signature", () => {
    const record = { type: "TXT" as const, name: "key", ttl: 0, data: "signature" };
    const questions = [{ name: "a.example", type: "A" as const }];
    for (const section of ["answers", "authorities", "additionals"]) {
      const signed = encode({ type: "query", id: 1, flags: 0x0100, questions, [section]: [record] });
      expect(cacheKey(readValid(Uint8Array.from(signed)))).toBeNull();
    }
  });
});
