import { formatIpv4, formatMac, type Mac, macFromHalves } from "@hostd/stack";
import type { ForeignApi } from "../api/server.ts";
import type { Control } from "../control/control.ts";
import type { VmSession } from "../vm-session.ts";
import { type Asker, exposeRequest, GvproxyForwards, unexposeRequest } from "./forwards.ts";
import {
  type Exchange,
  type GoHandler,
  GoHttpError,
  type GoRoutes,
  readPost,
  sendDone,
  sendJson,
  serveGo,
} from "./go-http.ts";
import { sortedKeys } from "./go-json.ts";
import { makeStats } from "./stats.ts";
import { readTunnelTarget } from "./tunnel.ts";
import { addZone, listZones, requestedZone } from "./zones.ts";

/** gvproxy's API for the host, but for the requests that take over their connection. */
export function makeGvproxyApi(control: Control): ForeignApi {
  const routes = makeHostRoutes(control);
  const isOwn = (path: string) => path === "/services" || path.startsWith("/services/");
  return (request, response) => serveGo(routes, { request, response }, isOwn);
}

/** All routes that answer a request. */
export function makeHostRoutes(control: Control): GoRoutes {
  const leases: GoHandler = (exchange) => sendJson(exchange, sortedKeys(listLeases(control)));
  const handlers = new Map<string, GoHandler>([
    ...forwarderHandlers(control, ({ request }) => ({ vm: null, address: request.socket.remoteAddress })),
    ["/services/dns/all", (exchange) => sendJson(exchange, listZones(control))],
    [
      "/services/dns/add",
      async (exchange) => {
        addZone(control, await readPost(exchange, requestedZone));
        sendDone(exchange);
      },
    ],
    ["/services/dhcp/leases", leases],
    ["/leases", leases],
    ["/cam", (exchange) => sendJson(exchange, sortedKeys(listMacs(control.vms())))],
    ["/stats", (exchange) => sendJson(exchange, sortedKeys(listStats(control)))],
    [
      "/tunnel",
      ({ request }) => {
        const target = readTunnelTarget(request.url ?? "");
        if (typeof target === "string") throw new GoHttpError(500, target);
        throw new GoHttpError(400, "/tunnel has to be the first request of its connection, and without a body");
      },
    ],
  ]);
  const folders = new Map([
    ["/services", "/services/"],
    // Where Go's nested handlers lead, which know nothing of what they are nested in.
    ["/services/forwarder", "/forwarder/"],
    ["/services/dns", "/dns/"],
    ["/services/dhcp", "/dhcp/"],
  ]);
  return { handlers, folders };
}

/** The routes for forwards, which guests have too. */
export function forwarderHandlers(control: Control, askerOf: (exchange: Exchange) => Asker): [string, GoHandler][] {
  const forwards = GvproxyForwards.of(control);
  return [
    ["/services/forwarder/all", (exchange) => sendJson(exchange, forwards.list(askerOf(exchange)))],
    [
      "/services/forwarder/expose",
      async (exchange) => {
        await forwards.expose(await readPost(exchange, exposeRequest), askerOf(exchange));
        sendDone(exchange);
      },
    ],
    [
      "/services/forwarder/unexpose",
      async (exchange) => {
        await forwards.unexpose(await readPost(exchange, unexposeRequest), askerOf(exchange));
        sendDone(exchange);
      },
    ],
  ];
}

/** Who has which address: the gateway, the static leases and those that were handed out. */
function listLeases(control: Control): Record<string, string> {
  const { gateway, mac, dhcp } = control.config();
  const now = Date.now();
  const entries: [number, Mac][] = [
    [gateway, mac],
    ...dhcp.static.map((lease): [number, Mac] => [lease.address, lease.mac]),
    ...control.leases.list().flatMap((lease): [number, Mac][] => {
      return lease.expires > now ? [[lease.address, lease.mac]] : [];
    }),
  ];
  return Object.fromEntries(entries.map(([address, each]) => [formatIpv4(address), formatMac(each)]));
}

/** Behind which VM a MAC address is, by the VM's place among those that are attached. */
function listMacs(vms: readonly VmSession[]): Record<string, number> {
  return Object.fromEntries(
    vms.flatMap(({ mac, stack }, index) => {
      const shown = [...stack.neighbors].map(({ macHigh, macLow }) => macFromHalves(macHigh, macLow));
      return [...(mac === null ? [] : [mac]), ...shown].map((each): [string, number] => [formatMac(each), index]);
    }),
  );
}

function listStats(control: Control): object {
  const connections = control.vms().reduce((sum, { stack }) => sum + stack.tcp.size, 0);
  return makeStats(control.traffic().stack, connections);
}
