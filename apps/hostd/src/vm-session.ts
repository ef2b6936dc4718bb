import type { DnsServer, DnsStatistics, QueryContext } from "@hostd/dns";
import { Egress } from "@hostd/egress";
import { type FramePort, StackDriver } from "@hostd/frontends";
import type { AttachedVm, ForwardVm, PortForwarder } from "@hostd/portfwd";
import {
  type DhcpServer,
  type FourTuple,
  formatIpv4,
  formatMac,
  type Ipv4,
  type LeaseTable,
  type Mac,
  type MacHalves,
  macFromHalves,
  macHalves,
  type Stack,
  type TcpFlow,
  type TcpHandler,
  type UdpHandler,
} from "@hostd/stack";
import { FlowStream, flushRelayedStreams } from "@hostd/streams";
import type { HostdConfig } from "./config/resolve.ts";
import type { CaptureHub } from "./control/capture-hub.ts";
import type { EventHub } from "./control/event-hub.ts";
import type { Traffic } from "./control/traffic.ts";
import type { ContainerNames } from "./docker/container-names.ts";
import type { Logger } from "./logging.ts";
import { vmDestinations } from "./proxy/destinations.ts";
import type { ProxyCounts } from "./proxy/proxy-connections.ts";
import type { ProxyService } from "./proxy/proxy-service.ts";
import { VmProxy } from "./proxy/vm-proxy.ts";

const DHCP_SERVER_PORT = 67;
const DNS_PORT = 53;
/** Machines with a lease that are asked whether they are on a link that has just come up. */
const MAX_CALLED = 16;
const NO_BYTES = new Uint8Array(0);
const HTTP_PORT = 80;
/** The ports of the proxy: vpnkit's for plain HTTP, and for HTTPS, which is the same here. */
const PROXY_PORTS = [3128, 3129];
const BROADCAST_MAC: Mac = new Uint8Array(6).fill(0xff);

/** What all VMs share. */
export interface SessionServices {
  readonly config: HostdConfig;
  readonly logger: Logger;
  readonly leases: LeaseTable;
  readonly dhcp: DhcpServer;
  /** A name server for one link; its limits are the link's own. */
  readonly makeDnsServer: () => DnsServer;
  readonly containers: Pick<ContainerNames, "nameAt">;
  /** The addresses of a name as a VM would find them. */
  readonly resolve: (name: string, context: QueryContext) => Promise<readonly string[]>;
  /** Decides which way requests take. */
  readonly proxy: ProxyService;
  /** The ports of the host that lead into VMs. */
  readonly forwarder: PortForwarder;
  readonly events: EventHub;
  readonly captures: CaptureHub;
  /** Takes connections that VMs make to port 80 of the gateway; undefined where there is no API for them. */
  readonly serveGuestApi: ((stream: FlowStream, vm: VmSession) => void) | undefined;
}

/** One attached VM: its stack, its name server and its flows, from attach to detach. */
export class VmSession implements ForwardVm {
  /** That of its attachment, with a number where another VM has that one. */
  readonly name: string;
  /** Where it is attached, as a URL in the form of the `qemu` key. */
  readonly endpoint: string;
  /** In Unix-epoch milliseconds. */
  readonly attachedAt = Date.now();
  /** Resolves when the VM is gone and everything of it has been closed. */
  readonly ended: Promise<void>;
  readonly #services: SessionServices;
  readonly #driver: StackDriver;
  readonly #egress: Egress;
  readonly #forwarded: AttachedVm;
  readonly #proxy: VmProxy;
  readonly #dns: DnsServer;
  #vmAddress: Ipv4 | null = null;
  #vmMac: MacHalves | null = null;

  constructor(name: string, port: FramePort, services: SessionServices) {
    const { config, logger } = services;
    this.name = name;
    this.endpoint = port.name;
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
          // Each direction keeps to its own limit, so that neither can shut the other out.
          maximumConnections: config.egress.tcp.maxFlows + config.publish.maxConnections,
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
          tcpRequest: (request) => {
            if (!this.#proxy.takeOver(request)) this.#egress.tcpRequest(request);
          },
          udpDatagram: (datagram) => this.#egress.udpDatagram(datagram),
          echoRequest: (request) => {
            if (config.egress.icmp) this.#egress.echoRequest(request);
          },
        },
      },
      endBatch: () => {
        this.#egress.flushBatch();
        this.#forwarded.flushBatch();
        FlowStream.flushBatch();
        flushRelayedStreams();
      },
      closed: (fault) => {
        endCaptures();
        this.#dns.close();
        this.#proxy.close();
        this.#forwarded.detach();
        services.events.emit("vm.detached", { vm: this.name, ...(fault === null ? {} : { fault }) });
        if (fault === null) logger.info({ vm: this.name }, "VM detached");
        else logger.warn({ vm: this.name }, `VM detached: ${fault}`);
        this.#egress.close().then(ended.resolve);
      },
    });
    const endCaptures = services.captures.attach(name, this.#driver);
    const { stack } = this.#driver;
    const { tcp, udp } = config.egress;
    const destinations = vmDestinations(config);
    this.#proxy = new VmProxy({
      service: services.proxy,
      config,
      destinations,
      resolve: (name) => services.resolve(name, this.dnsContext),
      logger,
    });
    this.#egress = new Egress({
      ...destinations,
      stack,
      logger,
      maxPending: tcp.maxPending,
      maxConnections: tcp.maxFlows,
      maxMappings: udp.maxFlows,
      idleTime: udp.idleSeconds * 1000,
      dnsIdleTime: udp.dnsIdleSeconds * 1000,
    });
    this.#forwarded = services.forwarder.attach(this);
    this.#serveDhcp();
    this.#serveDns();
    this.#serveGuestApi();
    if (config.proxy.enabled) {
      for (const proxyPort of PROXY_PORTS) {
        stack.tcpListen(config.gateway, proxyPort, (request) => this.#proxy.serve(request));
      }
    }
    // Once the link takes frames.
    setImmediate(() => this.#callLeased());
    logger.info({ vm: this.name }, "VM attached");
    services.events.emit("vm.attached", { vm: name });
  }

  /** The address that is leased to the VM; null until it is known which machine of the link that is. */
  get address(): Ipv4 | null {
    return this.#vmAddress;
  }

  /** The MAC address of the VM itself; null until it is known which machine of the link that is. */
  get mac(): Mac | null {
    return this.#vmMac === null ? null : macFromHalves(this.#vmMac.high, this.#vmMac.low);
  }

  /** The host's end of its link. */
  get stack(): Stack {
    return this.#driver.stack;
  }

  /** Its flows out. */
  get egress(): Egress {
    return this.#egress;
  }

  /** The connections of its HTTP proxy. */
  get proxyCounts(): ProxyCounts {
    return this.#proxy.counts();
  }

  /** What leads into it. */
  get forwarded(): AttachedVm {
    return this.#forwarded;
  }

  /** What is counted of it since it was attached. What counts what is open is 0 once it has {@link ended}. */
  traffic(): Traffic {
    return { stack: { ...this.stack.statistics }, egress: this.#egress.stats(), dns: { ...this.#dns.statistics } };
  }

  get dnsStatistics(): DnsStatistics {
    return this.#dns.statistics;
  }

  /** As whom the VM itself asks for names. */
  get dnsContext(): QueryContext {
    return this.#context(this.#vmAddress ?? this.#services.config.gateway);
  }

  /** Whether something on the link has shown that it has an address. */
  has(address: Ipv4): boolean {
    return this.#driver.stack.neighbors.find(address)?.resolved ?? false;
  }

  /** The name of the container behind the VM that has an address; null when none is known to, and for the VM's own. */
  containerAt(address: Ipv4): string | null {
    return address === this.#vmAddress ? null : this.#services.containers.nameAt(this.name, formatIpv4(address));
  }

  /** Opens a connection into the guest. */
  tcpDial(tuple: FourTuple, handler: TcpHandler): TcpFlow | null {
    return this.#driver.stack.tcpDial(tuple, handler);
  }

  /** Sends a datagram into the guest; whether the link took it. */
  udpSend(
    source: Ipv4,
    sourcePort: number,
    destination: Ipv4,
    destinationPort: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ): boolean {
    return this.#driver.stack.udpSend(source, sourcePort, destination, destinationPort, bytes, offset, length);
  }

  /** Takes the guest's datagrams to an address and port. */
  udpListen(address: Ipv4, port: number, handler: UdpHandler): () => void {
    return this.#driver.stack.udpListen(address, port, handler);
  }

  /** Resets every flow and closes the link. */
  close(): void {
    this.#forwarded.detach();
    this.#driver.close();
  }

  #serveDhcp(): void {
    const { config, dhcp, leases } = this.#services;
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
      // A VM that only serves may not send a packet before somebody connects to it.
      const lease = leases.byMac(stack.frameSource);
      if (lease !== null && lease.expires > Date.now()) this.#learnVm(macHalves(lease.mac), lease.address);
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

  #serveGuestApi(): void {
    const { config, serveGuestApi } = this.#services;
    if (serveGuestApi === undefined) return;
    this.#driver.stack.tcpListen(config.gateway, HTTP_PORT, (request) => {
      const stream = FlowStream.accept(request);
      if (stream !== null) serveGuestApi(stream, this);
    });
  }

  /**
   * Asks whoever has a lease to show itself. After a restart of hostd the VM may have nothing to say before somebody connects
   * to it, which nobody can while it is not known which machine it is.
   */
  #callLeased(): void {
    const { leases } = this.#services;
    const running = [...leases].filter(({ expires }) => expires > Date.now());
    running.sort((left, right) => right.expires - left.expires);
    for (const { address } of running.slice(0, MAX_CALLED)) this.#driver.stack.sendEchoRequest(address, 0, 0, NO_BYTES);
  }

  #context(client: Ipv4): QueryContext {
    return { link: this.name, client, vmAddress: this.#vmAddress };
  }

  /**
   * An address that is leased to another machine may not be used on this link. Learning the VM's from its packets, and
   * not from DHCP alone, has it known after a restart of hostd too.
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
    this.#learnVm(mac, source);
    return true;
  }

  /**
   * The first machine with a lease is the VM itself: its address leads to the containers behind it, is what
   * `vm.docker.internal` means to them, and is where published ports lead. With its lease replaced by another address
   * it is still the VM.
   */
  #learnVm(mac: MacHalves, address: Ipv4): void {
    if (this.#vmMac !== null && (this.#vmMac.high !== mac.high || this.#vmMac.low !== mac.low)) return;
    const isNew = this.#vmAddress !== address;
    this.#vmMac = mac;
    this.#vmAddress = address;
    this.#driver.stack.setRouter(address);
    if (!isNew) return;
    const macText = formatMac(macFromHalves(mac.high, mac.low));
    this.#services.events.emit("vm.address", { vm: this.name, mac: macText, address: formatIpv4(address) });
    // Not within the handling of a frame: connections that wait for the address are dialled by it.
    setImmediate(() => this.#forwarded.ready());
  }
}
