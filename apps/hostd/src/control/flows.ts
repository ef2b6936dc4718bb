/** The flows of VMs as they are at the moment, to be shown or ended. */
import type { GuestFlow } from "@hostd/egress";
import { DatagramFlow, RelayedConnection } from "@hostd/portfwd";
import { formatIpv4, type Ipv4, type TcpConnection } from "@hostd/stack";
import type { VmSession } from "../vm-session.ts";
import { type FlowProtocol, type FlowReport, TCP_STATES } from "./flow-report.ts";

/** A flow of a VM. */
export interface Flow {
  readonly protocol: FlowProtocol;
  /** When it began, in milliseconds of the process's clock. */
  readonly openedAt: number;
  /** @param now - milliseconds of the process's clock. */
  report(now: number): FlowReport;
  /** Ends it at once, a connection by a reset to both sides. */
  end(): void;
}

/** What is needed of a VM to count its flows. */
export type CountedVm = Pick<VmSession, "stack" | "egress" | "forwarded">;

/** What is needed of a VM to list them. */
export type FlowVm = CountedVm & Pick<VmSession, "name" | "containerAt">;

/** How many flows a VM has of each protocol, as {@link flowsOf} lists them. */
export function countFlows({ stack, egress, forwarded }: CountedVm): Record<FlowProtocol, number> {
  const { udp, icmp } = egress.stats();
  let datagramFlows = 0;
  for (const connection of forwarded.connections) if (connection instanceof DatagramFlow) datagramFlows++;
  return { tcp: stack.tcp.size, udp: udp.mappings + datagramFlows, icmp: icmp.sockets };
}

/** How many connections of published ports and sockets lead into a VM. */
export function countForwardedConnections({ forwarded }: Pick<CountedVm, "forwarded">): number {
  let count = 0;
  for (const connection of forwarded.connections) if (!(connection instanceof DatagramFlow)) count++;
  return count;
}

/** Every flow of a VM, in no particular order. */
export function* flowsOf(vm: FlowVm): Generator<Flow> {
  const { stack, egress, forwarded } = vm;
  const relayed = new Map<unknown, RelayedConnection>();
  const datagramFlows: DatagramFlow[] = [];
  for (const connection of forwarded.connections) {
    if (connection instanceof DatagramFlow) datagramFlows.push(connection);
    else if (connection instanceof RelayedConnection) relayed.set(connection.flow, connection);
  }
  for (const connection of stack.tcp.connections()) {
    yield {
      protocol: "tcp",
      openedAt: connection.openedAt,
      report: (now) => reportConnection(vm, connection, relayed.get(connection) ?? null, now),
      end: () => stack.tcp.end(connection),
    };
  }
  for (const flow of egress.udpFlows()) {
    yield {
      protocol: "udp",
      openedAt: flow.openedAt,
      report: (now) => reportGuestFlow(vm, "udp", flow, now),
      end: () => egress.endUdpFlow(flow.guestAddress, flow.guestPort),
    };
  }
  for (const flow of datagramFlows) {
    yield {
      protocol: "udp",
      openedAt: flow.openedAt,
      report: (now) => reportDatagramFlow(vm, flow, now),
      end: () => flow.reset(),
    };
  }
  for (const flow of egress.echoFlows()) {
    yield {
      protocol: "icmp",
      openedAt: flow.openedAt,
      report: (now) => reportGuestFlow(vm, "icmp", flow, now),
      end: () => egress.endEchoFlow(flow.guestAddress, flow.guestPort),
    };
  }
}

function reportConnection(
  vm: FlowVm,
  connection: TcpConnection,
  relayed: RelayedConnection | null,
  now: number,
): FlowReport {
  const { name, stack } = vm;
  const { localAddress, localPort, remoteAddress, remotePort, openedAt, roundTrip } = connection;
  const lastUsed = Math.max(openedAt, connection.heardAt, connection.lastSentAt);
  const own = stack.address === localAddress ? "own" : "out";
  return {
    id: `tcp/${endText(remoteAddress, remotePort)}/${endText(localAddress, localPort)}`,
    vm: name,
    protocol: "tcp",
    direction: connection.isActive ? "in" : own,
    guest: { address: formatIpv4(remoteAddress), port: remotePort },
    container: vm.containerAt(remoteAddress),
    remote: { address: formatIpv4(localAddress), port: localPort },
    client: relayed === null ? null : reportClient(relayed),
    // A SYN that waits for the host's answer has been received.
    state: TCP_STATES.find((state) => state === connection.stateName) ?? "SYN-RECEIVED",
    ...times({ openedAt, lastUsed }, now),
    bytesFromGuest: connection.bytesReceived,
    bytesToGuest: connection.bytesSent,
    retransmissions: connection.retransmittedSegments,
    roundTripMilliseconds: roundTrip.isKnown ? rounded(roundTrip.smoothed) : null,
  };
}

/** A client of a Unix socket has no address. */
function reportClient({ client: { address, port } }: RelayedConnection): FlowReport["client"] {
  return { address, port: address === "" ? null : port };
}

function reportGuestFlow(vm: FlowVm, protocol: "udp" | "icmp", flow: GuestFlow, now: number): FlowReport {
  const { guestAddress, guestPort, peerAddress, peerPort } = flow;
  return {
    id: `${protocol}/${endText(guestAddress, guestPort)}`,
    vm: vm.name,
    protocol,
    direction: "out",
    guest: { address: formatIpv4(guestAddress), port: guestPort },
    container: vm.containerAt(guestAddress),
    remote: { address: formatIpv4(peerAddress), port: protocol === "udp" ? peerPort : null },
    client: null,
    ...reportUse(flow, now),
  };
}

function reportDatagramFlow(vm: FlowVm, flow: DatagramFlow, now: number): FlowReport {
  const { target, source, sourcePort, client } = flow;
  return {
    id: `udp/${endText(target.address, target.port)}/${endText(source, sourcePort)}`,
    vm: vm.name,
    protocol: "udp",
    direction: "in",
    guest: { address: formatIpv4(target.address), port: target.port },
    container: vm.containerAt(target.address),
    remote: { address: formatIpv4(source), port: sourcePort },
    client: { address: client.address, port: client.port },
    ...reportUse(flow, now),
  };
}

/** What is told of how a flow that is no connection has been used. */
function reportUse(
  flow: Pick<GuestFlow, "openedAt" | "lastUsed" | "bytesFromGuest" | "bytesToGuest">,
  now: number,
): Pick<
  FlowReport,
  | "state"
  | "ageSeconds"
  | "idleSeconds"
  | "bytesFromGuest"
  | "bytesToGuest"
  | "retransmissions"
  | "roundTripMilliseconds"
> {
  const { bytesFromGuest, bytesToGuest } = flow;
  const none = { state: null, retransmissions: null, roundTripMilliseconds: null };
  return { ...none, ...times(flow, now), bytesFromGuest, bytesToGuest };
}

/** The clock of a table of flows may be a little behind that by which a flow began. */
function times(
  { openedAt, lastUsed }: { readonly openedAt: number; readonly lastUsed: number },
  now: number,
): Pick<FlowReport, "ageSeconds" | "idleSeconds"> {
  const since = (time: number) => rounded(Math.max(0, now - time) / 1000);
  return { ageSeconds: since(openedAt), idleSeconds: since(Math.max(openedAt, lastUsed)) };
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function endText(address: Ipv4, port: number): string {
  return `${formatIpv4(address)}:${port}`;
}
