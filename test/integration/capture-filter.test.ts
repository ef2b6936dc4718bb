import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PcapEncoder } from "@hostd/frontends";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compileFilter } from "../../apps/hostd/src/capture/frame-filter.ts";
import { seededRandom } from "../../packages/frontends/src/testing/random.ts";
import { readPcap } from "../../packages/frontends/src/testing/read-pcap.ts";
import { ensureTcpdump, findCommand } from "../vm/host-packages.ts";
import { randomFilter, randomFrame } from "./support/filter-corpus.ts";

const missing = ensureTcpdump();

/** Each frame has its own microsecond, by which it is known again. */
const FRAMES = 3000;
const FILTERS = 400;
const START = 1_700_000_000_000;

const random = seededRandom(20_261_121);
const whole = Array.from({ length: FRAMES }, () => randomFrame(random, false));
const cut = Array.from({ length: FRAMES }, (_, index) => randomFrame(random, index % 2 === 0));

let folder: string;

function writeCapture(name: string, frames: readonly Uint8Array[]): string {
  let time = START;
  const encoder = new PcapEncoder({ now: () => time });
  const parts: Uint8Array[] = [];
  for (const [index, frame] of frames.entries()) {
    time = START + (index + 0.5) / 1000;
    if (encoder.add(frame, 0, frame.length)) continue;
    parts.push(encoder.encoded.slice());
    encoder.clear();
    encoder.add(frame, 0, frame.length);
  }
  parts.push(encoder.encoded);
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat(parts));
  return path;
}

/** The numbers of the frames that tcpdump chooses. */
function chosenByTcpdump(path: string, expression: string, ...flags: string[]): number[] {
  const command = findCommand("tcpdump") ?? "tcpdump";
  const { status, stdout, stderr } = spawnSync(command, ["-n", ...flags, "-r", path, "-w", "-", expression], {
    maxBuffer: 64 * 1024 * 1024,
  });
  // The optimizer has found that no frame can be chosen.
  if (String(stderr).includes("expression rejects all packets")) return [];
  if (status !== 0) throw new Error(`tcpdump does not understand ${JSON.stringify(expression)}: ${stderr}`);
  return readPcap(stdout).map(({ time }) => time - START * 1000);
}

function chosenByUs(frames: readonly Uint8Array[], expression: string): number[] {
  const filter = compileFilter(expression);
  // Somewhere in a larger memory, as the frames of a link are; what is around is not the frame's.
  const memory = new Uint8Array(4096).fill(0xff);
  return frames.flatMap((frame, index) => {
    const offset = index % 1000;
    memory.fill(0xff);
    memory.set(frame, offset);
    return filter(memory, offset, frame.length) ? [index] : [];
  });
}

describe.skipIf(missing !== undefined && process.env.CI !== "true")(
  "a filter chooses the frames that tcpdump chooses",
  () => {
    let wholePath: string;
    let cutPath: string;

    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), "hostd-filter-"));
      wholePath = writeCapture("whole.pcap", whole);
      cutPath = writeCapture("cut.pcap", cut);
    });

    afterAll(() => {
      rmSync(folder, { recursive: true });
    });

    it.each([
      "",
      "tcp",
      "udp and not port 53",
      "tcp port 80",
      "host 192.168.65.3 or 10.1.2.3",
      "src host 192.168.65.3 and dst 10.1.2.3",
      "src or dst port 80",
      "src and dst port 80",
      "not src and dst port 80",
      "port 80 or 443 or portrange 8000-8010",
      "tcp dst portrange 8080-53",
      "port (53 or 80) and udp",
      "host (192.168.65.1 or not 10.1.2.3)",
      "net 192.168.64.0/23 and not arp",
      "arp net 10 or ip6 net fe80::/10",
      "net 192.168 or 10",
      "net 0.0.0.0/0",
      "net ::/0",
      "ether host 02:00:00:00:01:01 or ff:ff:ff:ff:ff:ff",
      "ether src 02:00:00:00:01:01",
      "broadcast or ip multicast",
      "ip or ip6 and tcp",
      "arp or tcp and host 192.168.65.1",
      "not tcp or udp",
      "!(tcp||udp)&&!icmp",
      "less 60 or greater 1000",
      "host 192.168.65.3 and (port 80 or 443)",
      "host 192.168.65.3 and (10.1.2.3 or 192.168.65.1)",
      "net 10 or 192.168.64/23",
      "ether host 02-00-00-00-01-01",
      "src 192.168.65.3 or fe80::1",
      "host ::ffff:10.1.2.3",
      "host FE80::1",
    ])("%s", (expression) => {
      expect(chosenByUs(whole, expression)).toEqual(chosenByTcpdump(wholePath, expression));
      expect(chosenByUs(cut, expression)).toEqual(chosenByTcpdump(cutPath, expression, "-O"));
    });

    it("of 400 that were made at random", () => {
      const filters = Array.from({ length: FILTERS }, () => randomFilter(random));
      let telling = 0;
      for (const [index, expression] of filters.entries()) {
        // Behind the end of a frame, tcpdump's optimizer may change what is chosen: those frames are tried without it.
        const isCut = index % 2 === 0;
        const ours = chosenByUs(isCut ? cut : whole, expression);
        const theirs = chosenByTcpdump(isCut ? cutPath : wholePath, expression, ...(isCut ? ["-O"] : []));
        expect(ours, expression).toEqual(theirs);
        if (ours.length > 0 && ours.length < FRAMES) telling++;
      }
      expect(telling).toBeGreaterThan(FILTERS / 2);
    });
  },
);
