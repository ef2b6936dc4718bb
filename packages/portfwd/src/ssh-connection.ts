import { formatIpv4, type Ipv4 } from "@hostd/stack";
import { after, type Clock, FlowStream } from "@hostd/streams";
import type { ClientChannel, ParsedKey, PublicKeyAuthMethod, Client as SshClient } from "ssh2";
import type { ForwardVm } from "./attached-vm.ts";
import type { GuestSocket } from "./forward-rule.ts";
import { type HostKeys, readKnownHosts } from "./known-hosts.ts";
import { type ChannelOwner, LARGEST_WRITE, SshChannel } from "./ssh-channel.ts";
import { parseIdentity, readIdentity } from "./ssh-identity.ts";
import { countRequests, isExchangingKeys, largestMessage, loadSshLibrary } from "./ssh-library.ts";
import { printable, TunnelError } from "./tunnel-error.ts";

const DEFAULT_PORT = 22;
/** For the TCP connection, the keys and the authentication, in milliseconds. */
const CONNECT_TIME = 10_000;
/** For the answer to the request for a channel, in milliseconds. */
const OPEN_TIME = 10_000;
/** How long a connection is kept without a channel, in milliseconds. */
const IDLE_TIME = 300_000;
/** For the server to close its end after an orderly disconnect, in milliseconds. */
const CLOSE_TIME = 5_000;
/** A server that does not answer this many requests in a row, this many milliseconds apart, is gone. */
const KEEP_ALIVE = { keepaliveInterval: 15_000, keepaliveCountMax: 3 } as const;
/** Channels of one connection. sshd's MaxSessions does not count those of Unix sockets. */
const MAX_CHANNELS = 1000;
/** A server takes 32768 bytes in a message (RFC 4253, 6.1); one that takes next to none costs a packet for each byte. */
const SMALLEST_MESSAGE = 1024;
/** Bytes of answers that the server does not read; what clients send waits until there are none. */
const MAX_UNSENT = 1024 * 1024;
/** Global requests that the server has not answered: keepalives, and one for the proof of its other keys. */
const MAX_REQUESTS = 16;
/** What was received is looked at each time that this many bytes have come. */
const CHECK_BYTES = 4 * 1024 * 1024;

/** Those without a group of the server's choice: its size and form would decide how long hostd computes. */
const KEY_EXCHANGES = [
  "curve25519-sha256",
  "curve25519-sha256@libssh.org",
  "ecdh-sha2-nistp256",
  "ecdh-sha2-nistp384",
  "ecdh-sha2-nistp521",
  "diffie-hellman-group14-sha256",
  "diffie-hellman-group16-sha512",
] as const;

export interface SshConnectionOptions {
  /** The gateway's address, from which the server is dialled. */
  readonly gateway: Ipv4;
  readonly clock: Clock;
  /**
   * Bytes of the server that clients have not read, beyond which the channel with the most is ended. A window has 2 MiB,
   * and a server may overrun it.
   */
  readonly maxQueuedBytes: number;
  /** A channel is ended because of that. */
  readonly outOfMemory: () => void;
  /** Nothing of the connection is left. Called once. */
  readonly ended: () => void;
}

/** An SSH connection to a server in the guest through the VM's network (RFC 4253). It is opened at once. */
export class SshConnection implements ChannelOwner {
  readonly #vm: ForwardVm;
  readonly #target: GuestSocket;
  readonly #address: Ipv4;
  readonly #port: number;
  readonly #options: SshConnectionOptions;
  readonly #ready = Promise.withResolvers<void>();
  readonly #stream = new FlowStream();
  readonly #channels = new Set<SshChannel>();
  #client: SshClient | null = null;
  /** Why it has ended. */
  #error: TunnelError | null = null;
  /** What waits for an answer of the server, as what ends that. */
  readonly #waits = new Set<(error: TunnelError) => void>();
  #isReady = false;
  #hasKeys = false;
  #keyRefusal: string | null = null;
  /** Channels that are being opened or that the server has not closed. */
  #used = 0;
  #opening = 0;
  /** Counts what the server sent, to see whether it sent anything. */
  #received = 0;
  #checkedAt = 0;
  /** What channels have to send. */
  #unsent: (() => void)[] = [];
  #stopTimer: (() => void) | null = null;

  constructor(vm: ForwardVm, target: GuestSocket, options: SshConnectionOptions) {
    this.#vm = vm;
    this.#target = target;
    const { address, port } = target.server;
    if (address === null) throw new TypeError("the SSH server's address is not known");
    this.#address = address;
    this.#port = port || DEFAULT_PORT;
    this.#options = options;
    this.#stopTimer = after(options.clock, CONNECT_TIME, () => this.#lose("it does not answer"));
    // Those who open a channel await it, if they are not gone already.
    this.#ready.promise.catch(() => {});
    this.#connect().then(this.#ready.resolve, (error: Error) => {
      this.end(error instanceof TunnelError ? error : this.#failure(error));
    });
  }

  /**
   * Opens a stream to a Unix socket (OpenSSH's PROTOCOL, 2.4: `direct-streamlocal@openssh.com`).
   *
   * @throws {TunnelError}
   */
  async open(path: string): Promise<SshChannel> {
    this.#opening++;
    this.#watchIdle();
    try {
      await this.#ready.promise;
      return await this.#openChannel(path);
    } finally {
      this.#opening--;
      this.#watchIdle();
    }
  }

  whenWritable(send: () => void): void {
    if (this.#isWritable && this.#unsent.length === 0) send();
    else this.#unsent.push(send);
  }

  /** Ends it at once with all its channels. Idempotent. */
  end(error: TunnelError): void {
    if (this.#error !== null) return;
    this.#error = error;
    this.#stopTimer?.();
    this.#unsent = [];
    this.#ready.reject(error);
    for (const reject of [...this.#waits]) reject(error);
    for (const channel of [...this.#channels]) channel.lost(error);
    this.#stream.destroy();
    this.#options.ended();
  }

  async #connect(): Promise<void> {
    const { identity, passphrase, knownHosts } = this.#target;
    const key = await readIdentity(identity);
    const hostKeys = knownHosts === undefined ? null : await readKnownHosts(knownHosts, this.#host, this.#port);
    const ssh = await loadSshLibrary();
    await this.#dial();
    const client = new ssh.Client();
    this.#client = client;
    await this.#handshake(client, parseIdentity(ssh.utils.parseKey, identity, key, passphrase), hostKeys);
    this.#isReady = true;
    this.#watchIdle();
  }

  async #dial(): Promise<void> {
    const stream = this.#stream;
    stream.on("error", (error) => this.#lose(error.message));
    await this.#wait<void>((resolve) => {
      stream.once("connect", resolve);
      const tuple = {
        localAddress: this.#options.gateway,
        localPort: 0,
        remoteAddress: this.#address,
        remotePort: this.#port,
      };
      const flow = this.#vm.tcpDial(tuple, stream.handler);
      if (flow === null) this.#lose("the VM's stack has no room for another connection");
      else stream.bind(flow);
    });
  }

  async #handshake(client: SshClient, key: ParsedKey, hostKeys: HostKeys | null): Promise<void> {
    const stream = this.#stream;
    const { user } = this.#target;
    // It may tell more than one error, and some after its end.
    client.on("error", (error: Error) => this.end(this.#failure(error)));
    client.on("end", () => this.#lose("it closed the connection"));
    client.on("close", () => this.#lose("the connection was closed"));
    client.on("handshake", () => {
      this.#hasKeys = true;
      this.#sendWaiting();
    });
    // Nothing but the key, not even the question whether it goes without.
    const byKey: PublicKeyAuthMethod = { type: "publickey", username: user, key };
    const isReady = this.#wait<void>((resolve) => client.once("ready", resolve));
    client.connect({
      sock: stream,
      username: user,
      authHandler: [byKey],
      ...(hostKeys === null ? {} : { hostVerifier: (shown: Buffer) => this.#isKnown(hostKeys, shown) }),
      algorithms: {
        kex: [...KEY_EXCHANGES],
        // What little can say much when it is unpacked.
        compress: ["none"],
        ...(hostKeys === null ? {} : { serverHostKey: [...hostKeys.algorithms] }),
      },
      // One timer is for all of it, the TCP connection included.
      readyTimeout: 0,
      ...KEEP_ALIVE,
      // Others than OpenSSH know these channels too.
      strictVendor: false,
    });
    stream.on("data", (chunk: Buffer) => this.#check(chunk.length));
    stream.on("drain", () => this.#sendWaiting());
    await isReady;
  }

  #isKnown(hostKeys: HostKeys, shown: Buffer): boolean {
    this.#keyRefusal = hostKeys.refusal(shown);
    return this.#keyRefusal === null;
  }

  async #openChannel(path: string): Promise<SshChannel> {
    if (this.#used >= MAX_CHANNELS) {
      throw new TunnelError("refused", `the SSH connection has ${MAX_CHANNELS} streams, which is the most`);
    }
    let stopTimer: (() => void) | undefined;
    let isWanted = true;
    try {
      return await this.#wait<SshChannel>((resolve, reject) => {
        const receivedBefore = this.#received;
        stopTimer = after(this.#options.clock, OPEN_TIME, () => {
          if (this.#received === receivedBefore) this.#lose("it does not answer any more");
          else reject(new TunnelError("unreachable", `${this.#name} does not answer the request for ${path}`));
        });
        this.#requestChannel(path, (error, channel) => {
          if (error !== undefined) reject(this.#openFailure(path, error));
          else if (!isWanted) discard(channel);
          else if (largestMessage(channel) >= SMALLEST_MESSAGE) resolve(this.#keep(channel));
          else {
            discard(channel);
            reject(new TunnelError("refused", `${this.#name} takes too little in one message for ${path}`));
          }
        });
      });
    } finally {
      isWanted = false;
      stopTimer?.();
    }
  }

  #requestChannel(path: string, answered: (error: Error | undefined, channel: ClientChannel) => void): void {
    this.#used++;
    try {
      this.#client?.openssh_forwardOutStreamLocal(path, (error, channel) => {
        if (error !== undefined) this.#used--;
        else channel.once("close", () => this.#used--);
        answered(error, channel);
      });
    } catch (error) {
      // The library has seen that the connection is gone, and has not told yet.
      this.#lose((error as Error).message);
    }
  }

  /** The stream is made at once: its errors may come before anybody waits for them. */
  #keep(opened: ClientChannel): SshChannel {
    const channel = new SshChannel(this, opened);
    this.#channels.add(channel);
    channel.once("close", () => {
      this.#channels.delete(channel);
      this.#watchIdle();
    });
    return channel;
  }

  /** Waits for what `begin` resolves, but not beyond the end of the connection. */
  async #wait<T>(begin: (resolve: (value: T) => void, reject: (error: TunnelError) => void) => void): Promise<T> {
    if (this.#error !== null) throw this.#error;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#waits.add(reject);
    try {
      begin(resolve, reject);
      return await promise;
    } finally {
      this.#waits.delete(reject);
    }
  }

  /** Whether what is sent now goes to the server, and not into memory. */
  get #isWritable(): boolean {
    return this.#client !== null && !this.#stream.writableNeedDrain && !isExchangingKeys(this.#client);
  }

  #sendWaiting(): void {
    while (this.#isWritable) {
      const send = this.#unsent.shift();
      if (send === undefined) return;
      send();
    }
  }

  /** Looks at what a server could use up memory with. */
  #check(length: number): void {
    this.#received += length;
    if (this.#client === null || this.#error !== null) return;
    const maxUnsent = MAX_UNSENT + this.#channels.size * LARGEST_WRITE;
    if (this.#stream.writableLength > maxUnsent || countRequests(this.#client) > MAX_REQUESTS) {
      this.#lose("it asks and does not read the answers");
      return;
    }
    if (this.#received - this.#checkedAt < CHECK_BYTES) return;
    this.#checkedAt = this.#received;
    let unread = 0;
    let largest: SshChannel | null = null;
    for (const channel of this.#channels) {
      unread += channel.unread;
      if (largest === null || channel.unread > largest.unread) largest = channel;
    }
    if (largest === null || unread <= this.#options.maxQueuedBytes) return;
    this.#options.outOfMemory();
    largest.destroy(new Error("the memory for data of the guest is used up"));
  }

  #watchIdle(): void {
    if (!this.#isReady || this.#error !== null) return;
    this.#stopTimer?.();
    this.#stopTimer = null;
    if (this.#opening > 0 || this.#channels.size > 0) return;
    this.#stopTimer = after(this.#options.clock, IDLE_TIME, () => this.#disconnect());
  }

  /** Ends it in order. */
  #disconnect(): void {
    const stream = this.#stream;
    this.#error = new TunnelError("unreachable", `${this.#name} was not needed`);
    this.#client?.end();
    const stopTimer = after(this.#options.clock, CLOSE_TIME, () => stream.destroy());
    stream.once("close", stopTimer);
    this.#options.ended();
  }

  /** The connection is gone, or could not be made. */
  #lose(why: string): void {
    this.end(new TunnelError("unreachable", `${this.#name} is not reachable: ${printable(why)}`));
  }

  /** What an error of the library means. */
  #failure(error: Error & { readonly level?: string; readonly code?: unknown }): TunnelError {
    const { identity, user } = this.#target;
    const { level, message, code } = error;
    if (this.#keyRefusal !== null) return new TunnelError("refused", `${this.#name}: ${this.#keyRefusal}`);
    if (level === "client-authentication") {
      const advice = `add its public key to ~/.ssh/authorized_keys of ${user} in the guest`;
      return new TunnelError("refused", `${this.#name} does not take ${identity} for the user ${user}; ${advice}`);
    }
    const text = `${this.#name} is not reachable: ${printable(message)}`;
    if (this.#isReady || level === "client-socket") return new TunnelError("unreachable", text);
    // A server that is about to end, or has too many clients, disconnects before there are keys (RFC 4253, 11.1).
    const isOver = message === "Connection lost before handshake" || typeof code === "number";
    return new TunnelError(isOver && !this.#hasKeys ? "unreachable" : "refused", text);
  }

  /** Why a channel was not opened (RFC 4254, 5.1). */
  #openFailure(path: string, error: Error & { readonly reason?: unknown }): TunnelError {
    const { reason, message } = error;
    if (typeof reason !== "number") return this.#failure(error);
    const description = printable(message.replace(/^\(SSH\) Channel open failure: /, ""));
    const name = OPEN_FAILURES[reason] ?? `failure ${reason}`;
    return new TunnelError("refused", `${this.#name} cannot open ${path}: ${name}: ${description}`);
  }

  get #host(): string {
    return formatIpv4(this.#address);
  }

  get #name(): string {
    return `the SSH server at ${this.#host}:${this.#port}`;
  }
}

const OPEN_FAILURES: Readonly<Record<number, string>> = {
  1: "administratively prohibited",
  2: "connect failed",
  3: "unknown channel type",
  4: "resource shortage",
};

/** Closes a channel that nobody has. */
function discard(channel: ClientChannel): void {
  channel.on("error", () => {});
  channel.stderr.on("error", () => {});
  channel.stderr.resume();
  channel.close();
  channel.resume();
}
