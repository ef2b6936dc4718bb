import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { createServer } from "node:tls";
import { expect, test } from "vitest";
import { Random } from "../../../stack/src/testing/random.ts";
import { cleanUp } from "../../../streams/src/testing/peer.ts";
import {
  chromeHello,
  extension,
  firefoxHello,
  helloMessage,
  messageOf,
  nameList,
  records,
  serverName,
  vector,
} from "../testing/client-hellos.ts";
import { ClientHelloReader, type ClientHelloReading } from "./client-hello.ts";

const NAME = "www.example.com";
const ORIGINALS = [
  firefoxHello(NAME),
  chromeHello(NAME),
  records(helloMessage({ extensions: [serverName(NAME)] })),
  records(helloMessage({ extensions: [extension(16, vector(2, vector(1, "h2"))), serverName(NAME)] }), 20),
  records(helloMessage({ extensions: [serverName(NAME), serverName("other.example")] })),
  records(helloMessage({ extensions: [extension(0, nameList([0, NAME], [0, "other.example"]))] })),
  records(helloMessage({ extensions: null })),
];

/** Changes some bytes, most of them to values that lengths and types have. */
function garble(bytes: Buffer, random: Random): Buffer {
  const garbled = Buffer.from(bytes);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.oneIn(3) ? random.below(garbled.length) : random.below(Math.min(160, garbled.length));
    const value = random.pick([0, 1, 255, garbled[at] + 1, garbled[at] - 1, random.below(256)]);
    garbled[at] = value;
  }
  return random.oneIn(4) ? garbled.subarray(0, random.below(garbled.length)) : garbled;
}

function read(bytes: Buffer, nextLength: () => number): ClientHelloReading {
  const reader = new ClientHelloReader();
  let reading: ClientHelloReading = { kind: "more" };
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + nextLength());
    reading = reader.add(bytes.subarray(at, end));
    at = end;
  }
  return reading;
}

test("garbled bytes are read alike however they are cut, and give a host name or nothing", () => {
  const kinds = { hello: 0, other: 0, more: 0 };
  for (let round = 0; round < 20_000; round++) {
    const random = new Random(round);
    const bytes = garble(random.pick(ORIGINALS), random);
    const reading = read(bytes, () => bytes.length);
    const most = random.pick([1, 5, 100, 1460]);
    expect(read(bytes, () => 1 + random.below(most))).toEqual(reading);
    kinds[reading.kind]++;
    if (reading.kind === "hello" && reading.serverName !== null) {
      expect(reading.serverName).toMatch(/^(?=.{1,255}$)[a-z0-9_-]+(\.[a-z0-9_-]+)*$/);
    }
  }
  // Each happens often enough to be tried.
  expect(Math.min(...Object.values(kinds))).toBeGreaterThan(1000);
});

test("random bytes give nothing", () => {
  for (let round = 0; round < 5000; round++) {
    const random = new Random(round);
    const bytes = Buffer.from(random.bytes(1 + random.below(300)));
    const length = bytes.length;
    // A part of them goes beyond the first checks.
    if (random.oneIn(2)) Buffer.from("160301012001000100030300", "hex").copy(bytes);
    expect(["other", "more"]).toContain(read(bytes, () => 1 + random.below(length)).kind);
  }
});

/** Sends bytes to the TLS of Node, which is OpenSSL's, and says what name it has read of them; null for none. */
async function openSslName(port: number, bytes: Buffer, names: string[]): Promise<string | null> {
  names.length = 0;
  const socket = connect({ host: "127.0.0.1", port });
  socket.on("error", () => {});
  socket.resume();
  socket.end(bytes);
  await once(socket, "close");
  return names[0] ?? null;
}

test("OpenSSL never reads another name than is read here", async () => {
  const names: string[] = [];
  const server = createServer({
    SNICallback: (name, done) => {
      names.push(name);
      done(null);
    },
  });
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUp(() => server.close());
  const { port } = server.address() as AddressInfo;

  // It takes what is cut into records of any size, so that they are rightly put together.
  for (const size of [1, 3, 50, 1000]) {
    expect(await openSslName(port, records(messageOf(firefoxHello(NAME)), size), names)).toBe(NAME);
  }
  let heard = 0;
  for (let round = 0; round < 1000; round++) {
    const random = new Random(round);
    const bytes = garble(random.pick(ORIGINALS), random);
    const theirs = await openSslName(port, bytes, names);
    if (theirs === null) continue;
    heard++;
    const reading = read(bytes, () => bytes.length);
    if (reading.kind === "hello") expect(reading.serverName).toBe(theirs.toLowerCase().replace(/\.$/, ""));
  }
  expect(heard).toBeGreaterThan(100);
});
