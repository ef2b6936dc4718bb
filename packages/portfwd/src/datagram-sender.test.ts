import { expect, test } from "vitest";
import {
  DatagramSender,
  MAX_DATAGRAM,
  MAX_UNSENT_BYTES,
  MAX_UNSENT_DATAGRAMS,
  type SendingSocket,
} from "./datagram-sender.ts";

/** A socket whose kernel takes nothing while it is stuck. */
class StuckSocket implements SendingSocket {
  isStuck = false;
  readonly sent: Buffer[] = [];
  readonly #queue: { readonly payload: Uint8Array; readonly sent: (error: Error | null) => void }[] = [];

  send(
    bytes: Uint8Array,
    offset: number,
    length: number,
    _port: number,
    _address: string,
    sent: (error: Error | null) => void,
  ): void {
    this.#queue.push({ payload: bytes.subarray(offset, offset + length), sent });
    if (!this.isStuck) this.resume();
  }

  getSendQueueSize(): number {
    return this.#queue.reduce((size, { payload }) => size + payload.length, 0);
  }

  getSendQueueCount(): number {
    return this.#queue.length;
  }

  /** The kernel takes all that waits. */
  resume(error: Error | null = null): void {
    this.isStuck = false;
    for (const { payload, sent } of this.#queue.splice(0)) {
      if (error === null) this.sent.push(Buffer.from(payload));
      sent(error);
    }
  }
}

function setUp() {
  const socket = new StuckSocket();
  const errors: Error[] = [];
  const sender = new DatagramSender(socket, (error) => errors.push(error));
  const frame = Buffer.alloc(MAX_DATAGRAM + 100);
  /** Sends from memory that is overwritten at once. */
  const send = (payload: Buffer): boolean => {
    payload.copy(frame, 50);
    const taken = sender.send(frame, 50, payload.length, 9, "127.0.0.1");
    frame.fill(0xee);
    return taken;
  };
  return { socket, errors, send };
}

test("what waits keeps its bytes, of this socket and of others", () => {
  const [one, other] = [setUp(), setUp()];
  one.socket.isStuck = true;
  const texts = ["first", "second", ""];
  for (const text of texts) expect(one.send(Buffer.from(text))).toBe(true);
  expect(other.send(Buffer.from("meanwhile"))).toBe(true);
  expect(other.socket.sent.map(String)).toEqual(["meanwhile"]);
  one.socket.resume();
  expect(one.send(Buffer.from("last"))).toBe(true);
  expect(one.socket.sent.map(String)).toEqual([...texts, "last"]);
});

test("bytes beyond the limit are dropped until the kernel has taken what waits", () => {
  const { socket, send } = setUp();
  socket.isStuck = true;
  const payload = Buffer.alloc(MAX_DATAGRAM);
  const fitting = Math.floor(MAX_UNSENT_BYTES / MAX_DATAGRAM);
  for (let count = 0; count < fitting; count++) expect(send(payload)).toBe(true);
  expect(send(payload)).toBe(false);
  expect(send(Buffer.from("small"))).toBe(true);
  expect(socket.getSendQueueSize()).toBeLessThanOrEqual(MAX_UNSENT_BYTES);
  socket.resume();
  expect(send(payload)).toBe(true);
  expect(socket.sent.length).toBe(fitting + 2);
});

test("datagrams beyond the limit are dropped, even empty ones", () => {
  const { socket, send } = setUp();
  socket.isStuck = true;
  for (let count = 0; count < MAX_UNSENT_DATAGRAMS; count++) expect(send(Buffer.alloc(0))).toBe(true);
  expect(send(Buffer.alloc(0))).toBe(false);
  expect(socket.getSendQueueCount()).toBe(MAX_UNSENT_DATAGRAMS);
});

test("a datagram that was taken and not sent is told", () => {
  const { socket, errors, send } = setUp();
  socket.isStuck = true;
  expect(send(Buffer.from("x"))).toBe(true);
  const error = new Error("unreachable");
  socket.resume(error);
  expect(errors).toEqual([error]);
});
