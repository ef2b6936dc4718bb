/** A connection of the API that becomes one into the guest. */
import { isIPv4, type Socket } from "node:net";
import { type Ipv4, parseIpv4 } from "@hostd/stack";
import { FlowStream } from "@hostd/streams";
import type { Control } from "../control/control.ts";
import { whyNoGuest } from "../forwards/guest-address.ts";
import type { VmSession } from "../vm-session.ts";
import { splitTarget } from "./go-http-target.ts";
import { atoi, GoAddressError } from "./go-net.ts";

/** Where a tunnel leads, as it was written: an address that is none is found out when it is dialled. */
export interface TunnelTarget {
  readonly host: string;
  readonly port: number;
  /** Which address the guest sees it come from. */
  readonly from: "gateway" | "host";
}

/** How long the guest may take to answer, in milliseconds. */
const DIAL_TIME = 10_000;

/**
 * Reads `/tunnel?ip=ADDRESS&port=PORT`, and hostd's own `&from=host`, by which one can tell what a firewall in the guest lets
 * in from the gateway alone.
 *
 * @returns what is wrong in gvproxy's words, where something is.
 */
export function readTunnelTarget(target: string): TunnelTarget | string {
  const query = new URLSearchParams(splitTarget(target).query);
  const host = query.get("ip") ?? "";
  if (host === "") return "ip is mandatory";
  const from = query.get("from") ?? "gateway";
  if (from !== "gateway" && from !== "host") return "from is not one of gateway, host";
  try {
    return { host, port: atoi(query.get("port") ?? ""), from };
  } catch (error) {
    if (error instanceof GoAddressError) return error.message;
    throw error;
  }
}

/**
 * Leads a connection into the guest. It is told that before the guest is asked, as by gvproxy, and closed when the guest
 * does not answer.
 *
 * @param early - what was read from the socket already.
 */
export function openTunnel(socket: Socket, early: Buffer, target: TunnelTarget, control: Control): void {
  // At once, since a stream that has ended takes nothing back.
  if (early.length > 0) socket.unshift(early);
  socket.write("OK");
  const stream = dial(target, control);
  if (stream === null) {
    socket.destroySoon();
    return;
  }
  const timer = setTimeout(() => stream.destroy(), DIAL_TIME);
  stream.once("connect", () => {
    clearTimeout(timer);
    // Each passes the end of what it reads on, so that either side may go on when the other has ended.
    socket.pipe(stream).pipe(socket);
  });
  stream.on("error", () => {});
  stream.once("close", () => {
    clearTimeout(timer);
    socket.destroySoon();
  });
  socket.once("close", () => stream.destroy());
}

function dial({ host, port, from }: TunnelTarget, control: Control): FlowStream | null {
  if (!isIPv4(host) || port < 1 || port > 0xffff) return null;
  const address = parseIpv4(host);
  const config = control.config();
  const vm = findVm(address, control.vms());
  if (vm === undefined || whyNoGuest(address, config) !== undefined) return null;
  const stream = new FlowStream();
  const tuple = { localAddress: config[from], localPort: 0, remoteAddress: address, remotePort: port };
  const flow = vm.tcpDial(tuple, stream.handler);
  if (flow === null) return null;
  stream.bind(flow);
  return stream;
}

/** The VM that has an address, or one that may. */
function findVm(address: Ipv4, vms: readonly VmSession[]): VmSession | undefined {
  return vms.find((vm) => vm.address === address) ?? vms.find((vm) => vm.has(address)) ?? vms[0];
}
