import { describe, expect, it } from "vitest";
import type { HostdEvent } from "../control/event-hub.ts";
import { describeEvent } from "./events-text.ts";

/** The fifth of November, local time. */
const time = new Date(2026, 10, 5, 4, 3, 9).toISOString();

describe("describeEvent", () => {
  it.each<[HostdEvent, string]>([
    [{ type: "vm.attached", time, vm: "vm" }, "VM vm attached"],
    [{ type: "vm.detached", time, vm: "vm" }, "VM vm detached"],
    [{ type: "vm.detached", time, vm: "vm", fault: "a frame of 0 bytes" }, "VM vm detached: a frame of 0 bytes"],
    [{ type: "vm.address", time, vm: "vm", mac: "m", address: "a" }, "VM vm has a (m)"],
    [{ type: "lease.granted", time, mac: "m", address: "a" }, "a leased to m"],
    [{ type: "lease.granted", time, mac: "m", address: "a", host: "web" }, "a leased to m (web)"],
    [{ type: "lease.released", time, mac: "m", address: "a" }, "a released by m"],
    [{ type: "forward.added", time, id: "tcp/:80", to: "80", origin: "api" }, "tcp/:80 leads to vm:80 (api)"],
    [{ type: "forward.removed", time, id: "tcp/:80", origin: "api" }, "tcp/:80 leads nowhere any more (api)"],
    [
      { type: "forward.failed", time, id: "tcp/:80", origin: "api", error: "in use" },
      "tcp/:80 cannot be opened: in use (api)",
    ],
    [{ type: "zone.added", time, zone: "lab" }, "zone lab added"],
    [{ type: "zone.removed", time, zone: "lab" }, "zone lab removed"],
    [
      { type: "proxy.changed", time, http: [], https: ["http://a:1"], pac: null, exclusions: [], from: "x" },
      "proxy settings changed: direct for plain HTTP, http://a:1 for HTTPS, from x",
    ],
    [
      { type: "proxy.changed", time, http: [], https: [], pac: null, exclusions: ["a"], from: "the default" },
      "proxy settings changed: direct, from the default",
    ],
    [
      { type: "proxy.changed", time, http: [], https: [], pac: "http://a/p.pac", exclusions: [], from: "x" },
      "proxy settings changed: the PAC script http://a/p.pac, from x",
    ],
    [
      { type: "config.reloaded", time, changed: ["dns.zones", "forwards"] },
      "configuration read again: dns.zones, forwards changed",
    ],
    [{ type: "config.reloaded", time, changed: [] }, "configuration read again: nothing changed"],
  ])("tells of %j", (event, text) => {
    expect(describeEvent(event)).toBe(`2026-11-05 04:03:09  ${text}`);
  });

  it("shows a name that a guest chose without what would steer the terminal", () => {
    const text = describeEvent({ type: "lease.granted", time, mac: "m", address: "a", host: "\x1b[2J\n" });
    expect(text).toContain("(?[2J?)");
  });

  it("tells of an event that it does not know", () => {
    const event: unknown = JSON.parse(`{"type": "vm.paused", "time": "${time}", "vm": "vm", "by": 2}`);
    expect(describeEvent(event as HostdEvent)).toBe('2026-11-05 04:03:09  vm.paused vm="vm" by=2');
  });
});
