import { parseIpv4, type TcpFlow } from "@hostd/stack";

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

  send(bytes: Uint8Array, offset: number, length: number): number {
    const taken = Math.min(length, this.sendRoom);
    this.sendRoom -= taken;
    this.sent.push(bytes.slice(offset, offset + taken));
    return taken;
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
