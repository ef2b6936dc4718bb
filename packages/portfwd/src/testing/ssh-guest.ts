import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FourTuple, TcpFlow, TcpHandler } from "@hostd/stack";
import { FlowStream } from "@hostd/streams";
import ssh2, { type AuthContext, type Connection, type ServerChannel } from "ssh2";
import { EventLog } from "../../../streams/src/testing/event-log.ts";
import { LinkedStacks } from "../../../streams/src/testing/linked-stacks.ts";
import type { GuestSocket } from "../forward-rule.ts";
import { FakeVm } from "./fake-vm.ts";
import { cleanUp } from "./harness.ts";

export const USER = "core";
export const SOCKET = "/run/test.sock";
const PORT = 22;

/** A key pair in the formats of OpenSSH. */
export interface SshKey {
  readonly privateText: string;
  /** As it is in a file of known hosts or of authorized keys. */
  readonly publicText: string;
}

/** An Ed25519 key pair in OpenSSH's own format. */
export function makeKey(passphrase?: string): SshKey {
  const make = ssh2.utils.generateKeyPairSync;
  for (;;) {
    const pair =
      passphrase === undefined ? make("ed25519") : make("ed25519", { passphrase, cipher: "aes256-ctr", rounds: 1 });
    // The library's generator loses a byte of one in 500.
    if (ssh2.utils.parseKey(pair.public) instanceof Error || pair.public.split(" ")[1].length !== 68) continue;
    return { privateText: pair.private, publicText: pair.public };
  }
}

/** An RSA key pair, whose private half is a PEM file of PKCS #1. */
export function makeRsaKey(): SshKey {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const privateText = privateKey.export({ type: "pkcs1", format: "pem" }).toString();
  const key = ssh2.utils.parseKey(privateText);
  if (key instanceof Error) throw key;
  return { privateText, publicText: `ssh-rsa ${key.getPublicSSH().toString("base64")}` };
}

/** Writes a file into a folder that is gone after the test. */
export function temporaryFile(name: string, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "hostd-ssh-"));
  cleanUp(() => rmSync(folder, { recursive: true }));
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

export interface SshGuestOptions {
  /** What the server's key is; one of its own unless given. */
  readonly hostKey?: SshKey;
  /** How the server names itself. */
  readonly ident?: string;
}

/** A VM whose guest runs the library's SSH server, behind two stacks of which one is the gateway's. */
export class SshGuest extends FakeVm {
  readonly linked = new LinkedStacks();
  readonly hostKey: SshKey;
  /** The key that the server takes. */
  readonly key = makeKey();
  /** What serves the guest's Unix sockets, by their paths. */
  readonly sockets = new Map<string, (channel: ServerChannel) => void>();
  /** TCP connections that were dialled. */
  dialled = 0;
  /** Every connection to the server whose user was let in. */
  readonly connections = new EventLog<Connection>();
  /** The server's end of every TCP connection. */
  readonly streams = new EventLog<FlowStream>();
  /** Every request for a socket. */
  readonly requests = new EventLog<string>();
  /** Whether requests for sockets are answered. */
  answers = true;
  readonly identity: string;
  readonly #server: ssh2.Server;
  readonly #unanswered: (() => void)[] = [];
  #stopListening: (() => void) | null = null;

  constructor({ hostKey = makeKey(), ident }: SshGuestOptions = {}) {
    super();
    this.hostKey = hostKey;
    this.identity = temporaryFile("identity", this.key.privateText);
    this.#server = new ssh2.Server({ hostKeys: [hostKey.privateText], ...(ident === undefined ? {} : { ident }) });
    this.#server.on("connection", (connection: Connection) => this.#accepted(connection));
    this.sockets.set(SOCKET, (channel) => channel.pipe(channel));
    cleanUp(() => this.linked.close());
    this.start();
  }

  override tcpDial(tuple: FourTuple, handler: TcpHandler): TcpFlow | null {
    this.dialled++;
    return this.isFull ? null : this.linked.gateway.tcpDial(tuple, handler);
  }

  /** Where a forward leads. */
  target(change: Partial<GuestSocket> = {}): GuestSocket {
    const server = { address: this.linked.guestAddress, port: PORT };
    return { server, user: USER, path: SOCKET, identity: this.identity, ...change };
  }

  /** The server begins to take connections. */
  start(): void {
    const { guest, guestAddress } = this.linked;
    this.#stopListening = guest.tcpListen(guestAddress, PORT, (request) => {
      const stream = FlowStream.accept(request);
      if (stream === null) return;
      stream.on("error", () => {});
      this.streams.push(stream);
      // It is only read and written.
      this.#server.injectSocket(stream as unknown as Socket);
    });
  }

  /** The server takes no further connections. */
  stop(): void {
    this.#stopListening?.();
    this.#stopListening = null;
  }

  /** The server dies: its connections end with a reset. */
  kill(): void {
    this.stop();
    for (const stream of this.streams.events) stream.destroy(new Error("killed"));
  }

  /** Answers the requests that were not. */
  answerPending(): void {
    for (const answer of this.#unanswered.splice(0)) answer();
  }

  /** The server disconnects everybody (RFC 4253, 11.1). */
  disconnect(): void {
    const [DISCONNECT, PROTOCOL_ERROR] = [1, 2];
    for (const connection of this.connections.events) {
      sendMessage(connection, message(DISCONNECT, PROTOCOL_ERROR, "enough", ""));
    }
  }

  #accepted(connection: Connection): void {
    connection.on("error", () => {});
    connection.on("authentication", (context: AuthContext) => {
      if (context.method !== "publickey" || context.username !== USER) return context.reject();
      const known = ssh2.utils.parseKey(this.key.publicText);
      if (known instanceof Error || !known.getPublicSSH().equals(context.key.data)) return context.reject();
      const { blob, signature, hashAlgo } = context;
      // The first request only asks whether the key would do.
      if (blob === undefined || signature === undefined || known.verify(blob, signature, hashAlgo)) context.accept();
      else context.reject();
    });
    connection.on("ready", () => {
      this.connections.push(connection);
      connection.on("openssh.streamlocal", (accept, reject, { socketPath }) => {
        this.requests.push(socketPath);
        const answer = () => {
          const serve = this.sockets.get(socketPath);
          if (serve === undefined) return reject();
          const channel = accept();
          channel.on("error", () => {});
          serve(channel);
        };
        if (this.answers) answer();
        else this.#unanswered.push(answer);
      });
    });
  }
}

/** The parts of the library's server that a test has it break the protocol with. */
interface ProtocolFields {
  readonly _protocol: {
    readonly _cipher: { encrypt(packet: Uint8Array): void };
    readonly _packetRW: {
      readonly write: {
        readonly allocStart: number;
        alloc(length: number): Buffer;
        finalize(packet: Buffer): Uint8Array;
      };
    };
  };
}

/** Sends a message of the test's own from the server (RFC 4253, 6). */
export function sendMessage(connection: Connection, payload: Uint8Array): void {
  const { _cipher: cipher, _packetRW: packets } = (connection as unknown as ProtocolFields)._protocol;
  const start = packets.write.allocStart;
  const packet = packets.write.alloc(payload.length);
  packet.set(payload, start);
  cipher.encrypt(packets.write.finalize(packet));
}

/** A message of a number, and of numbers of 32 bits and strings (RFC 4251, 5). */
export function message(number: number, ...fields: readonly (number | string | Uint8Array)[]): Buffer {
  const parts = fields.flatMap((field) => {
    if (typeof field === "number") return [uint32(field)];
    const bytes = Buffer.from(field);
    return [uint32(bytes.length), bytes];
  });
  return Buffer.concat([Buffer.of(number), ...parts]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
