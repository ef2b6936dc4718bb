import { DhcpServer, formatIpv4, formatMac, type Lease, type LeaseTable, type Mac } from "@hostd/stack";
import type { HostdConfig } from "./config/resolve.ts";
import type { EventHub } from "./control/event-hub.ts";
import type { Logger } from "./logging.ts";

/** The same complaint about DHCP is logged at most once in this time. */
const REPEAT_MS = 60_000;

/**
 * The DHCP server of all VMs, as the configuration says.
 *
 * @param hostSearch - the search domains of the host, which change when it changes networks.
 */
export function makeDhcpServer(
  config: HostdConfig,
  leases: LeaseTable,
  hostSearch: () => readonly string[],
  events: EventHub,
  logger: Logger,
): DhcpServer {
  const { dhcp, gateway, host } = config;
  const complain = rateLimited(logger);
  return new DhcpServer({
    serverAddress: gateway,
    subnet: config.subnet,
    router: gateway,
    dnsServers: [gateway],
    searchDomains: dhcp.search ?? hostSearch,
    ...(dhcp.domain === undefined ? {} : { domainName: dhcp.domain }),
    mtu: config.mtu,
    leaseTimeSeconds: dhcp.leaseSeconds,
    firstAddress: dhcp.first,
    lastAddress: dhcp.last,
    reserved: [gateway, host],
    reservations: new Map(dhcp.static.map(({ mac, address }) => [formatMac(mac), address])),
    leases,
    clock: Date.now,
    events: {
      leased: (lease, kind) => {
        const fields = leaseFields(lease);
        if (kind !== "new") {
          logger.debug(fields, "lease renewed");
          return;
        }
        logger.info(fields, "lease");
        events.emit("lease.granted", fields);
      },
      released: (lease) => {
        const { mac, address } = leaseFields(lease);
        logger.info(leaseFields(lease), "lease released");
        events.emit("lease.released", { mac, address });
      },
      declined: (mac, address) => {
        complain(
          `declined ${formatMac(mac)}`,
          `${formatMac(mac)} says that ${formatIpv4(address)} is used by another host`,
        );
      },
      exhausted: (mac: Mac) => {
        complain(
          "exhausted",
          `no address is left for ${formatMac(mac)}: widen dhcp.first to dhcp.last, or shorten dhcp.leaseSeconds`,
        );
      },
      refused: (mac, requested, reason) => {
        complain(
          `refused ${formatMac(mac)}`,
          `${formatMac(mac)} asked for ${formatIpv4(requested)}: refused, ${reason}`,
        );
      },
    },
  });
}

function leaseFields({ mac, address, hostName }: Lease): { mac: string; address: string; host?: string } {
  return {
    mac: formatMac(mac),
    address: formatIpv4(address),
    ...(hostName === undefined ? {} : { host: hostName }),
  };
}

/** Warns of each kind of trouble once in a while: a guest repeats its DHCP messages for as long as it likes. */
function rateLimited(logger: Logger): (kind: string, message: string) => void {
  const lastAt = new Map<string, number>();
  return (kind, message) => {
    const now = Date.now();
    if (now - (lastAt.get(kind) ?? Number.NEGATIVE_INFINITY) < REPEAT_MS) return;
    // Bounded: MACs are the guest's to make up.
    if (lastAt.size >= 256) lastAt.clear();
    lastAt.set(kind, now);
    logger.warn(message);
  };
}
