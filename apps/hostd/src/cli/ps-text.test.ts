import { describe, expect, it } from "vitest";
import type { VmReport } from "../control/reports.ts";
import { describeVms } from "./ps-text.ts";
import { PLAIN } from "./table.ts";

const NOW = Date.parse("2026-11-05T12:00:00Z");

const VM: VmReport = {
  name: "unix:///run/user/1000/hostd/vm.sock",
  endpoint: "unix:///run/user/1000/hostd/vm.sock",
  mac: "52:54:00:12:34:56",
  address: "192.168.65.3",
  attachedAt: "2026-11-05T11:56:48Z",
  mtu: 1500,
  link: {
    framesFromVm: 1000,
    bytesFromVm: 1_500_000,
    framesToVm: 2000,
    bytesToVm: 99_400_000,
    drops: {
      malformed: 0,
      checksum: 0,
      unhandled: 0,
      address: 0,
      fragment: 0,
      ttl: 0,
      linkFull: 0,
      unresolved: 0,
      rateLimit: 0,
      connectionLimit: 0,
    },
  },
  flows: { tcp: 10, udp: 2, icmp: 1 },
  forwardedConnections: 3,
};

describe("describeVms", () => {
  it("lists VMs with what they are called, their addresses, since when they are there, and what they did", () => {
    const fresh = { ...VM, name: "vm#2", mac: null, address: null, attachedAt: "2026-11-05T12:00:00.500Z" };
    expect(describeVms([VM, fresh], NOW)).toEqual([
      "NAME                                 ADDRESS       MAC                   UP  FLOWS  FROM VM  TO VM",
      "unix:///run/user/1000/hostd/vm.sock  192.168.65.3  52:54:00:12:34:56  3m12s     13   1.5 MB  99 MB",
      "vm#2                                 -             -                     0s     13   1.5 MB  99 MB",
    ]);
  });

  it("fits a terminal of 80 columns", () => {
    const lines = describeVms([VM], NOW, { ...PLAIN, width: 80 });
    expect(lines[1]).toBe("unix:///run/user/1000/hostd/vm.sock  192.168.65.3  3m12s     13   1.5 MB  99 MB");
    expect(lines[1].length).toBeLessThanOrEqual(80);
  });

  it("says that there is none", () => {
    expect(describeVms([], NOW)).toEqual(["No VM is attached."]);
  });
});
