import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Attachment, attachQemu, type FramePort, StackDriver } from "@hostd/frontends";
import {
  DhcpServer,
  formatIpv4,
  formatMac,
  LeaseTable,
  parseIpv4,
  type Stack,
  type TcpRequest,
  type UdpDatagram,
} from "@hostd/stack";
import { decode, encode } from "dns-packet";

export const GATEWAY = "192.168.65.1";
const gateway = parseIpv4(GATEWAY);
const SUBNET = { address: parseIpv4("192.168.65.0"), prefixLength: 24 };
const BROADCAST_MAC = new Uint8Array(6).fill(0xff);

export interface GatewayOptions {
  /** The names that are answered for; every other is NXDOMAIN. */
  readonly names?: Readonly<Record<string, readonly string[]>>;
  /** Takes the connections that guests open, to any address. */
  readonly connection?: (request: TcpRequest) => void;
}

/**
 * The far end of guests' links for tests: leases by DHCP, a few names, a UDP echo on port 7 of its own address that
 * answers each datagram twice when it starts with "2", and nothing else.
 */
export class Gateway {
  readonly leases = new LeaseTable();
  readonly path: string;
  /** MACs whose DHCP messages are not answered. */
  readonly ignored = new Set<string>();
  readonly #folder: string;
  readonly #options: GatewayOptions;
  readonly #drivers = new Set<StackDriver>();
  readonly #dhcp: DhcpServer;
  #attachment: Attachment | null = null;

  private constructor(folder: string, options: GatewayOptions) {
    this.#folder = folder;
    this.#options = options;
    this.path = join(folder, "vm.sock");
    this.#dhcp = new DhcpServer({
      serverAddress: gateway,
      subnet: SUBNET,
      router: gateway,
      dnsServers: [gateway],
      searchDomains: [],
      mtu: 1500,
      leaseTimeSeconds: 3600,
      firstAddress: gateway + 2,
      lastAddress: gateway + 20,
      reserved: [gateway],
      reservations: new Map(),
      leases: this.leases,
      clock: Date.now,
    });
  }

  static async start(options: GatewayOptions = {}): Promise<Gateway> {
    const started = new Gateway(await mkdtemp(join(tmpdir(), "hostd-guest-")), options);
    started.#attachment = await attachQemu(
      { transport: "unix", path: started.path, mode: "listen" },
      {
        attached: (port) => started.#serve(port),
        fault: (message) => {
          throw new Error(message);
        },
      },
    );
    return started;
  }

  /** Links that are up. */
  get links(): number {
    return this.#drivers.size;
  }

  /** Ends every link, as a daemon that stops. */
  dropLinks(): void {
    for (const driver of this.#drivers) driver.close();
  }

  async close(): Promise<void> {
    await this.#attachment?.close();
    this.dropLinks();
    await rm(this.#folder, { recursive: true });
  }

  #serve(port: FramePort): void {
    const driver = new StackDriver({
      port,
      stack: {
        mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
        addresses: [gateway],
        network: SUBNET,
        mtu: 1500,
        handlers: {
          tcpRequest: (request) => request.reject("refused"),
          udpDatagram: () => {},
          echoRequest: () => {},
        },
      },
      closed: () => this.#drivers.delete(driver),
    });
    this.#drivers.add(driver);
    const { stack } = driver;
    stack.udpListen(0, 67, (datagram) => this.#answerDhcp(stack, datagram));
    stack.udpListen(gateway, 53, (datagram) => this.#answerName(stack, datagram));
    stack.udpListen(gateway, 7, ({ source, sourcePort, bytes, offset, length }) => {
      const times = length > 0 && bytes[offset] === 0x32 ? 2 : 1;
      for (let count = 0; count < times; count++) {
        stack.udpSend(gateway, 7, source, sourcePort, bytes, offset, length);
      }
    });
    const { connection } = this.#options;
    if (connection !== undefined) stack.tcpListen(gateway, 80, connection);
  }

  #answerDhcp(stack: Stack, { source, destination, bytes, offset, length }: UdpDatagram): void {
    const sourceMac = stack.frameSource;
    if (this.ignored.has(formatMac(sourceMac))) return;
    const reply = this.#dhcp.handle(bytes, offset, length, { source, destination, sourceMac });
    if (reply === null) return;
    const mac = reply.destinationMac ?? BROADCAST_MAC;
    stack.udpSendToMac(mac, gateway, 67, reply.destination, reply.destinationPort, reply.message);
  }

  #answerName(stack: Stack, { source, sourcePort, bytes, offset, length }: UdpDatagram): void {
    const query = decode(Buffer.from(bytes.slice(offset, offset + length)));
    const name = query.questions?.[0].name ?? "";
    const addresses = this.#options.names?.[name];
    const answers = (addresses ?? []).map((data) => ({ type: "A" as const, name, ttl: 60, data }));
    const flags = addresses === undefined ? 3 : 0;
    const reply = encode({ type: "response", id: query.id ?? 0, flags, questions: query.questions ?? [], answers });
    stack.udpSend(gateway, 53, source, sourcePort, reply, 0, reply.length);
  }

  /** The address that a MAC has been leased, in dotted decimal. */
  leaseOf(mac: Uint8Array): string | undefined {
    const lease = this.leases.byMac(mac);
    return lease === null ? undefined : formatIpv4(lease.address);
  }
}
