import { sequenceAfter, sequenceDistance } from "../sequence.ts";
import { State, type TcpConnection } from "../tcp/connection.ts";
import { concatenate, ethernet, icmp, ipv4, type ParsedTcp, tcp } from "./frames.ts";
import { GUEST, GUEST_MAC, OUTSIDE, STACK_MAC } from "./lan.ts";
import type { Step } from "./segment-steps.ts";

/** The ports of the connection that is attacked: the guest's and the stack's. */
export const PORT = 40_000;
export const STACK_PORT = 80;

/** A segment as the peer means it. */
export interface Outgoing {
  readonly flags: string;
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly window: number;
  readonly payload: Uint8Array;
  readonly options: Uint8Array;
  /** The header length to claim, null for the true one. */
  readonly headerLength: number | null;
  /** Whether the options are those of a good peer. */
  readonly isUsual: boolean;
  /** Whether the payload is other than the stream's. */
  readonly lies: boolean;
}

/** The frame of a segment from the guest. */
export function segmentFrame(outgoing: Omit<Outgoing, "isUsual" | "lies">, port = PORT): Uint8Array {
  const { headerLength, ...fields } = outgoing;
  const segment = tcp({
    source: GUEST,
    sourcePort: port,
    destination: OUTSIDE,
    destinationPort: STACK_PORT,
    ...fields,
    ...(headerLength === null ? {} : { headerLength }),
  });
  const packet = ipv4({ source: GUEST, destination: OUTSIDE, protocol: 6, payload: segment, dontFragment: true });
  return ethernet(STACK_MAC, GUEST_MAC, 0x0800, packet);
}

/** The frame of an ICMP destination unreachable that quotes a segment of the stack's, more or less truly. */
export function unreachableFrame({ code, mtu, quote }: Extract<Step, { do: "icmp" }>, about: ParsedTcp): Uint8Array {
  const quoted = ipv4({
    source: OUTSIDE,
    destination: quote === "stranger" ? GUEST + 7 : GUEST,
    protocol: 6,
    payload: tcp({
      source: OUTSIDE,
      sourcePort: STACK_PORT,
      destination: GUEST,
      destinationPort: quote === "port" ? PORT + 1 : PORT,
      sequence: quote === "sequence" ? (about.sequence + (1 << 28)) | 0 : about.sequence,
      acknowledgment: about.acknowledgment,
      flags: "A",
      window: about.window,
      payload: about.payload,
    }),
    dontFragment: true,
  });
  const message = icmp(3, code, mtu, quoted.subarray(0, quote === "short" ? 24 : 28));
  const packet = ipv4({ source: GUEST, destination: OUTSIDE, protocol: 1, payload: message });
  return ethernet(STACK_MAC, GUEST_MAC, 0x0800, packet);
}

/** Whether the stack has no reason not to take in the acknowledgment and the window of a segment. */
export function isAcceptable(
  connection: TcpConnection | null,
  { flags, sequence, acknowledgment, payload }: Outgoing,
): boolean {
  if (connection === null || connection.state < State.established || connection.state > State.lastAck) return false;
  if ((flags !== "A" && flags !== "PA") || sequence !== connection.receiveNext) return false;
  if (payload.length > 0 && connection.state !== State.established) return false;
  return (
    payload.length <= sequenceDistance(connection.receiveEdge, sequence) &&
    !sequenceAfter(connection.sendUnacknowledged, acknowledgment) &&
    !sequenceAfter(acknowledgment, connection.sendMaximum)
  );
}

/** What a TCP may find in the options of a segment, however broken: the largest of each kind. */
export function readOptions({ options, payload, headerLength }: Outgoing): {
  mss: number | undefined;
  windowScale: number | undefined;
  timestamps: number[];
} {
  let mss: number | undefined;
  let windowScale: number | undefined;
  const timestamps: number[] = [];
  const bytes = headerLength === null ? options : concatenate(options, payload).subarray(0, 40);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const isOption = (at: number, kind: number, length: number) =>
    bytes[at] === kind && bytes[at + 1] === length && at + length <= bytes.length;
  for (let at = 0; at < bytes.length; at++) {
    if (isOption(at, 2, 4)) mss = Math.max(mss ?? 0, view.getUint16(at + 2));
    if (isOption(at, 3, 3)) windowScale = Math.max(windowScale ?? 0, bytes[at + 2]);
    if (isOption(at, 8, 10)) timestamps.push(view.getInt32(at + 2));
  }
  return { mss, windowScale, timestamps };
}
