/**
 * A network card whose cable is a socket: copies Ethernet frames between a TAP device, which it makes in the network
 * namespace it runs in, and a Unix socket where each frame follows its length in 32 bits, most significant byte first
 * (QEMU's stream netdev). Neither changes nor drops a frame.
 *
 *     UV_THREADPOOL_SIZE=1 node bridge.ts SOCKET DEVICE
 *
 * Writes "ready" when both ends are open. Ends when either end is gone.
 */
import { read, writeSync } from "node:fs";
import { createConnection } from "node:net";
import { openTapDevice } from "@hostd/native";

/** An Ethernet header with one VLAN tag, and the largest IP packet. */
const MAX_FRAME = 18 + 65535;
const LENGTH_SIZE = 4;
/** Frames that are read ahead of the event loop: what it finds together goes out in one write. */
const READS = 64;
/** Bytes that may wait for the socket before the TAP device has to wait too. */
const HIGH_WATER = 1024 * 1024;

const [path, device] = process.argv.slice(2);
if (path === undefined || device === undefined) throw new Error("usage: bridge.ts SOCKET DEVICE");
// libuv cannot poll a TUN device, so its threads wait for frames. One thread alone takes the reads in their order.
if (process.env.UV_THREADPOOL_SIZE !== "1") throw new Error("the order of frames takes UV_THREADPOOL_SIZE=1");

const opened = openTapDevice(device);
if (opened.descriptor === null) throw new Error(opened.reason);
const tap = opened.descriptor;

/** Ends the process by a signal: `process.exit` would wait for the thread that waits for a frame. */
function end(reason: string): void {
  process.stderr.write(`bridge: ${reason}\n`, () => process.kill(process.pid, "SIGKILL"));
}

/** What the socket brought and has not made a whole frame yet, from the start of `input`. */
let pending = 0;
const input = Buffer.allocUnsafe(2 * MAX_FRAME + 1024 * 1024);

const socket = createConnection({
  path,
  onread: { buffer: Buffer.allocUnsafe(1024 * 1024), callback: receive },
});
socket.on("error", (error) => end(error.message));
socket.on("close", () => end("the socket was closed"));
socket.on("connect", () => {
  for (let index = 0; index < READS; index += 1) readFrame(Buffer.allocUnsafe(MAX_FRAME));
  process.stdout.write("ready\n");
});

/** Writes to the TAP device each frame that the socket has brought whole. */
function receive(length: number, chunk: Uint8Array): boolean {
  input.set(chunk.subarray(0, length), pending);
  pending += length;
  let at = 0;
  while (pending - at >= LENGTH_SIZE) {
    const frame = input.readUInt32BE(at);
    if (frame > MAX_FRAME) {
      end(`the socket announced a frame of ${frame} bytes`);
      return false;
    }
    if (pending - at < LENGTH_SIZE + frame) break;
    writeSync(tap, input, at + LENGTH_SIZE, frame);
    at += LENGTH_SIZE + frame;
  }
  input.copyWithin(0, at, pending);
  pending -= at;
  return true;
}

/** Buffers that wait until the socket takes more. */
const waiting: Buffer[] = [];

/** Reads frames from the TAP device, one after the other, for as long as the socket takes them. */
function readFrame(buffer: Buffer): void {
  read(tap, buffer, 0, MAX_FRAME, null, (error, length) => {
    if (error !== null) {
      end(`reading ${device}: ${error.message}`);
      return;
    }
    if (socket.writableCorked === 0) {
      socket.cork();
      setImmediate(() => socket.uncork());
    }
    const frame = Buffer.allocUnsafe(LENGTH_SIZE + length);
    frame.writeUInt32BE(length);
    buffer.copy(frame, LENGTH_SIZE, 0, length);
    socket.write(frame);
    if (socket.writableLength < HIGH_WATER) readFrame(buffer);
    else waiting.push(buffer);
  });
}

socket.on("drain", () => {
  for (const buffer of waiting.splice(0)) readFrame(buffer);
});
