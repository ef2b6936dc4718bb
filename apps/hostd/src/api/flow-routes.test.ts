import type { GuestFlow } from "@hostd/egress";
import { type Ipv4, parseIpv4 } from "@hostd/stack";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { endedFlowSchema, type FlowListReport, flowListSchema } from "../control/flow-report.ts";
import type { VmSession } from "../vm-session.ts";
import { flowRoutes } from "./flow-routes.ts";
import { RequestError } from "./problem.ts";

const GUEST = parseIpv4("192.168.65.3");
const PEER = parseIpv4("203.0.113.5");
const CONTAINER = parseIpv4("172.17.0.2");
const GATEWAY = parseIpv4("192.168.65.1");

beforeEach(() => void vi.spyOn(performance, "now").mockReturnValue(100_000));
afterEach(() => void vi.restoreAllMocks());

/** A connection as the stack has it, ESTABLISHED unless `fields` say something else. */
function connection(fields: object = {}) {
  return {
    ...{ remoteAddress: GUEST, remotePort: 40_000, localAddress: PEER, localPort: 443, isActive: false },
    ...{ openedAt: 40_000, heardAt: 60_000, lastSentAt: 70_500, stateName: "ESTABLISHED" },
    ...{ bytesReceived: 2 ** 33, bytesSent: 5, retransmittedSegments: 3 },
    roundTrip: { isKnown: true, smoothed: 1.23456 },
    ...fields,
  };
}

function guestFlow(fields: Partial<GuestFlow> = {}): GuestFlow {
  return {
    ...{ guestAddress: GUEST, guestPort: 7, peerAddress: PEER, peerPort: 9, openedAt: 90_000, lastUsed: 89_500 },
    ...{ bytesFromGuest: 10, bytesToGuest: 20 },
    ...fields,
  };
}

interface FakeVm {
  readonly name?: string;
  readonly connections?: readonly object[];
  readonly udp?: readonly GuestFlow[];
  readonly echo?: readonly GuestFlow[];
}

/** The routes over VMs that have just so many flows; what is ended is written down. */
function open(...vms: FakeVm[]) {
  const ended: unknown[] = [];
  const sessions = vms.map(({ name = "one", connections = [], udp = [], echo = [] }) => ({
    name,
    stack: {
      address: GATEWAY,
      tcp: { connections: () => connections, end: (flow: unknown) => ended.push([name, flow]) },
    },
    egress: {
      udpFlows: () => udp,
      echoFlows: () => echo,
      endUdpFlow: (...flow: unknown[]) => ended.push([name, "udp", ...flow]),
      endEchoFlow: (...flow: unknown[]) => ended.push([name, "echo", ...flow]),
    },
    forwarded: { connections: new Set() },
    containerAt: (address: Ipv4) => (address === CONTAINER ? "web" : null),
  }));
  // Only what is asked of them is there.
  const routes = flowRoutes({ vms: () => sessions as unknown as readonly VmSession[] });
  const call = (method: "GET" | "DELETE", query: Record<string, string> = {}): unknown => {
    const route = routes.find((each) => each.method === method);
    if (route === undefined || !("handle" in route)) throw new Error(`there is no ${method}`);
    return route.handle({ query: new URLSearchParams(query), body: undefined });
  };
  const list = (query?: Record<string, string>): FlowListReport => flowListSchema.parse(call("GET", query));
  const end = (query: Record<string, string>) => endedFlowSchema.parse(call("DELETE", query));
  return { list, end, ended };
}

describe("a connection", () => {
  it("is told with its times, bytes and round trip", () => {
    expect(open({ connections: [connection()] }).list()).toEqual({
      total: 1,
      flows: [
        {
          id: "tcp/192.168.65.3:40000/203.0.113.5:443",
          ...{ vm: "one", protocol: "tcp", direction: "out", client: null, state: "ESTABLISHED" },
          guest: { address: "192.168.65.3", port: 40_000 },
          container: null,
          remote: { address: "203.0.113.5", port: 443 },
          ...{ ageSeconds: 60, idleSeconds: 29.5, bytesFromGuest: 2 ** 33, bytesToGuest: 5 },
          ...{ retransmissions: 3, roundTripMilliseconds: 1.235 },
        },
      ],
    });
  });

  it.each([
    ["from hostd's side", { isActive: true }, { direction: "in" }],
    ["to the gateway", { localAddress: GATEWAY, localPort: 53 }, { direction: "own" }],
    ["that waits for the host", { stateName: "REQUESTED" }, { state: "SYN-RECEIVED" }],
    ["without a round trip", { roundTrip: { isKnown: false, smoothed: 0 } }, { roundTripMilliseconds: null }],
    ["that was never used", { heardAt: 0, lastSentAt: 0 }, { ageSeconds: 60, idleSeconds: 60 }],
    ["that just began", { openedAt: 100_001, heardAt: 100_002 }, { ageSeconds: 0, idleSeconds: 0 }],
  ])("%s is told as that", (_, fields, expected) => {
    expect(open({ connections: [connection(fields)] }).list().flows).toMatchObject([expected]);
  });
});

describe("a flow without a connection", () => {
  it("is told by the guest's end, with where it sent last", () => {
    const { flows } = open({ udp: [guestFlow()], echo: [guestFlow({ peerPort: 0, openedAt: 80_000 })] }).list();
    const same = {
      ...{ vm: "one", direction: "out", client: null, state: null, retransmissions: null, roundTripMilliseconds: null },
      ...{ guest: { address: "192.168.65.3", port: 7 }, container: null, bytesFromGuest: 10, bytesToGuest: 20 },
    };
    expect(flows).toEqual([
      {
        ...{ ...same, id: "udp/192.168.65.3:7", protocol: "udp", remote: { address: "203.0.113.5", port: 9 } },
        // The clock by which its use is measured is behind.
        ...{ ageSeconds: 10, idleSeconds: 10 },
      },
      {
        ...{ ...same, id: "icmp/192.168.65.3:7", protocol: "icmp", remote: { address: "203.0.113.5", port: null } },
        ...{ ageSeconds: 20, idleSeconds: 10.5 },
      },
    ]);
  });
});

describe("the guest's end", () => {
  it("is named where it is a container, whatever the flow is", () => {
    const { flows } = open({
      connections: [connection({ remoteAddress: CONTAINER }), connection({ remoteAddress: CONTAINER, isActive: true })],
      udp: [guestFlow({ guestAddress: CONTAINER })],
      echo: [guestFlow({ guestAddress: CONTAINER })],
    }).list();
    expect(flows.map(({ direction, guest, container }) => [direction, guest.address, container])).toEqual([
      ["out", "172.17.0.2", "web"],
      ["out", "172.17.0.2", "web"],
      ["out", "172.17.0.2", "web"],
      ["in", "172.17.0.2", "web"],
    ]);
  });
});

describe("the list", () => {
  it("has the newest first, of all VMs or of one, and tells how many there are", () => {
    const one = { name: "one", connections: [connection()], udp: [guestFlow()] };
    const two = { name: "two", connections: [connection({ openedAt: 95_000 })], echo: [guestFlow({ openedAt: 1 })] };
    const { list } = open(one, two);
    const short = ({ total, flows }: FlowListReport) => [
      total,
      ...flows.map(({ vm, protocol }) => `${vm} ${protocol}`),
    ];
    expect(short(list())).toEqual([4, "two tcp", "one udp", "one tcp", "two icmp"]);
    expect(short(list({ limit: "2" }))).toEqual([4, "two tcp", "one udp"]);
    expect(short(list({ vm: "one" }))).toEqual([2, "one udp", "one tcp"]);
    expect(short(list({ protocol: "tcp", limit: "1" }))).toEqual([2, "two tcp"]);
  });

  it("has 1000 flows unless more are asked for", () => {
    const connections = Array.from({ length: 1500 }, (_, index) => connection({ remotePort: index + 1 }));
    const { list } = open({ connections });
    expect([list().total, list().flows.length, list({ limit: "1200" }).flows.length]).toEqual([1500, 1000, 1200]);
  });
});

describe("ending", () => {
  it("is of the one flow of an id", () => {
    const [first, second] = [connection(), connection({ remotePort: 40_001 })];
    const { end, ended } = open({ connections: [first, second], udp: [guestFlow()], echo: [guestFlow()] });
    expect(end({ id: "tcp/192.168.65.3:40001/203.0.113.5:443" })).toEqual({
      ended: "tcp/192.168.65.3:40001/203.0.113.5:443",
    });
    end({ id: "udp/192.168.65.3:7" });
    end({ id: "icmp/192.168.65.3:7" });
    expect(ended).toEqual([
      ["one", second],
      ["one", "udp", GUEST, 7],
      ["one", "echo", GUEST, 7],
    ]);
  });

  it("takes the VM where several have a flow of the id", () => {
    const flow = connection();
    const { end, ended } = open({ name: "one", connections: [connection()] }, { name: "two", connections: [flow] });
    const id = "tcp/192.168.65.3:40000/203.0.113.5:443";
    expect(() => end({ id })).toThrow(new RequestError(`several VMs have a flow ${id}; name one of them: one, two`));
    expect(ended).toEqual([]);
    end({ id, vm: "two" });
    expect(ended).toEqual([["two", flow]]);
  });
});
