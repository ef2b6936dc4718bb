import { execFile } from "node:child_process";
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { promisify } from "node:util";
import type { ServerAddress } from "@hostd/dns";
import { findCommand } from "../../vm/host-packages.ts";

/** The numbers of record types that dig knows by name. */
export const RECORD_TYPES = {
  A: 1,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  NAPTR: 35,
  DS: 43,
  RRSIG: 46,
  DNSKEY: 48,
  SVCB: 64,
  HTTPS: 65,
  CAA: 257,
  TYPE65280: 65_280,
} as const;

export type TypeName = keyof typeof RECORD_TYPES;

export interface ClientQueryOptions {
  readonly id?: number;
  /** The payload size of an OPT record; without it the query has none. */
  readonly udpSize?: number;
  readonly dnssecOk?: boolean;
  /** Asks for AD in the answer (RFC 6840, section 5.7). */
  readonly ad?: boolean;
}

/** A query with RD (RFC 1035, section 4). */
export function encodeQuery(name: string, type: TypeName, options: ClientQueryOptions = {}): Uint8Array {
  const { id = 0x1234, udpSize, dnssecOk = false, ad = false } = options;
  const labels = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label, "latin1")]);
  const number = RECORD_TYPES[type];
  const opt =
    udpSize === undefined ? [] : [0, 0, 41, udpSize >>> 8, udpSize & 0xff, 0, 0, dnssecOk ? 0x80 : 0, 0, 0, 0];
  const header = [id >>> 8, id & 0xff, 1, ad ? 0x20 : 0, 0, 1, 0, 0, 0, 0, 0, opt.length === 0 ? 0 : 1];
  return Uint8Array.of(...header, ...labels, 0, number >>> 8, number & 0xff, 0, 1, ...opt);
}

/** A query under another id. */
export function withId(message: Uint8Array, id: number): Uint8Array {
  const copy = Uint8Array.from(message);
  copy[0] = id >>> 8;
  copy[1] = id & 0xff;
  return copy;
}

/** Asks over UDP, once, and takes the first datagram that comes back. Rejects after `timeout` milliseconds. */
export function askUdp(server: ServerAddress, message: Uint8Array, timeout = 10_000): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    const timer = setTimeout(() => finish(new Error("no answer")), timeout);
    const finish = (result: Error | Uint8Array) => {
      clearTimeout(timer);
      socket.close();
      if (result instanceof Error) reject(result);
      else resolve(result);
    };
    socket.once("error", finish);
    socket.once("message", finish);
    socket.send(message, server.port, server.address);
  });
}

/** Asks over TCP, and closes the connection behind the query (RFC 7766, section 6.2.4). */
export async function askTcp(server: ServerAddress, message: Uint8Array): Promise<Uint8Array> {
  const socket = connect({ host: server.address, port: server.port, allowHalfOpen: true });
  socket.setTimeout(10_000, () => socket.destroy(new Error("no answer")));
  socket.end(Buffer.concat([Buffer.of(message.length >>> 8, message.length & 0xff), message]));
  const received = Buffer.concat(await socket.toArray());
  if (received.length < 2 || received.readUInt16BE() !== received.length - 2) throw new Error("no whole answer");
  return received.subarray(2);
}

/** Runs dig and returns what it prints. */
export async function dig(server: ServerAddress, ...args: string[]): Promise<string> {
  const at = [`@${server.address}`, "-p", String(server.port), "+tries=1", "+timeout=8"];
  return (await promisify(execFile)(findCommand("dig") ?? "dig", [...at, ...args])).stdout.trim();
}

/** Looks a name up with delv, which checks its signatures with the key that `anchors` has. */
export async function delv(server: ServerAddress, anchors: string, root: string, ...args: string[]): Promise<string> {
  const at = [`@${server.address}`, "-p", String(server.port), "-a", anchors, `+root=${root}`];
  const { stdout, stderr } = await promisify(execFile)(findCommand("delv") ?? "delv", [...at, ...args]);
  return stdout + stderr;
}
