import type { StackStatistics } from "../statistics.ts";
import type { TcpConnection } from "./connection.ts";
import type { LinkLoad } from "./link-load.ts";
import type { ReceiveLoad } from "./receive-load.ts";
import type { Transmitter } from "./transmitter.ts";

/** The connections that have something to send, and the order in which they do. */
export class Turns {
  readonly #transmitter: Transmitter;
  readonly #load: LinkLoad;
  readonly #windows: ReceiveLoad;
  readonly #statistics: StackStatistics;
  /** Connections with something to send, in the order in which they have their turns. */
  #awake: TcpConnection[] = [];
  #running: TcpConnection[] = [];

  constructor(transmitter: Transmitter, load: LinkLoad, windows: ReceiveLoad, statistics: StackStatistics) {
    this.#transmitter = transmitter;
    this.#load = load;
    this.#windows = windows;
    this.#statistics = statistics;
  }

  /** Notes that a connection has something to send; true when it is the only one. */
  wake(connection: TcpConnection): boolean {
    if (connection.awake) return false;
    this.#enqueue(connection);
    return this.#awake.length === 1;
  }

  /**
   * Lets every connection with something to send have its turns.
   *
   * @returns false when the link took no more; what is left goes on at the next call.
   */
  run(now: number): boolean {
    while (this.#runAwake(now)) {
      const opened = this.#windows.next(now);
      if (opened !== null) {
        opened.acknowledgeNow = true;
        this.#enqueue(opened);
        continue;
      }
      const connection = this.#load.nextTurn();
      if (connection === null) return true;
      const result = this.#transmitter.run(connection, now);
      if (result === "done") this.#load.endTurn(connection);
      else this.#enqueue(connection);
      if (result === "blocked") return false;
    }
    return false;
  }

  /** Runs every connection that is awake, until none is; false when the link took no more. */
  #runAwake(now: number): boolean {
    while (this.#awake.length > 0) {
      const running = this.#awake;
      this.#awake = this.#running;
      this.#running = running;
      for (let index = 0; index < running.length; index++) {
        const connection = running[index];
        connection.awake = false;
        const sentBefore = this.#statistics.tcpSegmentsSent;
        const result = this.#transmitter.run(connection, now);
        if (result === "done") {
          this.#load.endTurn(connection);
          continue;
        }
        if (result === "blocked") {
          // A turn that the link cut short goes on first: its bytes, just read from its owner, are still in the caches. So
          // does one that has sent nothing yet. Who has had all of its turn goes last.
          const hadTurn = this.#statistics.tcpSegmentsSent > sentBefore && connection.turnBytes === 0;
          if (!hadTurn) this.#enqueue(connection);
          for (let rest = index + 1; rest < running.length; rest++) this.#enqueue(running[rest]);
          if (hadTurn) this.#enqueue(connection);
          running.length = 0;
          return false;
        }
        this.#enqueue(connection);
      }
      running.length = 0;
    }
    return true;
  }

  #enqueue(connection: TcpConnection): void {
    connection.awake = true;
    this.#awake.push(connection);
  }
}
