import { describe, expect, test } from "vitest";
import { ECHO_HEADER_LENGTH, readEchoReply, writeEchoRequest } from "./echo-message.ts";

const REPLY = Buffer.from([0, 0, 0xab, 0xcd, 0x12, 0x34, 0x00, 0x09, 0x61, 0x62]);

describe("writeEchoRequest", () => {
  test.each([[[]], [[0xff]], [[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]])(
    "fills in type, identifier, sequence and a checksum that makes the sum all ones (data %j)",
    (data) => {
      const message = Buffer.alloc(ECHO_HEADER_LENGTH + data.length, 0xee);
      message.set(data, ECHO_HEADER_LENGTH);
      writeEchoRequest(message, 0x1203, 0x0004, data.length);
      expect(message.subarray(0, 2)).toEqual(Buffer.from([8, 0]));
      expect(message.subarray(4, 8)).toEqual(Buffer.from([0x12, 0x03, 0x00, 0x04]));
      let sum = 0;
      for (let index = 0; index < message.length; index += 2) sum += (message[index] << 8) | (message[index + 1] ?? 0);
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
      expect(sum).toBe(0xffff);
    },
  );
});

describe("readEchoReply", () => {
  test("finds the parts of a reply without an IP header", () => {
    expect(readEchoReply(REPLY)).toEqual({ identifier: 0x1234, sequence: 9, offset: 8, length: 2 });
  });

  test("finds them behind an IP header, with and without options", () => {
    const plain = Buffer.concat([Buffer.from([0x45]), Buffer.alloc(19), REPLY]);
    expect(readEchoReply(plain)).toEqual({ identifier: 0x1234, sequence: 9, offset: 28, length: 2 });
    const options = Buffer.concat([Buffer.from([0x46]), Buffer.alloc(23), REPLY]);
    expect(readEchoReply(options)).toEqual({ identifier: 0x1234, sequence: 9, offset: 32, length: 2 });
  });

  test.each([
    ["nothing", Buffer.alloc(0)],
    ["a short header", REPLY.subarray(0, 7)],
    ["a request", Buffer.from([8, 0, 0, 0, 0, 0, 0, 0])],
    ["another code", Buffer.from([0, 1, 0, 0, 0, 0, 0, 0])],
    ["an IP header alone", Buffer.concat([Buffer.from([0x45]), Buffer.alloc(19)])],
    ["an IP header longer than the datagram", Buffer.concat([Buffer.from([0x4f]), Buffer.alloc(20)])],
  ])("takes %s for none", (_name, message) => {
    expect(readEchoReply(message)).toBe(null);
  });
});
