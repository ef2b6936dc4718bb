import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { readPcap } from "../../../packages/frontends/src/testing/read-pcap.ts";

const TSHARK = (process.env.PATH ?? "")
  .split(delimiter)
  .map((folder) => join(folder, "tshark"))
  .find(existsSync);

const CHECK_CHECKSUMS = ["ip", "tcp", "udp"].flatMap((name) => ["-o", `${name}.check_checksum:TRUE`]);
const BAD =
  "_ws.malformed || ip.checksum.status==0 || tcp.checksum.status==0 || udp.checksum.status==0 || " +
  "icmp.checksum.status==0";

async function tshark(path: string, filter: string, dataPorts: readonly number[]): Promise<string[]> {
  const asData = dataPorts.flatMap((port) => ["tcp", "udp"].flatMap((name) => ["-d", `${name}.port==${port},data`]));
  const args = ["-n", "-r", path, "-Y", filter, ...asData, ...CHECK_CHECKSUMS];
  const { stdout } = await promisify(execFile)(TSHARK ?? "", args, { maxBuffer: 64 * 1024 * 1024 });
  return stdout.split("\n").filter((line) => line !== "");
}

export interface CaptureSummary {
  readonly frames: number;
  /** Frames that are malformed or have a wrong checksum, one line each. */
  readonly bad: readonly string[];
  /** How many frames each protocol has that tshark or the small reader found. */
  count(protocol: "arp" | "dhcp" | "dns" | "icmp" | "tcp" | "udp"): Promise<number>;
}

/**
 * Reads a capture with tshark, or with a small reader that knows only the structure of the file where tshark is not
 * installed.
 *
 * @param dataPorts - ports of flows that carry random bytes, which may look like a broken message of some protocol.
 * @throws when the file is no capture, or tshark is missing in a CI run.
 */
export async function readCapture(path: string, dataPorts: readonly number[] = []): Promise<CaptureSummary> {
  const records = readPcap(await readFile(path));
  if (TSHARK !== undefined) {
    return {
      frames: records.length,
      bad: await tshark(path, BAD, dataPorts),
      count: async (protocol) => (await tshark(path, protocol, dataPorts)).length,
    };
  }
  if (process.env.CI === "true") throw new Error("tshark is not installed");
  const ports = { dhcp: [67, 68], dns: [53] };
  const matches = (frame: Uint8Array, protocol: keyof typeof ports | "arp" | "icmp" | "tcp" | "udp"): boolean => {
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const etherType = view.getUint16(12);
    if (protocol === "arp") return etherType === 0x0806;
    const isProtocol = (number: number) => etherType === 0x0800 && frame[23] === number;
    if (protocol === "icmp") return isProtocol(1);
    if (protocol === "tcp") return isProtocol(6);
    if (protocol === "udp") return isProtocol(17);
    return isProtocol(17) && ports[protocol].some((port) => port === view.getUint16(34) || port === view.getUint16(36));
  };
  return {
    frames: records.length,
    bad: records.filter(({ data }) => data.length < 14).map(() => "a frame shorter than its header"),
    count: async (protocol) => records.filter(({ data }) => matches(data, protocol)).length,
  };
}
