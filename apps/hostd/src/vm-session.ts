import type { DnsServer, QueryContext } from "@hostd/dns";
import { Egress } from "@hostd/egress";
import { type FramePort, type FrameTap, StackDriver } from "@hostd/frontends";
import {
  type DhcpServer,
  formatIpv4,
  type Ipv4,
  type LeaseTable,
  type Mac,
  type MacHalves,
  macHalves,
} from "@hostd/stack";
import { FlowStream } from "@hostd/streams";
import type { HostdConfig } from "./config/resolve.ts";
import type { Logger } from "./logging.ts";

const DHCP_SERVER_PORT = 67;
const DNS_PORT = 53;
const BROADCAST_MAC: Mac = new Uint8Array(6).fill(0xff);

/** What all VMs share. */
export interface SessionServices {
  readonly config: HostdConfig;
  readonly logger: Logger;
  readonly leases: LeaseTable;
  readonly dhcp: DhcpServer;
  /** A name server for one link; its limits are the link's own. */
  readonly makeDnsServer: () => DnsServer;
  readonly tap: FrameTap | undefined;
}

/** One attached VM: its stack, its name server and its flows, from attach to detach. */
export class VmSession {
  readonly name: string;
  /** Resolves when the VM is gone and everything of it has been closed. */
  readonly ended: Promise<void>;
  readonly #services: SessionServices;
  readonly #driver: StackDriver;
  readonly #egress: Egress;
  readonly #dns: DnsServer;
  #vmAddress: Ipv4 | null = null;
  #vmMac: MacHalves | null = null;

  constructor(port: FramePort, services: SessionServices) {
    const { config, logger } = services;
    this.name = port.name;
    this.#services = services;
    this.#dns = services.makeDnsServer();
    const ended = Promise.withResolvers<void>();
    this.ended = ended.promise;
    this.#driver = new StackDriver({
      port,
      stack: {
        mac: config.mac,
        addresses: [config.gateway],
        proxiedAddresses: [config.host],
        network: config.subnet,
        mtu: config.mtu,
        tcp: {
          maximumConnections: config.egress.tcp.maxFlows,
          maximumHalfOpen: config.egress.tcp.maxPending,
          congestionControl: config.tcp.congestionControl,
          receiveRing: config.tcp.receiveRing,
          timestamps: config.tcp.timestamps,
          selectiveAcknowledgments: config.tcp.selectiveAcknowledgments,
          keepAliveIdle: config.tcp.keepAliveSeconds * 1000,
          userTimeout: config.tcp.userTimeoutSeconds * 1000,
        },
        acceptsSource: (source, macHigh, macLow) => this.#acceptsSource(source, macHigh, macLow),
        handlers: {
          tcpRequest: (request) => this.#egress.tcpRequest(request),
          udpDatagram: (datagram) => this.#egress.udpDatagram(datagram),
          echoRequest: (request) => {
            if (config.egress.icmp) this.#egress.echoRequest(request);
          },
        },
      },
      endBatch: () => this.#egress.flushBatch(),
      closed: (fault) => {
        this.#dns.close();
        if (fault === null) logger.info({ vm: this.name }, "VM detached");
        else logger.warn({ vm: this.name }, `VM detached: ${fault}`);
        this.#egress.close().then(ended.resolve);
      },
      ...(services.tap === undefined ? {} : { tap: services.tap }),
    });
    const { stack } = this.#driver;
    const { tcp, udp } = config.egress;
    this.#egress = new Egress({
      stack,
      hostAddress: config.host,
      ownAddresses: [config.gateway, config.host],
      network: config.subnet,
      logger,
      maxPending: tcp.maxPending,
      maxConnections: tcp.maxFlows,
      maxMappings: udp.maxFlows,
      idleTime: udp.idleSeconds * 1000,
      dnsIdleTime: udp.dnsIdleSeconds * 1000,
    });
    this.#serveDhcp();
    this.#serveDns();
    logger.info({ vm: this.name }, "VM attached");
  }

  /** Resets every flow and closes the link. */
  close(): void {
    this.#driver.close();
  }

  #serveDhcp(): void {
    const { config, dhcp } = this.#services;
    const { stack } = this.#driver;
    stack.udpListen(0, DHCP_SERVER_PORT, ({ bytes, offset, length, source, destination }) => {
      const context = { source, destination, sourceMac: stack.frameSource };
      const reply = dhcp.handle(bytes, offset, length, context);
      if (reply === null) return;
      const mac = reply.destinationMac ?? BROADCAST_MAC;
      stack.udpSendToMac(
        mac,
        config.gateway,
        DHCP_SERVER_PORT,
        reply.destination,
        reply.destinationPort,
        reply.message,
      );
    });
  }

  #serveDns(): void {
    const { config } = this.#services;
    const { stack } = this.#driver;
    stack.udpListen(config.gateway, DNS_PORT, ({ bytes, offset, length, source, sourcePort }) => {
      const query = bytes.slice(offset, offset + length);
      this.#dns.handleDatagram(query, this.#context(source), (answer) => {
        stack.udpSend(config.gateway, DNS_PORT, source, sourcePort, answer, 0, answer.length);
      });
    });
    stack.tcpListen(config.gateway, DNS_PORT, (request) => {
      const stream = FlowStream.accept(request);
      if (stream !== null) this.#dns.serveStream(stream, this.#context(request.remoteAddress));
    });
  }

  #context(client: Ipv4): QueryContext {
    return { client, vmAddress: this.#vmAddress };
  }

  /**
   * An address that is leased to another machine may not be used on this link. The first machine that uses its own
   * lease is the VM itself: its address leads to the containers behind it, and is what `vm.docker.internal` means to
   * them. Learning it from its packets, not from DHCP, has it known after a restart of hostd too.
   */
  #acceptsSource(source: Ipv4, macHigh: number, macLow: number): boolean {
    if (source === this.#vmAddress && macLow === this.#vmMac?.low && macHigh === this.#vmMac.high) return true;
    const { config, leases, logger } = this.#services;
    const lease = leases.byAddress(source);
    if (lease === null || lease.expires <= Date.now()) return config.egress.sources === "shown";
    const mac = macHalves(lease.mac);
    if (mac.high !== macHigh || mac.low !== macLow) {
      logger.debug({ vm: this.name, source: formatIpv4(source) }, "a source address is leased to another machine");
      return false;
    }
    // A machine whose lease was replaced by another address is still the VM.
    if (this.#vmMac === null || (this.#vmMac.high === macHigh && this.#vmMac.low === macLow)) {
      this.#vmMac = mac;
      this.#vmAddress = source;
      this.#driver.stack.setRouter(source);
    }
    return true;
  }
}
