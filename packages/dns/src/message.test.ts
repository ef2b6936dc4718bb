import { describe, expect, test } from "vitest";
import { isAnswerTo, messageId, readQuery, readQuestion, setMessageId } from "./message.ts";
import { answerWith, errorFor, hostileMessage, queryMessage, readValid, seededRandom } from "./testing/messages.ts";

/** A query whose name has these labels, byte for byte. */
function queryWithLabels(labels: readonly (readonly number[])[]): Uint8Array {
  const name = labels.flatMap((label) => [label.length, ...label]);
  return Uint8Array.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...name, 0, 0, 1, 0, 1]);
}

const bytes = (text: string): number[] => Array.from(text, (character) => character.charCodeAt(0));

/** A name of `length` bytes on the wire. */
function longName(length: number): Uint8Array {
  const labels: number[][] = [];
  let left = length - 1;
  while (left > 0) {
    const label = Math.min(63, left === 65 ? 62 : left - 1);
    labels.push(new Array<number>(label).fill(0x61));
    left -= label + 1;
  }
  return queryWithLabels(labels);
}

describe("readQuestion", () => {
  test("gives the name as asked and its labels in lower case", () => {
    const question = readQuestion(queryMessage("Host.Docker.INTERNAL", "AAAA"));
    expect(question).toEqual({
      name: "Host.Docker.INTERNAL",
      labels: ["host", "docker", "internal"],
      type: 28,
      class: 1,
      end: 12 + 22 + 4,
    });
  });

  test("gives the root as a name without labels", () => {
    expect(readQuestion(queryMessage(".", "NS"))).toMatchObject({ name: ".", labels: [] });
  });

  test("keeps a dot within a label apart from one between labels", () => {
    const question = readQuestion(queryWithLabels([bytes("host.docker"), bytes("internal")]));
    expect(question?.labels).toEqual(["host\\046docker", "internal"]);
  });

  test("writes bytes that are no printable ASCII as numbers", () => {
    expect(readQuestion(queryWithLabels([[0, 0x5c, 0xff, 0x41]]))?.name).toBe("\\000\\092\\255A");
  });

  test("takes a name of 255 bytes and none of 256", () => {
    expect(longName(255).length).toBe(12 + 255 + 4);
    expect(readQuestion(longName(255))?.end).toBe(12 + 255 + 4);
    expect(readQuestion(longName(256))).toBeUndefined();
  });

  test("refuses a compression pointer and the reserved label types", () => {
    for (const first of [0xc0, 0x40, 0x80]) {
      const message = queryMessage("a.example", "A");
      message[12] = first;
      expect(readQuestion(message)).toBeUndefined();
    }
  });

  test("refuses a message cut off anywhere", () => {
    const message = queryMessage("a.example", "A");
    for (let length = 12; length < message.length; length++) {
      expect(readQuestion(message.subarray(0, length))).toBeUndefined();
    }
  });
});

describe("readQuery", () => {
  test("ignores what is shorter than a header, and responses", () => {
    expect(readQuery(new Uint8Array(11))).toEqual({ kind: "ignored" });
    expect(readQuery(answerWith(queryMessage("a.example", "A"), "192.0.2.1"))).toEqual({ kind: "ignored" });
  });

  test("reports other opcodes as not implemented", () => {
    const update = queryMessage("a.example", "A", { flags: 5 << 11 });
    expect(readQuery(update)).toEqual({ kind: "error", rcode: 4 });
  });

  test("reports no question and two questions as a format error", () => {
    for (const count of [0, 2, 0xffff]) {
      const message = queryMessage("a.example", "A");
      message[4] = count >>> 8;
      message[5] = count & 0xff;
      expect(readQuery(message)).toEqual({ kind: "error", rcode: 1 });
    }
  });

  test("reads OPT", () => {
    expect(readValid(queryMessage("a.example", "A")).edns).toBeNull();
    expect(readValid(queryMessage("a.example", "A", { udpPayloadSize: 1400, dnssecOk: true })).edns).toEqual({
      udpPayloadSize: 1400,
      version: 0,
      dnssecOk: true,
      hasOptions: false,
    });
  });

  test("tells options that are about the way to this server from others", () => {
    const withOptions = (...options: readonly number[]) => {
      const message = queryMessage("a.example", "A", { udpPayloadSize: 900 });
      message[message.length - 1] = options.length;
      return readValid(Uint8Array.from([...message, ...options])).edns?.hasOptions;
    };
    const cookie = [0, 10, 0, 2, 1, 2];
    const keepAlive = [0, 11, 0, 0];
    const padding = [0, 12, 0, 3, 0, 0, 0];
    const clientSubnet = [0, 8, 0, 4, 0, 1, 0, 0];
    expect([withOptions(), withOptions(...cookie, ...keepAlive, ...padding)]).toEqual([false, false]);
    expect([withOptions(...clientSubnet), withOptions(...cookie, ...clientSubnet)]).toEqual([true, true]);
    // The upper byte of the code counts, and so does what does not fit its record.
    expect([withOptions(1, 10, 0, 0), withOptions(...cookie, 0), withOptions(0, 10, 0, 9, 1)]).toEqual([
      true,
      true,
      true,
    ]);
  });

  test("finds OPT behind records whose names are compressed", () => {
    const plain = queryMessage("a.example", "A", { udpPayloadSize: 900 });
    const record = [0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0, 2, 1, 0x78];
    const message = Uint8Array.from([...plain.subarray(0, -11), ...record, ...plain.subarray(-11)]);
    message[11] = 2;
    expect(readValid(message).edns?.udpPayloadSize).toBe(900);
  });

  test("reports a second OPT, and OPT of another name than the root, as a format error", () => {
    const message = queryMessage("a.example", "A", { udpPayloadSize: 900 });
    const twice = Uint8Array.from([...message, ...message.subarray(-11)]);
    twice[11] = 2;
    expect(readQuery(twice)).toEqual({ kind: "error", rcode: 1 });
    const named = Uint8Array.from([...message.subarray(0, -11), 1, 0x61, ...message.subarray(-11)]);
    expect(readQuery(named)).toEqual({ kind: "error", rcode: 1 });
  });

  test("reports records that do not fit the message as a format error", () => {
    const message = queryMessage("a.example", "A", { udpPayloadSize: 900 });
    for (let cut = 1; cut <= 11; cut++) {
      expect(readQuery(message.subarray(0, message.length - cut))).toEqual({ kind: "error", rcode: 1 });
    }
    message[message.length - 1] = 1;
    expect(readQuery(message)).toEqual({ kind: "error", rcode: 1 });
  });

  test("never throws, whatever the bytes", () => {
    const random = seededRandom(1);
    const kinds = new Set<string>();
    for (let round = 0; round < 20_000; round++) kinds.add(readQuery(hostileMessage(random)).kind);
    expect([...kinds].sort()).toEqual(["error", "ignored", "query"]);
  });
});

describe("isAnswerTo", () => {
  const message = queryMessage("a.example", "A", { id: 7 });
  const query = readValid(message);

  test("takes the answer with the id, whatever the case of its name", () => {
    expect(isAnswerTo(answerWith(message, "192.0.2.1"), query, 7)).toBe(true);
    expect(isAnswerTo(answerWith(queryMessage("A.EXAMPLE", "A", { id: 7 }), "192.0.2.1"), query, 7)).toBe(true);
  });

  test("refuses another id, name, type or class, and a query", () => {
    expect(isAnswerTo(answerWith(message, "192.0.2.1"), query, 8)).toBe(false);
    expect(isAnswerTo(answerWith(queryMessage("b.example", "A", { id: 7 }), "192.0.2.1"), query, 7)).toBe(false);
    expect(isAnswerTo(errorFor(queryMessage("a.example", "AAAA", { id: 7 }), 0), query, 7)).toBe(false);
    expect(isAnswerTo(errorFor(queryMessage("a.example", "A", { id: 7, class: "CH" }), 0), query, 7)).toBe(false);
    expect(isAnswerTo(message, query, 7)).toBe(false);
  });

  test("takes for two cases of one letter only what is that", () => {
    const asked = queryWithLabels([[0x41, 0x40, 0x5b, 0x01, 0x7a, 0xc1]]);
    const answered = (offset: number, byte: number) => {
      const message = asked.slice();
      message[2] |= 0x80;
      message[offset] = byte;
      return isAnswerTo(message, readValid(asked), messageId(asked));
    };
    const name = 13;
    expect([answered(name, 0x61), answered(name + 4, 0x5a)]).toEqual([true, true]);
    // A byte that differs from the one that was asked for in the bit of the case alone, but is no letter.
    expect([answered(name + 1, 0x60), answered(name + 2, 0x7b), answered(name + 3, 0x21)]).toEqual([
      false,
      false,
      false,
    ]);
    expect([answered(name + 5, 0xe1), answered(12, 0x26)]).toEqual([false, false]);
    // The type and the class are no letters either.
    const typed = queryMessage("a.example", "A");
    typed[typed.length - 3] = 0x41;
    const other = typed.slice();
    other[2] |= 0x80;
    expect(isAnswerTo(other, readValid(typed), messageId(typed))).toBe(true);
    other[other.length - 3] = 0x61;
    expect(isAnswerTo(other, readValid(typed), messageId(typed))).toBe(false);
  });

  test("refuses a question that is cut off, or that only begins like the one asked", () => {
    const answer = Uint8Array.from(answerWith(message, "192.0.2.1"));
    for (let length = 0; length < message.length; length++) {
      expect(isAnswerTo(answer.subarray(0, length), query, 7)).toBe(false);
    }
    expect(isAnswerTo(answer.subarray(0, message.length), query, 7)).toBe(true);
    for (const name of ["a.example.example", "a.exampl", "a", "."]) {
      expect(isAnswerTo(answerWith(queryMessage(name, "A", { id: 7 }), "192.0.2.1"), query, 7)).toBe(false);
    }
  });

  test("takes an error without a question, but no other answer without one", () => {
    const header = Uint8Array.from([0, 7, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect(isAnswerTo(header, query, 7)).toBe(true);
    header[3] = 0x80;
    expect(isAnswerTo(header, query, 7)).toBe(false);
  });

  test("never throws, whatever the bytes", () => {
    const random = seededRandom(2);
    for (let round = 0; round < 20_000; round++) {
      const hostile = hostileMessage(random);
      if (hostile.length >= 3) {
        setMessageId(hostile, 7);
        hostile[2] |= 0x80;
      }
      expect(isAnswerTo(hostile, query, 7) && hostile.length < 12).toBe(false);
    }
  });
});
