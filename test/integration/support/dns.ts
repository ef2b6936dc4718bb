import { createSocket, type Socket } from "node:dgram";
import { createServer, type Server } from "node:net";

const HEADER_LENGTH = 12;
const TYPE_A = 1;
const FLAG_RESPONSE = 0x8180;
const FLAG_TRUNCATED = 0x0200;
/** The longest answer over UDP to a query without EDNS (RFC 1035, 4.2.1). */
const UDP_LIMIT = 512;
export const NXDOMAIN = 3;

export interface DnsAnswer {
  readonly id: number;
  readonly rcode: number;
  readonly isTruncated: boolean;
  readonly addresses: readonly string[];
}

/** A query for the records of a name, by default its addresses. */
export function encodeQuery(id: number, name: string, type = TYPE_A): Buffer {
  const labels = name.split(".").flatMap((label) => [Buffer.of(label.length), Buffer.from(label)]);
  const header = Buffer.from([id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([header, ...labels, Buffer.of(0, type >> 8, type & 0xff, 0, 1)]);
}

export function decodeAnswer(message: Uint8Array): DnsAnswer {
  const bytes = Buffer.from(message);
  const flags = bytes.readUInt16BE(2);
  let at = skipQuestion(bytes);
  const addresses: string[] = [];
  for (let count = bytes.readUInt16BE(6); count > 0; count--) {
    at = skipName(bytes, at);
    const length = bytes.readUInt16BE(at + 8);
    if (bytes.readUInt16BE(at) === TYPE_A) addresses.push(bytes.subarray(at + 10, at + 10 + length).join("."));
    at += 10 + length;
  }
  return {
    id: bytes.readUInt16BE(0),
    rcode: flags & 15,
    isTruncated: (flags & FLAG_TRUNCATED) !== 0,
    addresses,
  };
}

function skipName(bytes: Buffer, start: number): number {
  let at = start;
  while (bytes[at] !== 0) {
    if (bytes[at] >= 0xc0) return at + 2;
    at += bytes[at] + 1;
  }
  return at + 1;
}

function skipQuestion(bytes: Buffer): number {
  return skipName(bytes, HEADER_LENGTH) + 4;
}

/** A name server on loopback, over UDP and TCP, that knows a few names: the host's own in a test. */
export class NameServer {
  /** The names that were asked for, in order. */
  readonly queries: string[] = [];
  readonly #names: Readonly<Record<string, readonly string[]>>;
  readonly #udp: Socket;
  readonly #tcp: Server;

  private constructor(names: Readonly<Record<string, readonly string[]>>, udp: Socket, tcp: Server) {
    this.#names = names;
    this.#udp = udp;
    this.#tcp = tcp;
  }

  /** Starts one, by default on any free port. */
  static async start(
    names: Readonly<Record<string, readonly string[]>>,
    host = "127.0.0.1",
    port = 0,
  ): Promise<NameServer> {
    for (;;) {
      const udp = createSocket("udp4");
      await new Promise<void>((resolve, reject) => {
        udp.once("error", reject);
        udp.bind(port, host, resolve);
      });
      const tcp = createServer();
      const isBound = await new Promise<boolean>((resolve) => {
        tcp.once("error", () => resolve(false));
        tcp.listen(udp.address().port, host, () => resolve(true));
      });
      if (isBound) return new NameServer(names, udp, tcp).#serve();
      // Somebody has the TCP port of the same number: another one, then.
      udp.close();
      if (port !== 0) throw new Error(`TCP port ${port} of ${host} is taken`);
    }
  }

  /** Where it answers, as the configuration names it. */
  get address(): string {
    const { address, port } = this.#udp.address();
    return `${address}:${port}`;
  }

  close(): void {
    this.#udp.close();
    this.#tcp.close();
  }

  #serve(): this {
    this.#udp.on("message", (query, { port, address }) => {
      this.#udp.send(this.#answer(query, UDP_LIMIT), port, address);
    });
    this.#tcp.on("connection", (socket) => {
      socket.on("error", () => {});
      let received = Buffer.alloc(0);
      socket.on("data", (chunk) => {
        received = Buffer.concat([received, Buffer.from(chunk as Buffer)]);
        while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
          const end = 2 + received.readUInt16BE(0);
          socket.write(withLength(this.#answer(received.subarray(2, end), 0xffff)));
          received = received.subarray(end);
        }
      });
    });
    return this;
  }

  #answer(query: Buffer, limit: number): Buffer {
    const question = query.subarray(HEADER_LENGTH, skipQuestion(query));
    const name = readName(question);
    // hostd asks each server at its start whether it asks in turn.
    if (!name.endsWith(".loop-check.hostd.internal")) this.queries.push(name);
    const addresses = this.#names[name];
    const records = (addresses ?? []).map((address) =>
      Buffer.from([0xc0, HEADER_LENGTH, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split(".").map(Number)]),
    );
    const length = HEADER_LENGTH + question.length + records.reduce((sum, record) => sum + record.length, 0);
    const isTruncated = length > limit;
    const header = Buffer.alloc(HEADER_LENGTH);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(
      FLAG_RESPONSE | (isTruncated ? FLAG_TRUNCATED : 0) | (addresses === undefined ? NXDOMAIN : 0),
      2,
    );
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(isTruncated ? 0 : records.length, 6);
    return Buffer.concat([header, question, ...(isTruncated ? [] : records)]);
  }
}

function readName(question: Buffer): string {
  const labels: string[] = [];
  for (let at = 0; question[at] !== 0; at += question[at] + 1) {
    labels.push(question.toString("latin1", at + 1, at + 1 + question[at]));
  }
  return labels.join(".").toLowerCase();
}

/** A message as DNS over TCP has it (RFC 1035, 4.2.2). */
export function withLength(message: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(message.length >> 8, message.length & 0xff), message]);
}
