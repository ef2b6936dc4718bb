import type { ListEntry } from "@hostd/stack";
import { after } from "@hostd/streams";
import type { AttachedVm, VmConnection } from "./attached-vm.ts";
import type { GuestSocket } from "./forward-rule.ts";
import type { SshChannel } from "./ssh-channel.ts";
import { SshConnection, type SshConnectionOptions } from "./ssh-connection.ts";
import { TunnelError } from "./tunnel-error.ts";

/** How often a stream is tried to open when the SSH server is not reachable. */
const TRIES = 3;
/** Between two tries, in milliseconds. */
const RETRY_DELAY = 200;
/** After this no other try is made, in milliseconds: one that is not answered takes ten seconds. */
const RETRY_TIME = 15_000;

export interface SshTunnelOptions extends SshConnectionOptions {
  /** It is not in use any more. */
  readonly ended: () => void;
}

/**
 * The way into a VM over one SSH server as one user. There is one SSH connection at a time, made when a stream is opened
 * and none is there. It ends with the VM.
 */
export class SshTunnel implements VmConnection {
  readonly #attached: AttachedVm;
  readonly #target: GuestSocket;
  readonly #options: SshTunnelOptions;
  readonly #place: ListEntry<VmConnection>;
  #connection: SshConnection | null = null;
  /** Streams that are being opened. */
  #opening = 0;
  #isReset = false;

  constructor(attached: AttachedVm, target: GuestSocket, options: SshTunnelOptions) {
    this.#attached = attached;
    this.#target = target;
    this.#options = options;
    this.#place = attached.connections.add(this);
  }

  /** Whether it is one to the target's server, as its user, by its key and under its conditions. */
  leadsTo(attached: AttachedVm, target: GuestSocket): boolean {
    const own = this.#target;
    return (
      attached === this.#attached &&
      target.server.address === own.server.address &&
      target.server.port === own.server.port &&
      target.user === own.user &&
      target.identity === own.identity &&
      target.passphrase === own.passphrase &&
      target.knownHosts === own.knownHosts
    );
  }

  /**
   * Opens a stream to a Unix socket. A connection that turns out to be dead is replaced.
   *
   * @throws {TunnelError}
   */
  async open(path: string): Promise<SshChannel> {
    const { clock } = this.#options;
    const until = clock.now() + RETRY_TIME;
    this.#opening++;
    try {
      for (let tries = 1; ; tries++) {
        this.#checkAttached();
        this.#connection ??= this.#connect();
        try {
          return await this.#connection.open(path);
        } catch (error) {
          const mayChange = error instanceof TunnelError && error.reason === "unreachable";
          if (!mayChange || tries === TRIES || clock.now() >= until) throw error;
        }
        await new Promise<void>((resolve) => after(clock, RETRY_DELAY, resolve));
      }
    } finally {
      this.#opening--;
      this.#release();
    }
  }

  /** Ends all that leads through it. */
  reset(): void {
    this.#isReset = true;
    this.#connection?.end(new TunnelError("detached", "the VM is detached"));
    this.#release();
  }

  #connect(): SshConnection {
    const ended = () => {
      this.#connection = null;
      this.#release();
    };
    return new SshConnection(this.#attached.vm, this.#target, { ...this.#options, ended });
  }

  #checkAttached(): void {
    if (this.#isReset) throw new TunnelError("detached", "the VM is detached");
  }

  #release(): void {
    const isUsed = this.#opening > 0 || this.#connection !== null;
    if (isUsed && !this.#isReset) return;
    this.#place.leave();
    this.#options.ended();
  }
}
