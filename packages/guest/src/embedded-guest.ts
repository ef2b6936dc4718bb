import { type FramePort, StackDriver } from "@hostd/frontends";
import {
  DhcpClient,
  type DhcpClientLease,
  type EchoRequest,
  formatIpv4,
  type Ipv4,
  type Mac,
  parseIpv4,
  prefixMask,
  type ReceivedUnreachable,
  UNREACHABLE_PORT,
} from "@hostd/stack";
import { FlowStream } from "@hostd/streams";
import { decode, encode } from "dns-packet";

const DHCP_CLIENT_PORT = 68;
const DHCP_SERVER_PORT = 67;
const DNS_PORT = 53;
const EPHEMERAL_FIRST = 32768;
const EPHEMERAL_COUNT = 28232;

export interface EmbeddedGuestOptions {
  readonly port: FramePort;
  readonly mac: Mac;
  readonly hostName?: string;
  /** The link's MTU; 1500 when it is not given. */
  readonly mtu?: number;
}

/** A datagram that a {@link GuestUdpSocket} received. */
export interface GuestDatagram {
  readonly address: string;
  readonly port: number;
  readonly data: Uint8Array;
}

/**
 * A small machine in TypeScript that attaches as a VM does: the same stack in a host's role, configured by DHCP. It
 * shows hostd to people without an emulator at hand, and drives it in tests.
 */
export class EmbeddedGuest {
  readonly #driver: StackDriver;
  readonly #dhcp: DhcpClient;
  readonly #echoes = new Map<number, (reply: EchoRequest) => void>();
  readonly #sockets = new Map<number, GuestUdpSocket>();
  readonly #closed = Promise.withResolvers<void>();
  #lease: DhcpClientLease | null = null;
  #configuring: { resolve(lease: DhcpClientLease): void; reject(error: Error): void } | null = null;
  #dhcpTimer: NodeJS.Timeout | null = null;
  #gone = false;
  #nextPort: number;
  #nextSequence = 0;

  constructor(options: EmbeddedGuestOptions) {
    this.#nextPort = randomBelow(EPHEMERAL_COUNT);
    this.#dhcp = new DhcpClient({
      mac: options.mac,
      random: () => randomBelow(2 ** 32) / 2 ** 32,
      ...(options.hostName === undefined ? {} : { hostName: options.hostName }),
    });
    this.#driver = new StackDriver({
      port: options.port,
      stack: {
        mac: options.mac,
        addresses: [],
        network: { address: 0, prefixLength: 32 },
        mtu: options.mtu ?? 1500,
        handlers: {
          tcpRequest: (request) => request.reject("refused"),
          udpDatagram: () => {},
          echoRequest: () => {},
          echoReply: (reply) => this.#echoes.get(reply.sequence)?.(reply),
          udpUnreachable: (error) => this.#sockets.get(error.sourcePort)?.refused(error),
        },
      },
      closed: () => this.#finish(),
    });
    this.#driver.stack.udpListen(0, DHCP_CLIENT_PORT, ({ bytes, offset, length }) => {
      this.#dhcp.handle(bytes, offset, length, performance.now());
      this.#runDhcp();
    });
  }

  /** Resolves when the link is gone. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  get lease(): DhcpClientLease | null {
    return this.#lease;
  }

  /**
   * Gets an address by DHCP and keeps it renewed.
   *
   * @throws ECONNRESET when the link ends before there is one.
   */
  async configure(): Promise<DhcpClientLease> {
    if (this.#gone) throw fault("ECONNRESET", "the link is gone");
    return await new Promise((resolve, reject) => {
      this.#configuring = { resolve, reject };
      this.#dhcp.start(performance.now());
      this.#runDhcp();
    });
  }

  /**
   * Sends an echo request.
   *
   * @returns the round trip in milliseconds.
   * @throws when no answer comes in `timeoutMs`.
   */
  async ping(address: string, length = 56, timeoutMs = 3000): Promise<number> {
    const sequence = (this.#nextSequence = (this.#nextSequence + 1) & 0xffff);
    const data = new Uint8Array(length).map((_, index) => index);
    const sent = performance.now();
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#echoes.delete(sequence);
        reject(new Error(`no echo reply from ${address} within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#echoes.set(sequence, (reply) => {
        clearTimeout(timer);
        this.#echoes.delete(sequence);
        const same = reply.length === length && data.every((byte, index) => reply.bytes[reply.offset + index] === byte);
        if (same) resolve(performance.now() - sent);
        else reject(new Error(`the echo reply from ${address} has other data`));
      });
      this.#driver.stack.sendEchoRequest(parseIpv4(address), process.pid & 0xffff, sequence, data);
    });
  }

  /**
   * Opens a TCP connection.
   *
   * @throws with the code that a kernel gives: ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT.
   */
  async connect(address: string, port: number): Promise<FlowStream> {
    const stream = new FlowStream();
    const tuple = { localAddress: this.#address(), localPort: 0, remoteAddress: parseIpv4(address), remotePort: port };
    const flow = this.#driver.stack.tcpDial(tuple, stream.handler);
    if (flow === null) throw new Error("too many connections");
    stream.bind(flow);
    await new Promise<void>((resolve, reject) => {
      stream.once("connect", resolve);
      stream.once("error", reject);
    });
    stream.removeAllListeners("error");
    return stream;
  }

  /**
   * Serves TCP connections to a port of the guest.
   *
   * @returns a function that ends the listening; connections live on.
   */
  listen(port: number, connected: (stream: FlowStream) => void): () => void {
    return this.#driver.stack.tcpListen(0, port, (request) => {
      const stream = FlowStream.accept(request);
      if (stream !== null) connected(stream);
    });
  }

  /** Opens a UDP socket; a port of 0 has one chosen. */
  udp(port = 0): GuestUdpSocket {
    const local = port === 0 ? this.#choosePort() : port;
    const { stack } = this.#driver;
    const socket: GuestUdpSocket = new GuestUdpSocket(local, {
      send: (address, remotePort, data) => {
        stack.udpSend(this.#address(), local, parseIpv4(address), remotePort, data, 0, data.length);
      },
      close: () => {
        this.#sockets.delete(local);
        unlisten();
      },
    });
    const unlisten = stack.udpListen(0, local, ({ source, sourcePort, bytes, offset, length }) => {
      const data = bytes.slice(offset, offset + length);
      socket.received({ address: formatIpv4(source), port: sourcePort, data });
    });
    this.#sockets.set(local, socket);
    return socket;
  }

  /**
   * Asks the name server of the lease for the addresses of a name.
   *
   * @throws with the response code's name when the server has none to give.
   */
  async resolve(name: string, timeoutMs = 5000): Promise<string[]> {
    const server = this.#lease?.dnsServers[0];
    if (server === undefined) throw new Error("the lease names no DNS server");
    const socket = this.udp();
    try {
      const id = randomBelow(0x10000);
      const query = encode({ type: "query", id, flags: 0x0100, questions: [{ type: "A", name }] });
      socket.send(formatIpv4(server), DNS_PORT, query);
      const reply = decode(Buffer.from((await socket.receive(timeoutMs)).data)) as ReturnType<typeof decode> & {
        rcode: string;
      };
      if (reply.id !== id || reply.rcode !== "NOERROR") throw new Error(`${name}: ${reply.rcode}`);
      return (reply.answers ?? []).flatMap((answer) => (answer.type === "A" ? [answer.data] : []));
    } finally {
      socket.close();
    }
  }

  /** Gives the lease back and leaves. */
  async close(): Promise<void> {
    const release = this.#dhcp.release(performance.now());
    if (release !== null) this.#send(release);
    this.#driver.close();
    await this.closed;
  }

  /** Leaves without a word, as a VM does that is killed. */
  async kill(): Promise<void> {
    this.#driver.vanish();
    await this.closed;
  }

  #address(): Ipv4 {
    if (this.#lease === null) throw new Error("the guest has no address yet: call configure() first");
    return this.#lease.address;
  }

  #runDhcp(): void {
    for (;;) {
      const message = this.#dhcp.poll(performance.now());
      if (message === null) break;
      this.#send(message);
    }
    const { lease, nextDeadline } = this.#dhcp;
    if (lease !== null && lease !== this.#lease) {
      this.#lease = lease;
      const mask = prefixMask(lease.prefixLength);
      const network = { address: lease.address & mask, prefixLength: lease.prefixLength };
      this.#driver.stack.configure(lease.address, network, lease.router);
      this.#configuring?.resolve(lease);
      this.#configuring = null;
    }
    if (this.#dhcpTimer !== null) clearTimeout(this.#dhcpTimer);
    const delay = Math.min(Math.max(1, nextDeadline - performance.now()), 2 ** 31 - 1);
    this.#dhcpTimer = Number.isFinite(nextDeadline) ? setTimeout(() => this.#runDhcp(), delay).unref() : null;
  }

  #send({ message, source, destination }: { message: Uint8Array; source: Ipv4; destination: Ipv4 }): void {
    const { stack } = this.#driver;
    stack.udpSend(source, DHCP_CLIENT_PORT, destination, DHCP_SERVER_PORT, message, 0, message.length);
  }

  #choosePort(): number {
    do {
      this.#nextPort = (this.#nextPort + 1) % EPHEMERAL_COUNT;
    } while (this.#sockets.has(EPHEMERAL_FIRST + this.#nextPort));
    return EPHEMERAL_FIRST + this.#nextPort;
  }

  #finish(): void {
    this.#gone = true;
    this.#configuring?.reject(fault("ECONNRESET", "the link is gone"));
    if (this.#dhcpTimer !== null) clearTimeout(this.#dhcpTimer);
    for (const socket of this.#sockets.values()) socket.close();
    this.#closed.resolve();
  }
}

/** A UDP socket of an {@link EmbeddedGuest}. */
export class GuestUdpSocket {
  readonly port: number;
  readonly #io: { send(address: string, port: number, data: Uint8Array): void; close(): void };
  readonly #queue: GuestDatagram[] = [];
  #waiting: { resolve(datagram: GuestDatagram): void; reject(error: Error): void } | null = null;
  /** An ICMP error that no {@link receive} has been told of. */
  #fault: Error | null = null;
  #closed = false;

  constructor(port: number, io: { send(address: string, port: number, data: Uint8Array): void; close(): void }) {
    this.port = port;
    this.#io = io;
  }

  send(address: string, port: number, data: Uint8Array): void {
    this.#io.send(address, port, data);
  }

  /**
   * The next datagram.
   *
   * @throws ETIMEDOUT after `timeoutMs`, ECONNREFUSED when ICMP said that nobody listens, EHOSTUNREACH for every other
   *   unreachable, ECANCELED when the socket is closed.
   */
  async receive(timeoutMs = 3000): Promise<GuestDatagram> {
    const pending = this.#closed ? fault("ECANCELED", "the socket was closed") : this.#fault;
    this.#fault = null;
    if (pending !== null) throw pending;
    const queued = this.#queue.shift();
    if (queued !== undefined) return queued;
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#takeWaiting()?.reject(fault("ETIMEDOUT", `no datagram within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#waiting = {
        resolve: (datagram) => {
          clearTimeout(timer);
          resolve(datagram);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#takeWaiting()?.reject(fault("ECANCELED", "the socket was closed"));
    this.#io.close();
  }

  /** Called by the guest with what arrived. */
  received(datagram: GuestDatagram): void {
    const waiting = this.#takeWaiting();
    if (waiting !== null) waiting.resolve(datagram);
    else if (this.#queue.length < 1024) this.#queue.push(datagram);
  }

  /** Called by the guest with an ICMP error about something that was sent. */
  refused({ code }: ReceivedUnreachable): void {
    const error =
      code === UNREACHABLE_PORT
        ? fault("ECONNREFUSED", "port unreachable")
        : fault("EHOSTUNREACH", `unreachable, ICMP code ${code}`);
    const waiting = this.#takeWaiting();
    if (waiting !== null) waiting.reject(error);
    else this.#fault = error;
  }

  /** Who waits, who is answered once: the next datagram of the same batch is for the next call. */
  #takeWaiting() {
    const waiting = this.#waiting;
    this.#waiting = null;
    return waiting;
  }
}

function fault(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

function randomBelow(limit: number): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] % limit;
}
