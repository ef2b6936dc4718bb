import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { UNREACHABLE_HOST, UNREACHABLE_NET, UNREACHABLE_PORT, UNREACHABLE_PROHIBITED } from "@hostd/stack";
import { expect, test } from "vitest";
import { runInNamespace } from "./testing/network-namespace.ts";

/** An address that answers, one range for each way in which a kernel has no route, and one that swallows everything. */
const SETUP = `
  ip link set lo up
  ip address add 203.0.113.5/32 dev lo
  ip route add unreachable 198.51.100.0/28
  ip route add prohibit 198.51.100.16/28
  ip route add 198.51.100.32/28 dev lo
  echo "0 0" > /proc/sys/net/ipv4/ping_group_range
`;

test("flows to real addresses are answered as a real network answers them", async () => {
  const program = join(dirname(fileURLToPath(import.meta.url)), "testing", "namespace-program.ts");
  const results = await runInNamespace(SETUP, program);
  if (results === null) {
    // Such flows cannot be made here without leaving the machine; the refusal is all there is to see.
    expect(() => execFileSync("unshare", ["-rn", "true"], { stdio: "ignore" })).toThrow();
    return;
  }
  const reply = { source: "203.0.113.5", destination: "192.168.65.3", identifier: 7, intact: true };
  expect(results).toEqual({
    tcp: {
      peer: "welcome",
      closed: "refused",
      hostUnreachable: "host-unreachable",
      prohibited: "prohibited",
      noRoute: "net-unreachable",
      blackHoleAnswered: false,
      pending: 1,
      pendingAfterCancel: 0,
    },
    udp: {
      source: "203.0.113.5",
      payload: "hello",
      errors: [
        { code: UNREACHABLE_PORT, from: "203.0.113.5", about: "203.0.113.5" },
        { code: UNREACHABLE_HOST, from: null, about: "198.51.100.1" },
        { code: UNREACHABLE_PROHIBITED, from: null, about: "198.51.100.17" },
        { code: UNREACHABLE_NET, from: null, about: "192.0.2.1" },
      ],
      hostPorts: 1,
    },
    icmp: {
      replies: [0, 1, 56, 1472, 1473, 65507].map((length, sequence) => ({ ...reply, sequence, length })),
      guests: { "192.168.65.3": "first", "192.168.65.4": "other" },
      errors: [
        { code: UNREACHABLE_HOST, from: null, about: "198.51.100.1", sequence: 200 },
        { code: UNREACHABLE_PROHIBITED, from: null, about: "198.51.100.17", sequence: 200 },
        { code: UNREACHABLE_NET, from: null, about: "192.0.2.1", sequence: 200 },
      ],
      flows: [
        { guest: "192.168.65.3 7", peer: "192.0.2.1", bytes: [68_538, 68_514] },
        { guest: "192.168.65.4 7", peer: "203.0.113.5", bytes: [5, 5] },
      ],
      sockets: 2,
      opened: 2,
      ended: [true, false, 1],
    },
    log: [],
  });
});
