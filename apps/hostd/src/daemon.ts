import {
  type Attachment,
  attachQemu,
  type FramePort,
  formatEndpoint,
  PcapWriter,
  prepareSocketPath,
} from "@hostd/frontends";
import { formatListenAddress, PortForwarder } from "@hostd/portfwd";
import { DhcpServer, formatIpv4, formatMac, type Lease, type Mac } from "@hostd/stack";
import { startApi } from "./api.ts";
import type { HostdConfig } from "./config/resolve.ts";
import type { Daemon } from "./daemon-api.ts";
import { dnsSubject } from "./dns-api.ts";
import { DnsService } from "./dns-service.ts";
import type { Logger } from "./logging.ts";
import { LeaseStore } from "./state.ts";
import { type SessionServices, VmSession } from "./vm-session.ts";

/** The same complaint about DHCP is logged at most once in this time. */
const REPEAT_MS = 60_000;

/**
 * Starts hostd: opens the state, the resolver and the capture, and lets VMs attach.
 *
 * @throws when a socket cannot be listened on or a file not be opened; nothing is left running then.
 */
export async function startDaemon(config: HostdConfig, logger: Logger): Promise<Daemon> {
  const cleanup = new AsyncDisposableStack();
  try {
    // First of all, so that one started by mistake beside another leaves that one's capture alone.
    for (const endpoint of config.qemu) {
      if (endpoint.mode === "listen" && endpoint.transport === "unix") await prepareSocketPath(endpoint.path);
    }
    const forwarder = new PortForwarder({ gateway: config.gateway, logger });
    cleanup.defer(() => forwarder.close());
    const forwards = await openForwards(config, forwarder, logger);
    const store = await LeaseStore.open(config.state, logger);
    cleanup.defer(() => store.close());
    const dns = new DnsService(config, logger);
    cleanup.defer(() => dns.close());
    const capture =
      config.capture === undefined
        ? undefined
        : new PcapWriter(config.capture, (error) => logger.error(`the capture ends here: ${error.message}`));
    if (capture !== undefined) {
      logger.info(`capturing every frame to ${capture.path}`);
      cleanup.defer(() => capture.close());
    }
    const sessions = new Set<VmSession>();
    cleanup.defer(() => closeSessions(sessions));
    const services: SessionServices = {
      config,
      logger,
      leases: store.leases,
      dhcp: makeDhcpServer(config, store, () => dns.searchDomains, logger),
      makeDnsServer: () => dns.makeServer(),
      forwarder,
      tap: capture,
    };
    const attached = (port: FramePort) => {
      const session = new VmSession(freeName(port.name, sessions), port, services);
      sessions.add(session);
      session.ended.then(() => sessions.delete(session));
    };
    const attachments: Attachment[] = [];
    for (const endpoint of config.qemu) {
      const attachment = await attachQemu(endpoint, { attached, fault: (message) => logger.warn(message) });
      cleanup.defer(() => attachment.close());
      attachments.push(attachment);
    }
    if (config.api !== undefined) {
      const api = await startApi(config.api.path, {
        sessions: () => sessions.size,
        ...dnsSubject(dns, () => [...sessions], config.gateway),
      });
      cleanup.defer(() => api.close());
      logger.info(`the control API listens on unix://${config.api.path}`);
    }
    const endpoints = attachments.map(({ endpoint }) => formatEndpoint(endpoint));
    const running = cleanup.move();
    return { endpoints, forwards, close: () => running.disposeAsync() };
  } catch (error) {
    await cleanup.disposeAsync();
    throw error;
  }
}

/** Listens on the ports that are to lead into the VM, and gives their addresses. */
async function openForwards({ forwards }: HostdConfig, forwarder: PortForwarder, logger: Logger): Promise<string[]> {
  const addresses: string[] = [];
  for (const rule of forwards) {
    const forward = await forwarder.listen(rule);
    const address = formatListenAddress(forward.address);
    const { address: guest, port } = rule.to;
    logger.info(`${address} leads to port ${port} of ${guest === null ? "the VM" : formatIpv4(guest)}`);
    addresses.push(address);
  }
  return addresses;
}

/** All VMs of one endpoint that is listened on have its name. */
function freeName(name: string, sessions: ReadonlySet<VmSession>): string {
  const taken = new Set([...sessions].map((session) => session.name));
  let free = name;
  for (let number = 2; taken.has(free); number++) free = `${name}#${number}`;
  return free;
}

async function closeSessions(sessions: ReadonlySet<VmSession>): Promise<void> {
  for (const session of sessions) session.close();
  await Promise.all([...sessions].map((session) => session.ended));
}

/** @param hostSearch - the search domains of the host, which change when it changes networks. */
function makeDhcpServer(
  config: HostdConfig,
  store: LeaseStore,
  hostSearch: () => readonly string[],
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
    leases: store.leases,
    clock: Date.now,
    events: {
      leased: (lease, kind) => {
        if (kind === "new") logger.info(leaseFields(lease), "lease");
        else logger.debug(leaseFields(lease), "lease renewed");
      },
      released: (lease) => logger.info(leaseFields(lease), "lease released"),
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

function leaseFields({ mac, address, hostName }: Lease): Record<string, string> {
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
