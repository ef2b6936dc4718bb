import { execFile } from "node:child_process";
import { promisify } from "node:util";

const CHECK_CHECKSUMS = ["ip", "tcp", "udp"].flatMap((protocol) => ["-o", `${protocol}.check_checksum:TRUE`]);
/** Bytes that look random would now and then look like some application's protocol, a broken one. */
const PLAIN = ["-d", "tcp.port==1-65535,data"];

/** What tshark's TCP analysis may say of a segment. */
export const ANALYSIS_FLAGS = [
  "retransmission",
  "fast_retransmission",
  "spurious_retransmission",
  "out_of_order",
  "lost_segment",
  "ack_lost_segment",
  "duplicate_ack",
  "reused_ports",
  "keep_alive",
  "keep_alive_ack",
  "window_full",
  "window_update",
  "zero_window",
  "zero_window_probe",
  "zero_window_probe_ack",
  "tfo_syn",
  "tfo_ack",
  "tfo_ignored",
] as const;

export type AnalysisFlag = (typeof ANALYSIS_FLAGS)[number];

/** A TCP segment of a capture. Sequence numbers count from each side's SYN, times are in milliseconds. */
export interface CapturedSegment {
  readonly frame: number;
  readonly time: number;
  /** The number of its connection. */
  readonly stream: number;
  readonly source: string;
  /** Letters of SYN, FIN, RST, PSH and ACK. */
  readonly flags: string;
  readonly sequence: number;
  /** Bytes of data. */
  readonly length: number;
  readonly acknowledgment: number;
  /** The window, scaled. */
  readonly window: number;
  /** The values of the timestamps option; null without one. */
  readonly timestamps: readonly [value: number, echo: number] | null;
  readonly sackPermitted: boolean;
  /** The maximum segment size and the shift count of a SYN; null without the option. */
  readonly maximumSegment: number | null;
  readonly windowShift: number | null;
  /** The first block of selective acknowledgment, which reports what came last. */
  readonly reported: readonly [start: number, end: number] | null;
  readonly analysis: readonly AnalysisFlag[];
}

async function tshark(capture: string, filter: string, fields: readonly string[]): Promise<string[][]> {
  const output = ["-T", "fields", ...fields.flatMap((field) => ["-e", field])];
  const args = ["-n", "-r", capture, ...CHECK_CHECKSUMS, ...PLAIN, "-Y", filter, ...output];
  const { stdout } = await promisify(execFile)("tshark", args, { maxBuffer: 256 * 1024 * 1024 });
  const lines = stdout.split("\n").slice(0, -1);
  return lines.map((line) => line.split("\t"));
}

/** What tshark's experts say of each packet of a capture that a filter selects. */
export async function expertMessages(capture: string, filter: string): Promise<string[]> {
  return (await tshark(capture, filter, ["frame.number", "_ws.expert.message"])).map((each) => each.join(": "));
}

/** Every TCP segment of a capture. */
export async function tcpSegments(capture: string): Promise<CapturedSegment[]> {
  const columns = [
    "frame.number",
    "frame.time_relative",
    "tcp.stream",
    "eth.src",
    "tcp.flags.str",
    "tcp.seq",
    "tcp.len",
    "tcp.ack",
    "tcp.window_size",
    "tcp.options.timestamp.tsval",
    "tcp.options.timestamp.tsecr",
    "tcp.options.sack_perm",
    "tcp.options.mss_val",
    "tcp.options.wscale.shift",
    "tcp.options.sack_le",
    "tcp.options.sack_re",
  ];
  // A packet that an ICMP error quotes is no segment of its own.
  const analysis = ANALYSIS_FLAGS.map((flag) => `tcp.analysis.${flag}`);
  const rows = await tshark(capture, "tcp && !icmp", [...columns, ...analysis]);
  return rows.map((row) => {
    const [frame, time, stream, source = "", flags = "", sequence, length, acknowledgment, window, ...rest] = row;
    const [value = "", echo = "", sackPermitted = "", maximum = "", shift = "", starts = "", ends = "", ...found] =
      rest;
    return {
      frame: Number(frame),
      time: 1000 * Number(time),
      stream: Number(stream),
      source,
      flags: flags.replaceAll(/[^A-Z]/g, ""),
      sequence: Number(sequence),
      length: Number(length),
      acknowledgment: Number(acknowledgment),
      window: Number(window),
      timestamps: value === "" ? null : [Number(value), Number(echo)],
      sackPermitted: sackPermitted !== "",
      maximumSegment: maximum === "" ? null : Number(maximum),
      windowShift: shift === "" ? null : Number(shift),
      reported: starts === "" ? null : [Number.parseInt(starts, 10), Number.parseInt(ends, 10)],
      analysis: ANALYSIS_FLAGS.filter((_, index) => found[index] !== ""),
    };
  });
}
