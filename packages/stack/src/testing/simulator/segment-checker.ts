import type { Mac } from "../../address.ts";
import { type ParsedTcp, parseFrame } from "../frames.ts";
import { CheckedFlow } from "./checked-flow.ts";
import type { FrameObserver } from "./station.ts";

/** Bytes of an Ethernet header. */
const ETHERNET = 14;
/** Another MAC may take an address over after about so much silence, in milliseconds: also one with a flipped bit. */
const TAKEOVER_MS = 29_000;

/**
 * Checks everything that a stack sends against what it has received: every frame by itself with the parser of
 * `frames.ts`, every TCP segment with the {@link CheckedFlow} it belongs to.
 *
 * It sits between stack and link, so that it knows what the stack can know, whatever the link does.
 */
export class SegmentChecker implements FrameObserver {
  /** TCP segments that were checked. */
  segments = 0;
  readonly #mtu: number;
  /** The stack's, once it has sent something. */
  #mac: Mac = new Uint8Array(6);
  #receivedAt = Number.NEGATIVE_INFINITY;
  /** The stack may take a wrong MAC for the peer's, and drop what comes from the right one. */
  #mistakesPeer = false;
  /** By both addresses and ports, as the stack sees them. */
  readonly #flows = new Map<string, CheckedFlow>();
  /** The one that the frame that was received last is of. */
  #latest: CheckedFlow | undefined;
  /** The last SYN of each peer, as often as it came, which becomes a flow when the stack answers it. */
  readonly #requests = new Map<string, ParsedTcp[]>();

  /** @param mtu - the stack's. */
  constructor(mtu: number) {
    this.#mtu = mtu;
  }

  received(frame: Uint8Array, now: number, isCorrupt: boolean): void {
    const silence = now - this.#receivedAt;
    this.#receivedAt = now;
    this.#latest = undefined;
    const tcp = isCorrupt ? readCorruptSegment(frame) : readSegment(frame);
    if (tcp === null) return;
    if (isCorrupt && silence > TAKEOVER_MS) this.#mistakesPeer = true;
    // A frame for another MAC comes from a peer that has itself believed a wrong one.
    const isOurs = tcp.destination.every((byte, index) => byte === this.#mac[index]);
    const isCertain = isOurs && !isCorrupt && !this.#mistakesPeer;
    const key = `${tcp.destinationAddress}:${tcp.destinationPort} ${tcp.sourceAddress}:${tcp.sourcePort}`;
    if (tcp.flags === "S") {
      const earlier = this.#requests.get(key) ?? [];
      this.#requests.set(key, [...earlier.filter(({ sequence }) => sequence === tcp.sequence), tcp]);
    }
    this.#latest = this.#flows.get(key);
    this.#latest?.receive(tcp, isCertain);
  }

  handled(): void {
    this.#latest?.settle();
  }

  sent(frame: Uint8Array): void {
    const tcp = readSegment(frame);
    if (frame.length > ETHERNET + this.#mtu) throw new Error(`a frame of ${frame.length} bytes, above the MTU`);
    if (tcp === null) return;
    this.segments++;
    this.#mac = tcp.source;
    const key = `${tcp.sourceAddress}:${tcp.sourcePort} ${tcp.destinationAddress}:${tcp.destinationPort}`;
    let flow = this.#flows.get(key);
    if (tcp.flags.includes("S") && (flow === undefined || flow.isOver || flow.firstSequence !== tcp.sequence)) {
      flow = new CheckedFlow(this.#mtu, tcp, tcp.flags.includes("A") ? (this.#requests.get(key) ?? []) : []);
      this.#flows.set(key, flow);
    } else if (flow !== undefined) {
      flow.send(tcp);
    } else if (!tcp.flags.includes("R")) {
      throw new Error(`a segment with the flags ${tcp.flags} of no connection`);
    }
  }
}

/** The TCP segment in a frame, or null when there is none. */
function readSegment(frame: Uint8Array): ParsedTcp | null {
  const parsed = parseFrame(frame);
  return parsed.kind === "tcp" ? parsed : null;
}

/**
 * The segment in a frame with flipped bits, when all of them are in the Ethernet header: no checksum of the stack's is
 * over that. Of any other the stack must not be seen to act as if it had received it.
 */
function readCorruptSegment(frame: Uint8Array): ParsedTcp | null {
  try {
    return readSegment(frame);
  } catch {
    return null;
  }
}
