import { parseIpv4, type SendSpace, type TcpFlow } from "@hostd/stack";

/** A connection whose send buffer a test opens and shuts, and that keeps what is asked of it. */
export class FakeFlow implements TcpFlow {
  readonly localAddress = parseIpv4("192.168.65.1");
  readonly localPort = 80;
  readonly remoteAddress = parseIpv4("192.168.65.3");
  readonly remotePort = 40000;
  sendRoom = Number.POSITIVE_INFINITY;
  sendQueued = 0;
  /** What was taken, in the order in which it was taken. */
  readonly sent: Uint8Array[] = [];
  consumedBytes = 0;
  shutdowns = 0;
  aborts = 0;
  #space = new Uint8Array(0);

  send(bytes: Uint8Array, offset: number, length: number): number {
    const taken = Math.min(length, this.sendRoom);
    this.sendRoom -= taken;
    this.sent.push(bytes.slice(offset, offset + taken));
    return taken;
  }

  hasSendRoom(bytes: number): boolean {
    return this.sendRoom >= bytes;
  }

  sendSpace(most: number): Readonly<SendSpace> | null {
    const length = Math.min(most, this.sendRoom);
    this.#space = new Uint8Array(length);
    return length === 0 ? null : { bytes: this.#space, offset: 0, length };
  }

  sendFilled(length: number): void {
    this.send(this.#space, 0, length);
  }

  consumed(length: number): void {
    this.consumedBytes += length;
  }

  shutdown(): void {
    this.shutdowns++;
  }

  setNagle(): void {}

  setKeepAlive(): void {}

  setUserTimeout(): void {}

  abort(): void {
    this.aborts++;
  }
}
