import { isIPv4, isIPv6 } from "node:net";
import { GrowingBuffer } from "@hostd/http1";

/** The longest ClientHello that is read, in bytes. Those of browsers with post-quantum keys have about 2 KiB. */
export const MAX_HELLO = 64 * 1024;
/** The most records that it may be cut into, which bounds what their headers add. */
export const MAX_RECORDS = 4096;

const RECORD_HEADER = 5;
const HANDSHAKE_HEADER = 4;
/** RFC 8446, 5.1. */
const MAX_RECORD_LENGTH = 2 ** 14;
const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
/** The high byte of every version of TLS, and of SSL 3.0. */
const MAJOR_VERSION = 3;
const RANDOM_LENGTH = 32;
const MAX_SESSION_ID = 32;

const SERVER_NAME = 0;
const ALPN = 16;
const ENCRYPTED_CLIENT_HELLO = 0xfe0d;
/** The extensions that are read. */
const READ_EXTENSIONS: ReadonlySet<number> = new Set([SERVER_NAME, ALPN, ENCRYPTED_CLIENT_HELLO]);
const HOST_NAME = 0;
const MAX_HOST_NAME = 255;

/** What a TLS client says first (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2). */
export interface ClientHello {
  /**
   * The host it wants to talk to (RFC 6066, 3), in lower case and without a dot at its end. Null when it names none, or
   * an IP address, which is not allowed there and says no more than the address it has connected to.
   */
  readonly serverName: string | null;
  /** The protocols it offers (RFC 7301), each byte as one character. */
  readonly alpn: readonly string[];
  /**
   * Whether another ClientHello is encrypted in this one (RFC 9849), or bytes that look like it: clients send those too.
   * The name is then the one that the client wants to be seen.
   */
  readonly hasEncryptedClientHello: boolean;
}

export type ClientHelloReading =
  | { readonly kind: "more" }
  | ({ readonly kind: "hello" } & ClientHello)
  /** It is no ClientHello, or one that two readers may take for different things. */
  | { readonly kind: "other"; readonly reason: string };

const MORE: ClientHelloReading = { kind: "more" };

/**
 * Reads the ClientHello at the beginning of a connection, however it is cut into segments and into records
 * (RFC 8446, 5.1), in time and memory that follow its length.
 */
export class ClientHelloReader {
  readonly #header = Buffer.alloc(RECORD_HEADER);
  #headerLength = 0;
  /** Bytes that are missing of the record that is read. */
  #rest = 0;
  /** What the records carry. */
  readonly #message = new GrowingBuffer();
  #records = 0;
  #reading: ClientHelloReading = MORE;

  /** Reads the next bytes. What follows what is no `more` is not looked at. */
  add(bytes: Buffer): ClientHelloReading {
    if (this.#reading.kind !== "more") return this.#reading;
    try {
      this.#reading = this.#read(bytes);
    } catch (error) {
      if (!(error instanceof MalformedHello)) throw error;
      this.#reading = { kind: "other", reason: error.message };
    }
    if (this.#reading.kind !== "more") this.#message.clear();
    return this.#reading;
  }

  #read(bytes: Buffer): ClientHelloReading {
    for (let at = 0; at < bytes.length; ) {
      if (this.#rest === 0) {
        this.#header[this.#headerLength++] = bytes[at++];
        if (this.#headerLength === RECORD_HEADER) this.#beginRecord();
        continue;
      }
      const end = Math.min(bytes.length, at + this.#rest);
      this.#message.add(bytes, at, end);
      this.#rest -= end - at;
      at = end;
      const message = this.#message.content;
      if (message[0] !== CLIENT_HELLO) throw new MalformedHello("a TLS connection begins with another message");
      if (message.length < HANDSHAKE_HEADER) continue;
      const length = HANDSHAKE_HEADER + message.readUIntBE(1, 3);
      if (length > MAX_HELLO) throw new MalformedHello("the ClientHello is too long");
      if (message.length >= length) return readHello(new Cursor(message, HANDSHAKE_HEADER, length));
    }
    return MORE;
  }

  #beginRecord(): void {
    // The minor version says nothing, and servers ignore it (RFC 8446, 5.1).
    if (this.#header[0] !== HANDSHAKE_RECORD || this.#header[1] !== MAJOR_VERSION) {
      throw new MalformedHello("a record of TLS that is no part of a handshake");
    }
    const length = this.#header.readUInt16BE(3);
    if (length === 0 || length > MAX_RECORD_LENGTH)
      throw new MalformedHello("a record of TLS has a length it cannot have");
    if (++this.#records > MAX_RECORDS) throw new MalformedHello("the ClientHello is cut into too many records");
    this.#rest = length;
    this.#headerLength = 0;
  }
}

class MalformedHello extends Error {}

/** Reads numbers and vectors (RFC 8446, 3) within a range, and never beyond it. */
class Cursor {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  /** Bytes that are left. */
  get length(): number {
    return this.#end - this.#at;
  }

  /** A number of so many bytes. */
  number(size: 1 | 2): number {
    const at = this.skip(size);
    return size === 1 ? this.#bytes[at] : this.#bytes.readUInt16BE(at);
  }

  /** A vector whose length is a number of so many bytes. */
  vector(size: 1 | 2): Cursor {
    const length = this.number(size);
    const at = this.skip(length);
    return new Cursor(this.#bytes, at, at + length);
  }

  /** @returns where the bytes were that are skipped. */
  skip(length: number): number {
    const at = this.#at;
    if (length > this.length) throw new MalformedHello("a length in the ClientHello goes beyond its end");
    this.#at += length;
    return at;
  }

  /** All that is left, each byte as one character. */
  text(): string {
    return this.#bytes.toString("latin1", this.#at, this.#end);
  }
}

function readHello(hello: Cursor): ClientHelloReading {
  if (hello.number(2) >> 8 !== MAJOR_VERSION) throw new MalformedHello("a ClientHello of an unknown version");
  hello.skip(RANDOM_LENGTH);
  if (hello.vector(1).length > MAX_SESSION_ID) throw new MalformedHello("a session id that is too long");
  const suites = hello.vector(2).length;
  if (suites === 0 || suites % 2 !== 0) throw new MalformedHello("malformed cipher suites");
  if (hello.vector(1).length === 0) throw new MalformedHello("no compression method");
  const extensions = readExtensions(hello);
  const serverName = extensions.get(SERVER_NAME);
  const alpn = extensions.get(ALPN);
  return {
    kind: "hello",
    serverName: serverName === undefined ? null : readServerName(serverName),
    alpn: alpn === undefined ? [] : readProtocols(alpn),
    hasEncryptedClientHello: extensions.has(ENCRYPTED_CLIENT_HELLO),
  };
}

/** The contents of the extensions that are read. All others are skipped, those of GREASE (RFC 8701) with them. */
function readExtensions(hello: Cursor): Map<number, Cursor> {
  const read = new Map<number, Cursor>();
  // Up to TLS 1.2 there may be none at all.
  if (hello.length === 0) return read;
  const extensions = hello.vector(2);
  checkEmpty(hello);
  while (extensions.length > 0) {
    const type = extensions.number(2);
    const content = extensions.vector(2);
    if (!READ_EXTENSIONS.has(type)) continue;
    // RFC 8446, 4.2: readers differ in which of them they would take.
    if (read.has(type)) throw new MalformedHello("an extension occurs twice");
    read.set(type, content);
  }
  return read;
}

/** RFC 6066, 3. A list of several names is not in use, and readers differ in which of them they would take. */
function readServerName(content: Cursor): string | null {
  const names = content.vector(2);
  checkEmpty(content);
  const type = names.number(1);
  const name = names.vector(2);
  if (type !== HOST_NAME || names.length > 0) throw new MalformedHello("the server name is not one host name");
  if (name.length > MAX_HOST_NAME) throw new MalformedHello("the server name is too long");
  return readHostName(name.text());
}

function readHostName(text: string): string | null {
  const name = (text.endsWith(".") ? text.slice(0, -1) : text).toLowerCase();
  if (isIPv6(name)) return null;
  if (!/^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(name)) {
    throw new MalformedHello("the server name is no host name");
  }
  // Numbers at the end make it an IPv4 address to many resolvers, in forms such as 127.1 and 0x7f000001.
  return isIPv4(name) || /(?:^|\.)(?:\d+|0x[\da-f]*)$/.test(name) ? null : name;
}

/** RFC 7301, 3.1. */
function readProtocols(content: Cursor): string[] {
  const list = content.vector(2);
  checkEmpty(content);
  const protocols: string[] = [];
  while (list.length > 0) {
    const protocol = list.vector(1);
    if (protocol.length === 0) throw new MalformedHello("an empty name of a protocol");
    protocols.push(protocol.text());
  }
  return protocols;
}

function checkEmpty(cursor: Cursor): void {
  if (cursor.length > 0) throw new MalformedHello("there is more in the ClientHello than its lengths tell");
}
