import { spawn } from "node:child_process";
import { connect as connectTls } from "node:tls";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { cleanUp } from "../../../streams/src/testing/peer.ts";
import {
  chromeHello,
  extension,
  firefoxHello,
  type HelloParts,
  helloMessage,
  messageOf,
  nameList,
  recordHello,
  records,
  serverName,
  vector,
} from "../testing/client-hellos.ts";
import { ClientHelloReader, type ClientHelloReading, MAX_HELLO, MAX_RECORDS } from "./client-hello.ts";

const NAME = "www.example.com";

/** Reads bytes in pieces of at most `size`. */
function read(bytes: Buffer, size = bytes.length): ClientHelloReading {
  const reader = new ClientHelloReader();
  let reading: ClientHelloReading = { kind: "more" };
  for (let at = 0; at < bytes.length; at += size) reading = reader.add(bytes.subarray(at, at + size));
  return reading;
}

const hello = (fields: object) => ({
  kind: "hello",
  serverName: null,
  alpn: [],
  hasEncryptedClientHello: false,
  ...fields,
});

/** Records the ClientHello of a command, in whose arguments PORT is the port to connect to. */
function recordCommand(command: string, ...words: string[]): Promise<Buffer> {
  return recordHello((port) => {
    const argumentsOf = words.map((word) => word.replace("PORT", String(port)));
    const child = spawn(command, argumentsOf, { stdio: ["pipe", "ignore", "ignore"] });
    cleanUp(() => child.kill());
  });
}

function recordNode(options: object): Promise<Buffer> {
  return recordHello((port) => {
    const socket = connectTls({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
    socket.on("error", () => {});
  });
}

const CLIENTS: readonly [client: string, record: () => Promise<Buffer>, reading: object][] = [
  ["Node", () => recordNode({ servername: NAME }), hello({ serverName: NAME })],
  ["Node without a name", () => recordNode({}), hello({})],
  [
    "Node with ALPN",
    () => recordNode({ servername: NAME, ALPNProtocols: ["h2", "http/1.1"] }),
    hello({ serverName: NAME, alpn: ["h2", "http/1.1"] }),
  ],
  ["Node with TLS 1.2", () => recordNode({ servername: NAME, maxVersion: "TLSv1.2" }), hello({ serverName: NAME })],
  [
    "openssl",
    () => recordCommand("openssl", "s_client", "-connect", "127.0.0.1:PORT", "-servername", NAME),
    hello({ serverName: NAME }),
  ],
  [
    "openssl with a name in capitals and a dot at its end",
    () => recordCommand("openssl", "s_client", "-connect", "127.0.0.1:PORT", "-servername", "WWW.Example.COM."),
    hello({ serverName: NAME }),
  ],
  [
    "openssl without a name",
    () => recordCommand("openssl", "s_client", "-connect", "127.0.0.1:PORT", "-noservername"),
    hello({}),
  ],
  [
    "openssl with an address for a name",
    () => recordCommand("openssl", "s_client", "-connect", "127.0.0.1:PORT", "-servername", "192.0.2.1"),
    hello({}),
  ],
  [
    "openssl with TLS 1.2 and ALPN",
    () =>
      recordCommand("openssl", "s_client", "-connect", "127.0.0.1:PORT", "-servername", NAME, "-tls1_2", "-alpn", "h2"),
    hello({ serverName: NAME, alpn: ["h2"] }),
  ],
  [
    "curl",
    () => recordCommand("curl", "-sk", "--noproxy", "*", "--connect-to", "::127.0.0.1:PORT", `https://${NAME}/`),
    hello({ serverName: NAME, alpn: ["h2", "http/1.1"] }),
  ],
  [
    "Firefox",
    async () => firefoxHello(NAME),
    hello({ serverName: NAME, alpn: ["h2", "http/1.1"], hasEncryptedClientHello: true }),
  ],
  [
    "Chrome",
    async () => chromeHello(NAME),
    hello({ serverName: NAME, alpn: ["h2", "http/1.1"], hasEncryptedClientHello: true }),
  ],
];

describe("what a client says first is read", () => {
  test.each(CLIENTS)("of %s, however it is cut into segments and records", async (_, record, reading) => {
    const bytes = await record();
    expect(read(bytes)).toEqual(reading);
    const isRead = (other: ClientHelloReading) => isDeepStrictEqual(other, reading);
    for (let cut = 1; cut < bytes.length; cut++) {
      const reader = new ClientHelloReader();
      const early = reader.add(bytes.subarray(0, cut));
      if (early.kind !== "more" || !isRead(reader.add(bytes.subarray(cut)))) throw new Error(`cut at ${cut}`);
    }
    const message = messageOf(bytes);
    for (let size = 1; size <= message.length; size++) {
      const cut = records(message, size);
      if (!isRead(read(cut)) || !isRead(read(cut, 1 + (size % 11)))) throw new Error(`records of ${size}`);
      if (read(cut.subarray(0, -1), 1000).kind !== "more") throw new Error(`records of ${size}, one byte short`);
    }
  });

  test("without extensions, as up to TLS 1.2 (RFC 5246, 7.4.1.2)", () => {
    expect(read(records(helloMessage({ extensions: null })))).toEqual(hello({}));
    expect(read(records(helloMessage({ extensions: [] })))).toEqual(hello({}));
  });

  test("and what follows it is left alone", () => {
    const reader = new ClientHelloReader();
    const bytes = records(helloMessage({ extensions: [serverName(NAME)] }));
    const reading = reader.add(Buffer.concat([bytes, Buffer.from("early data")]));
    expect(reading).toEqual(hello({ serverName: NAME }));
    expect(reader.add(Buffer.from([22, 3, 3, 0, 0]))).toEqual(reading);
  });

  test("up to its longest", () => {
    const other = helloMessage({ extensions: [serverName(NAME), extension(21, Buffer.alloc(0))] }).length;
    const padded = (length: number) =>
      records(helloMessage({ extensions: [serverName(NAME), extension(21, Buffer.alloc(length - other))] }));
    expect(read(padded(MAX_HELLO))).toEqual(hello({ serverName: NAME }));
    expect(read(padded(MAX_HELLO + 1))).toEqual({ kind: "other", reason: "the ClientHello is too long" });
    expect(read(padded(MAX_HELLO + 1).subarray(0, 9)).kind).toBe("other");
  });

  test("unless it is cut into more records than any client would", () => {
    const inRecords = (count: number) => {
      const other = helloMessage({ extensions: [serverName(NAME), extension(21)] }).length;
      const padding = extension(21, Buffer.alloc(count * 10 - other));
      return records(helloMessage({ extensions: [serverName(NAME), padding] }), 10);
    };
    const refused = { kind: "other", reason: "the ClientHello is cut into too many records" };
    for (const size of [1, 1460, 100_000]) {
      expect(read(inRecords(MAX_RECORDS), size)).toEqual(hello({ serverName: NAME }));
      expect(read(inRecords(MAX_RECORDS + 1), size)).toEqual(refused);
    }
  });
});

describe("the name", () => {
  const LABEL = "a".repeat(63);
  test.each([
    ["a.example", "a.example"],
    ["A.EXAMPLE.", "a.example"],
    ["localhost", "localhost"],
    ["under_score.example", "under_score.example"],
    ["xn--bcher-kva.example", "xn--bcher-kva.example"],
    ["1.example", "1.example"],
    ["1.2.3.example4", "1.2.3.example4"],
    [`${LABEL}.${LABEL}.${LABEL}.${LABEL}`, `${LABEL}.${LABEL}.${LABEL}.${LABEL}`],
  ])("%s is %s", (sent, name) => {
    expect(read(records(helloMessage({ extensions: [serverName(sent)] })))).toEqual(hello({ serverName: name }));
  });

  test.each([
    "192.0.2.1",
    "192.0.2.1.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0X7F.1",
    "1.2.3.0x",
    "::1",
    "2001:DB8::1",
  ])("%s is an address, and none", (sent) => {
    expect(read(records(helloMessage({ extensions: [serverName(sent)] })))).toEqual(hello({}));
  });

  test.each([
    "",
    ".",
    "..",
    "a..b",
    ".a",
    "a..",
    "a b",
    "a\r\nHost: b",
    "a\0.example",
    "b\xfccher.example",
    "a:443",
    "user@a",
    "[::1]",
    "*.example",
    `${LABEL}a.example`,
    `${LABEL}.${LABEL}.${LABEL}.${LABEL}.`.repeat(2),
  ])("%j is refused", (sent) => {
    expect(read(records(helloMessage({ extensions: [serverName(sent)] }))).kind).toBe("other");
  });
});

const MALFORMED: readonly [what: string, parts: HelloParts][] = [
  ["a version that is none of TLS", { version: 0x0203 }],
  ["a session id of 33 bytes", { sessionId: Buffer.alloc(33) }],
  ["no cipher suites", { suites: Buffer.alloc(0) }],
  ["half a cipher suite", { suites: Buffer.alloc(3) }],
  ["no compression method", { compressions: Buffer.alloc(0) }],
  ["bytes behind the extensions", { trailer: Buffer.alloc(1) }],
  ["half a length of the extensions", { extensions: null, trailer: Buffer.of(0) }],
  ["extensions longer than the message", { extensions: null, trailer: Buffer.from("0005000000", "hex") }],
  ["half an extension", { extensions: [Buffer.from("0000", "hex")] }],
  ["an extension longer than the others", { extensions: [Buffer.from("fafa0001", "hex")] }],
  ["two names of servers", { extensions: [serverName(NAME), serverName("other.example")] }],
  ["the same name twice", { extensions: [serverName(NAME), extension(21), serverName(NAME)] }],
  ["a list of two names", { extensions: [extension(0, nameList([0, NAME], [0, "other.example"]))] }],
  ["a name of another type", { extensions: [extension(0, nameList([1, NAME]))] }],
  ["a name of another type beside one", { extensions: [extension(0, nameList([0, NAME], [1, "x"]))] }],
  ["an empty list of names", { extensions: [extension(0, nameList())] }],
  ["an empty server_name", { extensions: [extension(0)] }],
  ["a list of names that ends early", { extensions: [extension(0, Buffer.from("0003000001", "hex"))] }],
  [
    "bytes behind the list of names",
    { extensions: [extension(0, Buffer.concat([nameList([0, NAME]), Buffer.of(0)]))] },
  ],
  ["a name longer than its list", { extensions: [extension(0, Buffer.from("0004000009", "hex"))] }],
  ["ALPN twice", { extensions: [1, 2].map(() => extension(16, vector(2, vector(1, "h2")))) }],
  ["an empty protocol", { extensions: [extension(16, vector(2, vector(1)))] }],
  ["a protocol longer than its list", { extensions: [extension(16, vector(2, Buffer.from("056832", "hex")))] }],
];

describe("what can be read in two ways, or in none, is other:", () => {
  test.each(MALFORMED)("%s", (_, parts) => {
    expect(read(records(helloMessage(parts)))).toEqual({ kind: "other", reason: expect.any(String) });
  });

  test.each([
    ["an alert", "1503010002022a"],
    ["application data", "17030100010a"],
    ["a handshake of another version of records", "160201000501000001aa"],
    ["an empty record", "1603010000"],
    ["a record that is too long", "1603014001"],
    ["a ServerHello", "160303000102"],
    ["a message of 2^24 - 1 bytes", "160301000401ffffff"],
    ["an alert in the midst of the message", "160301000501000100031503010002022a"],
    ["a message that ends within its random", "160301000801000004030300ff"],
    ["an empty message", "160301000401000000"],
  ])("%s", (_, hex) => {
    const bytes = Buffer.from(hex, "hex");
    expect(read(bytes)).toEqual({ kind: "other", reason: expect.any(String) });
    expect(read(bytes, 1)).toEqual(read(bytes));
  });
});
