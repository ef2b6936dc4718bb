import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { cleanUp } from "../../../streams/src/testing/peer.ts";

const number = (value: number, size: 1 | 2 | 3) => {
  const bytes = Buffer.alloc(size);
  bytes.writeUIntBE(value, 0, size);
  return bytes;
};

/** A vector with its length in so many bytes (RFC 8446, 3.4). */
export function vector(size: 1 | 2 | 3, ...parts: (Buffer | string)[]): Buffer {
  const content = Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : part)));
  return Buffer.concat([number(content.length, size), content]);
}

/** An extension with its type. */
export function extension(type: number, content: Buffer | string = ""): Buffer {
  return Buffer.concat([number(type, 2), vector(2, content)]);
}

/** The list of names of a server_name extension. */
export function nameList(...names: (readonly [type: number, name: string])[]): Buffer {
  return vector(2, ...names.map(([type, name]) => Buffer.concat([number(type, 1), vector(2, name)])));
}

export function serverName(name: string): Buffer {
  return extension(0, nameList([0, name]));
}

export interface HelloParts {
  readonly version?: number;
  readonly sessionId?: Buffer;
  readonly suites?: Buffer;
  readonly compressions?: Buffer;
  /** Null for none, not even their length. */
  readonly extensions?: readonly Buffer[] | null;
  /** What follows the extensions. */
  readonly trailer?: Buffer;
}

/** A ClientHello as a handshake message (RFC 8446, 4). */
export function helloMessage(parts: HelloParts): Buffer {
  const { extensions = [] } = parts;
  const body = [
    number(parts.version ?? 0x0303, 2),
    Buffer.alloc(32, 0xc5),
    vector(1, parts.sessionId ?? Buffer.alloc(32, 0x5c)),
    vector(2, parts.suites ?? Buffer.from("130113021303c02b", "hex")),
    vector(1, parts.compressions ?? Buffer.of(0)),
    extensions === null ? Buffer.alloc(0) : vector(2, ...extensions),
    parts.trailer ?? Buffer.alloc(0),
  ];
  return Buffer.concat([Buffer.of(1), vector(3, ...body)]);
}

/** A handshake message in records of at most `size` bytes. */
export function records(message: Buffer, size = 2 ** 14): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    parts.push(Buffer.from("160301", "hex"), vector(2, message.subarray(at, at + size)));
  }
  return Buffer.concat(parts);
}

/** The message in a single record. */
export function messageOf(record: Buffer): Buffer {
  return record.subarray(5);
}

/** A share of a key that is not a real one (RFC 8446, 4.2.8). */
const key = (group: number, length: number) => Buffer.concat([number(group, 2), vector(2, Buffer.alloc(length, 0x11))]);

/** What Firefox sends, in its order, with keys and tickets of the lengths that they have. */
export function firefoxHello(name: string): Buffer {
  return records(
    helloMessage({
      suites: Buffer.from("130113031302c02bc02fcca9cca8c02cc030c00ac009c013c014009c009d002f0035", "hex"),
      extensions: [
        serverName(name),
        extension(23),
        extension(0xff01, Buffer.of(0)),
        extension(10, vector(2, Buffer.from("11ec001d00170018001901000101", "hex"))),
        extension(11, vector(1, Buffer.of(0))),
        extension(16, vector(2, vector(1, "h2"), vector(1, "http/1.1"))),
        extension(5, Buffer.from("0100000000", "hex")),
        extension(34, vector(2, Buffer.from("0403050306030203", "hex"))),
        extension(18),
        extension(51, vector(2, key(0x11ec, 1216), key(0x1d, 32), key(0x17, 65))),
        extension(43, vector(1, Buffer.from("03040303", "hex"))),
        extension(13, vector(2, Buffer.from("040305030603080408050806040105010601", "hex"))),
        extension(45, vector(1, Buffer.of(1))),
        extension(28, Buffer.from("4001", "hex")),
        extension(27, vector(1, Buffer.from("000100020003", "hex"))),
        extension(0xfe0d, Buffer.alloc(281, 0xec)),
      ],
    }),
  );
}

/** What Chrome sends: extensions of GREASE at both ends (RFC 8701, 3.1), among them in no order. */
export function chromeHello(name: string): Buffer {
  return records(
    helloMessage({
      suites: Buffer.from("7a7a130113021303c02bc02f", "hex"),
      extensions: [
        extension(0xdada),
        extension(
          51,
          vector(2, Buffer.concat([number(0x2a2a, 2), vector(2, Buffer.of(0))]), key(0x11ec, 1216), key(0x1d, 32)),
        ),
        extension(0xfe0d, Buffer.alloc(186, 0xec)),
        extension(17613, vector(2, vector(1, "h2"))),
        extension(16, vector(2, vector(1, "h2"), vector(1, "http/1.1"))),
        serverName(name),
        extension(10, vector(2, Buffer.from("2a2a11ec001d00170018", "hex"))),
        extension(13, vector(2, Buffer.from("0403080404010503080505010806", "hex"))),
        extension(43, vector(1, Buffer.from("5a5a03040303", "hex"))),
        extension(0x1a1a, Buffer.of(0)),
      ],
    }),
  );
}

/**
 * Records what a real client sends first.
 *
 * @param start - has the client connect to a port of 127.0.0.1.
 */
export async function recordHello(start: (port: number) => void): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const server = createServer((socket) => {
    let received = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => {
      received = Buffer.concat([received, bytes]);
      const length = received.length < 5 ? 5 : 5 + received.readUInt16BE(3);
      if (received.length < length) return;
      socket.destroy();
      resolve(received.subarray(0, length));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUp(() => server.close());
  start((server.address() as AddressInfo).port);
  return promise;
}
