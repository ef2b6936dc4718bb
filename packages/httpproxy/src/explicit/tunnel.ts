import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { resetSocket } from "@hostd/native";
import { FlowStream, relayStreams, rescueUnread } from "@hostd/streams";

/** Where one end of a tunnel keeps the other one, so that all tunnels share their listeners. */
const OTHER = Symbol("other");

interface TunnelEnd extends Duplex {
  [OTHER]?: Duplex;
}

/**
 * Joins two connections: the bytes of each go to the other, with backpressure. The end of one direction is passed on alone,
 * be it before or after this call; a connection that breaks off breaks the other one off. What was read of either before is
 * to be put back with `unshift`.
 */
export function joinTunnel(one: Duplex, other: Duplex): void {
  if (one instanceof FlowStream && other instanceof Socket && relayStreams(one, other)) return;
  pass(one, other);
  pass(other, one);
}

/** Ends a connection at once, such that its peer does not take what it got for everything. */
export function resetStream(stream: Duplex): void {
  if (stream.destroyed) return;
  if (stream instanceof Socket && !("encrypted" in stream)) resetSocket(stream);
  else stream.destroy();
}

function pass(from: TunnelEnd, to: Duplex): void {
  from[OTHER] = to;
  from.on("data", passData).on("end", passEnd).on("error", ignore).on("close", passClose).on("drain", passDrain);
  rescueUnread(from, (bytes) => {
    if (to.writable) to.write(bytes);
  });
  if (from.destroyed) {
    resetStream(to);
  } else {
    if (from.readableEnded) to.end();
    from.resume();
  }
}

function passData(this: TunnelEnd, bytes: Buffer): void {
  const to = this[OTHER];
  if (to?.writable === true && !to.write(bytes)) this.pause();
}

function passEnd(this: TunnelEnd): void {
  this[OTHER]?.end();
}

function passDrain(this: TunnelEnd): void {
  this[OTHER]?.resume();
}

function passClose(this: TunnelEnd): void {
  const other = this[OTHER];
  // Its own end is known to the other one; what it did not take is lost.
  if (other !== undefined && !(this.readableEnded && this.writableFinished)) resetStream(other);
}

function ignore(): void {}
