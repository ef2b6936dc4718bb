import { describe, expect, it } from "vitest";
import { peersOf } from "./all.ts";
import { passt } from "./passt.ts";
import { shortVersion } from "./peer.ts";

describe("shortVersion", () => {
  it.each([
    ["0.0~git20250503.587980c-2+deb13u1", "2025-05-03"],
    ["0.8.1-3", "0.8.1"],
    ["1:1.2.0-1+b1", "1.2.0"],
    ["0.1.0 (16a1299-dirty)", "0.1.0 (16a1299-dirty)"],
    ["unknown", "unknown"],
  ])("of %s is %s", (version, short) => {
    expect(shortVersion(version)).toBe(short);
  });
});

describe("peersOf", () => {
  it("gives the newest version the plain name, and older ones their version", () => {
    const versions = ["0.0~git20230309.7c7625d-1", "0.0~git20250503.587980c-2"];
    const peers = peersOf(
      passt,
      versions.map((version) => ({ version, command: ["passt"] })),
    );
    expect(peers.map(({ id, installation }) => [id, installation.version])).toEqual([
      ["passt", versions[1]],
      ["passt@2023-03-09", versions[0]],
    ]);
  });

  it("compares versions by numbers", () => {
    const peers = peersOf(
      passt,
      ["1.9.0", "1.10.0"].map((version) => ({ version, command: ["passt"] })),
    );
    expect(peers.map(({ id }) => id)).toEqual(["passt", "passt@1.9.0"]);
  });
});

describe("what passt cannot do", () => {
  it("are datagrams of several packets from the guest", () => {
    expect(passt.cannot?.("udp-up-8000", 1500)).toBe("it does not take fragments");
    expect(passt.cannot?.("udp-up-8000", 9000)).toBeUndefined();
    expect(passt.cannot?.("udp-down-8000", 1500)).toBeUndefined();
  });
});
