import type { StackStatistics } from "../statistics.ts";
import type { TcpConnection } from "./connection.ts";
import type { LinkLoad } from "./link-load.ts";
import type { Transmitter } from "./transmitter.ts";

/** The connections that have something to send, and the order in which they do. */
export class Turns {
  readonly #transmitter: Transmitter;
  readonly #load: LinkLoad;
  readonly #statistics: StackStatistics;
  /** Connections with something to send, in the order in which they have their turns. */
  #awake: TcpConnection[] = [];
  #running: TcpConnection[] = [];

  constructor(transmitter: Transmitter, load: LinkLoad, statistics: StackStatistics) {
    this.#transmitter = transmitter;
    this.#load = load;
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
      const connection = this.#load.nextTurn();
      if (connection === null) return true;
      const result = this.#transmitter.run(connection, now);
      this.#load.endTurn(connection);
      if (result !== "done") this.#enqueue(connection);
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
        if (result === "done") continue;
        if (result === "blocked") {
          // Whoever sent goes on after the others, so that a link that takes little at a time is shared as well.
          const hadTurn = this.#statistics.tcpSegmentsSent > sentBefore;
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
