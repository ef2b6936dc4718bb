/** Calls of gvproxy's API on the control API's socket, and streams to try what it opens. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { StreamPort } from "@hostd/frontends";
import { EmbeddedGuest } from "@hostd/guest";
import { formatIpv4 } from "@hostd/stack";
import { askDaemon } from "./control.ts";
import { type Lab, macOf } from "./lab.ts";

export const PORT = 8080;
export const GUEST_API = { guestApi: { enabled: true, allow: ["any"] } };
export const DONE = { status: 200, body: "" };

export interface Shown {
  readonly local: string;
  readonly remote: string;
  readonly protocol: string;
}

export const apiOf = (lab: Lab) => join(lab.folder, "api.sock");
export const withApi = (lab: Lab) => ({ api: `unix://${apiOf(lab)}` });

export async function post(
  lab: Lab,
  path: string,
  body: unknown,
): Promise<{ status: number | undefined; body: string }> {
  const { status, body: answer } = await askDaemon(apiOf(lab), "POST", `/services/${path}`, body);
  return { status, body: answer };
}

export const expose = (lab: Lab, body: Partial<Shown>) => post(lab, "forwarder/expose", body);
export const unexpose = (lab: Lab, body: Partial<Shown>) => post(lab, "forwarder/unexpose", body);

export async function read<Value>(lab: Lab, path: string): Promise<Value> {
  return JSON.parse((await askDaemon(apiOf(lab), "GET", path)).body) as Value;
}

export const shown = (lab: Lab) => read<Shown[]>(lab, "/services/forwarder/all");

export function addressOf(guest: EmbeddedGuest): string {
  return formatIpv4(guest.lease?.address ?? 0);
}

/** A port of 127.0.0.1 that nobody has at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Has a guest send back what it is sent, and end when it is ended. */
export function serveEcho(guest: EmbeddedGuest, port = PORT): void {
  guest.listen(port, (stream) => stream.on("error", () => {}).pipe(stream));
}

export function client(lab: Lab, port: number): Socket {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  lab.defer(() => socket.destroy());
  return socket.on("error", () => {});
}

export async function echo(stream: Duplex, words: string): Promise<string> {
  stream.write(words);
  let received = "";
  while (received.length < words.length) {
    const chunk: Buffer | null = stream.read();
    if (chunk === null) await once(stream, "readable");
    else received += chunk.toString();
  }
  return received;
}

/** What comes until the end of a stream, once this side has ended. */
export async function lastWords(stream: Duplex): Promise<string> {
  stream.end("last words");
  return await text(stream);
}

export async function refusal(lab: Lab, port: number): Promise<string | undefined> {
  const socket = client(lab, port);
  const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
  return error.code;
}

/** Opens a connection and sends bytes on it. */
export async function send(lab: Lab, path: string, ...parts: readonly (string | Uint8Array)[]): Promise<Socket> {
  const socket = connect({ path, allowHalfOpen: true });
  lab.defer(() => socket.destroy());
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.pause();
  for (const part of parts) {
    await new Promise<void>((resolve) => socket.write(part, () => resolve()));
    // Each in a read of its own.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return socket;
}

/** Lets a guest attach over a connection that a request has taken over. */
export function guestOver(lab: Lab, socket: Socket, framing: "qemu" | "hyperkit" = "hyperkit"): EmbeddedGuest {
  const guest = new EmbeddedGuest({ port: new StreamPort(socket, "guest", { framing }), mac: macOf(1) });
  lab.defer(() => guest.kill());
  return guest;
}

export const CONNECT =
  "POST /connect HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 0\r\n\r\n";
