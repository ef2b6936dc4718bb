import { describe, expect, it } from "vitest";
import type { LeaseReport } from "../control/reports.ts";
import { describeLeases } from "./leases-text.ts";
import { PLAIN } from "./table.ts";

const NOW = Date.parse("2026-11-05T12:00:00Z");

const LEASE: LeaseReport = {
  mac: "52:54:00:12:34:56",
  address: "192.168.65.3",
  expires: "2026-11-06T11:00:00Z",
  hostName: "web",
  isActive: true,
  isStatic: false,
  vm: "unix:///run/vm.sock",
};

describe("describeLeases", () => {
  it("lists leases, and when they end or ended", () => {
    const ended = { ...LEASE, expires: "2026-11-05T11:59:00Z", hostName: null, isActive: false, vm: null };
    const unused = { ...ended, address: "192.168.65.50", isStatic: true, expires: null };
    expect(describeLeases([LEASE, ended, unused], NOW)).toEqual([
      "ADDRESS        MAC                HOST NAME  KIND     EXPIRES    VM",
      "192.168.65.3   52:54:00:12:34:56  web        dynamic  in 23h00m  unix:///run/vm.sock",
      "192.168.65.3   52:54:00:12:34:56  -          dynamic  1m00s ago  -",
      "192.168.65.50  52:54:00:12:34:56  -          static   -          -",
    ]);
  });

  it("shows a name that a guest chose without what would steer the terminal", () => {
    const [, line] = describeLeases([{ ...LEASE, hostName: "\x1b]0;title\x07" }], NOW);
    expect(line).toContain("  ?]0;title?  ");
  });

  it("leaves out the VM where the terminal has no room", () => {
    expect(describeLeases([LEASE], NOW, { ...PLAIN, width: 80 })[0]).not.toContain("VM");
  });

  it("says that there is none", () => {
    expect(describeLeases([], NOW)).toEqual(["No lease was given yet."]);
  });
});
