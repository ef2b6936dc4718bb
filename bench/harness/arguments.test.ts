import { describe, expect, it } from "vitest";
import { gvproxy } from "../peers/gvproxy.ts";
import { hostd } from "../peers/hostd.ts";
import { passt } from "../peers/passt.ts";
import type { Peer } from "../peers/peer.ts";
import { type Arguments, readArguments } from "./arguments.ts";
import { MEASURES, QUICK_MEASURES } from "./measures.ts";

const peers: Peer[] = [
  { id: "hostd", kind: hostd, installation: { version: "1", command: ["hostd"] } },
  { id: "passt", kind: passt, installation: { version: "2", command: ["passt"] } },
  { id: "passt@1", kind: passt, installation: { version: "1", command: ["passt"] } },
];

function read(...args: string[]): Arguments {
  const parsed = readArguments(args, () => ({ peers, known: ["hostd", "gvproxy", "passt"] }));
  if (typeof parsed === "string") throw new Error(parsed);
  return parsed;
}

const ids = (list: readonly { readonly id: string }[]) => list.map(({ id }) => id);

describe("readArguments", () => {
  it("measures everything three times with the newest version of each peer by default", () => {
    const parsed = read();
    expect(parsed).toMatchObject({ mtus: [1500, 65520], runs: 3, seconds: 2, json: false, save: false });
    expect(parsed.output).toBeUndefined();
    expect(ids(parsed.peers)).toEqual(["hostd", "passt"]);
    expect(parsed.measures).toEqual(MEASURES);
  });

  it("does less and shorter with --quick, unless more is asked for", () => {
    expect(ids(read("--quick").measures)).toEqual(
      MEASURES.map(({ id }) => id).filter((id) => QUICK_MEASURES.includes(id)),
    );
    expect(read("--quick")).toMatchObject({ runs: 1, seconds: 0.5 });
    expect(read("--quick", "--runs", "2", "--seconds", "1.5", "--cells", "udp-up-200")).toMatchObject({
      runs: 2,
      seconds: 1.5,
      measures: [{ id: "udp-up-200" }],
    });
  });

  it("knows groups of cells, and takes each once in the order of measuring", () => {
    expect(ids(read("--cells", "udp-down,up,udp-down-200, start").measures)).toEqual([
      "start",
      "up",
      "udp-down-200",
      "udp-down-1400",
      "udp-down-8000",
    ]);
  });

  it("takes older versions by name, and all of them", () => {
    expect(ids(read("--peers", "passt@1,hostd").peers)).toEqual(["hostd", "passt@1"]);
    expect(ids(read("--peers", "all").peers)).toEqual(["hostd", "passt", "passt@1"]);
  });

  it("takes several MTUs, each once", () => {
    expect(read("--mtu", "9000,1500,9000").mtus).toEqual([9000, 1500]);
  });

  it("shows help and the list without looking at anything else", () => {
    const never = () => {
      throw new Error("looked for peers");
    };
    expect(readArguments(["--help", "--runs", "x"], never)).toBe("help");
    expect(readArguments(["--list"], never)).toBe("list");
  });

  it.each([
    [["--peers", "qemu"], '--peers "qemu": there are hostd, passt, passt@1'],
    [["--peers", "gvproxy"], "--peers: gvproxy is not installed; npm run bench:peers fetches it"],
    [["--cells", "udp-"], '--cells "udp-": there are start, rss,'],
    [["--cells", "up,,down"], '--cells "up,,down": a list with commas'],
    [["--mtu", "575"], '--mtu "575": must be a whole number from 576 to 65520'],
    [["--mtu", "1500.5"], '--mtu "1500.5": must be a whole number from 576 to 65520'],
    [["--runs", "0"], '--runs "0": must be a whole number from 1 to 100'],
    [["--seconds", "0x2"], '--seconds "0x2": must be a number from 0.1 to 600'],
    [["--quick", "--save"], "--save keeps the figures of a full run; leave out --quick"],
    [["--speed"], "Unknown option '--speed'"],
    [["now"], "Unexpected argument 'now'"],
  ])("rejects %j", (args, message) => {
    expect(() => read(...args)).toThrow(message);
  });

  it("names a program that is known but not installed only as long as it is not", () => {
    const parsed = readArguments(["--peers", "gvproxy"], () => ({
      peers: [{ id: "gvproxy", kind: gvproxy, installation: { version: "1", command: ["gvproxy"] } }],
      known: ["gvproxy"],
    }));
    expect(parsed).toMatchObject({ peers: [{ id: "gvproxy" }] });
  });
});
