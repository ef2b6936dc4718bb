import { describe, expect, it } from "vitest";
import type { FlowReport } from "../control/reports.ts";
import { describeFlows } from "./flows-text.ts";
import { PLAIN } from "./table.ts";

const TCP: FlowReport = {
  id: "tcp/192.168.65.3:40000/93.184.215.14:443",
  vm: "unix:///run/vm.sock",
  protocol: "tcp",
  direction: "out",
  guest: { address: "192.168.65.3", port: 40000 },
  container: null,
  remote: { address: "93.184.215.14", port: 443 },
  client: null,
  state: "ESTABLISHED",
  ageSeconds: 192.4,
  idleSeconds: 2,
  bytesFromGuest: 1500,
  bytesToGuest: 15_300_000,
  retransmissions: 3,
  roundTripMilliseconds: 0.24,
};

const UDP: FlowReport = {
  ...TCP,
  id: "udp/192.168.65.3:50000",
  protocol: "udp",
  guest: { address: "192.168.65.3", port: 50000 },
  remote: { address: "192.0.2.1", port: 123 },
  state: null,
  retransmissions: null,
  roundTripMilliseconds: null,
};

const PING: FlowReport = {
  ...UDP,
  id: "icmp/192.168.65.3:7",
  protocol: "icmp",
  remote: { address: "1.1.1.1", port: null },
};

const IN: FlowReport = {
  ...TCP,
  id: "tcp/192.168.65.3:80/192.168.65.1:50000",
  direction: "in",
  guest: { address: "192.168.65.3", port: 80 },
  remote: { address: "192.168.65.1", port: 50000 },
  client: { address: "127.0.0.1", port: 51000 },
};

describe("describeFlows", () => {
  it("lists flows with both ends and what they carried", () => {
    expect(describeFlows({ total: 3, flows: [TCP, UDP, PING] })).toEqual([
      "ID                                        STATE          AGE  IDLE  FROM VM  TO VM     RTT  RESENT",
      "tcp/192.168.65.3:40000/93.184.215.14:443  ESTABLISHED  3m12s    2s   1.5 kB  15 MB  0.2 ms       3",
      "udp/192.168.65.3:50000 -> 192.0.2.1:123   -            3m12s    2s   1.5 kB  15 MB       -       -",
      "icmp/192.168.65.3:7 -> 1.1.1.1            -            3m12s    2s   1.5 kB  15 MB       -       -",
    ]);
  });

  it("fits a terminal of 80 columns", () => {
    expect(describeFlows({ total: 1, flows: [TCP] }, { ...PLAIN, width: 80 })).toEqual([
      "ID                                        STATE          AGE  FROM VM  TO VM",
      "tcp/192.168.65.3:40000/93.184.215.14:443  ESTABLISHED  3m12s   1.5 kB  15 MB",
    ]);
  });

  it("names the clients of published ports where there are any", () => {
    const six = { ...IN, client: { address: "::1", port: 2 } };
    const socket = { ...IN, client: { address: "", port: null } };
    const lines = describeFlows({ total: 4, flows: [TCP, IN, six, socket] });
    const start = lines[0].indexOf("CLIENT");
    expect(lines.slice(1).map((line) => line.slice(start, line.indexOf(" ", start)))).toEqual([
      "-",
      "127.0.0.1:51000",
      "[::1]:2",
      "unix",
    ]);
  });

  it("names the containers where there are any", () => {
    const named = { ...UDP, id: "udp/172.17.0.2:50000", container: "web" };
    const [titles, first, second] = describeFlows({ total: 2, flows: [TCP, named] });
    const start = titles.indexOf("CONTAINER");
    expect([first, second].map((line) => line.slice(start, line.indexOf(" ", start)))).toEqual(["-", "web"]);
    expect(describeFlows({ total: 2, flows: [TCP, named] }, { ...PLAIN, width: 80 })[0]).not.toContain("CONTAINER");
    expect(describeFlows({ total: 1, flows: [TCP] })[0]).not.toContain("CONTAINER");
  });

  it("names the VMs where there are several", () => {
    expect(describeFlows({ total: 2, flows: [TCP, UDP] })[0]).not.toContain("VM  STATE");
    const [titles, , line] = describeFlows({ total: 2, flows: [TCP, { ...UDP, vm: "vm#2" }] });
    expect(line.slice(titles.indexOf("VM"))).toMatch(/^vm#2 /);
  });

  it("says when there are more than are listed", () => {
    expect(describeFlows({ total: 10, flows: [TCP] }).slice(-2)).toEqual(["", "The newest 1 of 10 flows."]);
  });

  it("says that there are none", () => {
    expect(describeFlows({ total: 0, flows: [] })).toEqual(["There are no flows."]);
  });
});
