import { BindError, isSocketPath } from "@hostd/portfwd";
import type { Control } from "../control/control.ts";
import type { BookedForward } from "../forwards/forward-book.ts";
import { formatPort, listPort, type Port, PortError, ruleOf } from "./port.ts";

/** What of a daemon is used. */
export type ExposeControl = Pick<Control, "forwards" | "forwarder" | "config">;

interface ExposedPort {
  readonly port: Port;
  readonly entry: BookedForward;
}

/** The forwards that were asked for over vpnkit's API. */
export class ExposedPorts {
  readonly #control: ExposeControl;
  /** By their names. */
  readonly #exposed = new Map<string, ExposedPort>();
  /** What is asked for is done one after the other, so that asking twice is the same as asking once. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(control: ExposeControl) {
    this.#control = control;
  }

  /**
   * Opens a forward, unless it is there.
   *
   * @throws {PortError} when it cannot be opened, in Go's words where the system has it not.
   */
  expose(port: Port): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#entries().some((each) => formatPort(each.port) === formatPort(port))) return;
      const entry = await this.#open(port);
      const listening = entry.forward?.listening;
      const number = listening === undefined || isSocketPath(listening) ? port.out_port : listening.port;
      // With the port that the system chose, since it is removed by what is listed.
      const exposed = { port: { ...port, out_port: number }, entry };
      this.#exposed.set(formatPort(exposed.port), exposed);
    });
  }

  /** Removes a forward and ends its connections, if it is there. */
  unexpose(port: Port): Promise<void> {
    return this.#inTurn(async () => {
      const exposed = this.#entries().find((each) => formatPort(each.port) === formatPort(port));
      if (exposed === undefined) return;
      this.#exposed.delete(formatPort(port));
      await this.#control.forwards.remove(exposed.entry.id);
    });
  }

  /** Null where there is none, as Go writes a list that nothing was added to. */
  list(): Partial<Port>[] | null {
    const listed = this.#entries().map(({ port }) => listPort(port));
    return listed.length === 0 ? null : listed;
  }

  /** A line for each forward, with what has become of it, for people. */
  dump(): string {
    const statistics = new Map(this.#control.forwarder.stats().map((each) => [each.rule, each]));
    return this.#entries()
      .map(({ port, entry }) => {
        const { tcp, udp } = statistics.get(entry.rule) ?? {};
        return `${formatPort(port)}: ${JSON.stringify(tcp ?? udp ?? {})}\n`;
      })
      .join("");
  }

  /** Those that are still there: hostd's own API removes them too. */
  #entries(): ExposedPort[] {
    for (const [name, { entry }] of this.#exposed) {
      if (this.#control.forwards.get(entry.id) !== entry) this.#exposed.delete(name);
    }
    return [...this.#exposed.values()];
  }

  async #open(port: Port): Promise<BookedForward> {
    if (port.proto === "unix") {
      throw new PortError(
        `${port.out_path}: a socket of the VM is reached through its SSH server, and this API carries no key for that; ` +
          "have it in the configuration of hostd (forwards, to: ssh://USER@vm/PATH, with identity)",
      );
    }
    try {
      return await this.#control.forwards.open(ruleOf(port, this.#control.config()), { origin: "vpnkit" });
    } catch (error) {
      if (error instanceof BindError) throw new PortError(error.goMessage);
      throw error instanceof Error ? new PortError(error.message) : error;
    }
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(task);
    this.#last = turn.catch(() => {});
    return turn;
  }
}
