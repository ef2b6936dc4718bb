import { formatServerAddress, type ServerAddress } from "../server-address.ts";

/** How often in a row a server has to say nothing before it counts as dead. */
const FAILURES_TO_DIE = 2;
/** For how long a dead server is left alone before it is retried, in milliseconds: twice as long each time. */
const FIRST_REST = 5000;
const LONGEST_REST = 60_000;
/** A server goes behind another that is so many times, and so many milliseconds, faster. */
const SLOWER_TIMES = 3;
const SLOWER_BY = 100;
/** What a new round trip counts for in their average. */
const AVERAGE_WEIGHT = 1 / 8;
const WAIT_ROUND_TRIPS = 4;

/** Bounds of the wait for an answer, in milliseconds, from which on another server is asked too. */
export interface WaitBounds {
  readonly shortest: number;
  /** Also the wait for a server whose round trip is not known. */
  readonly longest: number;
}

const WAIT_BOUNDS: WaitBounds = { shortest: 300, longest: 1000 };

/** How a server has been doing, for people. */
export interface ServerReport {
  readonly server: string;
  /** Excluded is one that asks us in turn. */
  readonly state: "untried" | "alive" | "failing" | "dead" | "excluded";
  /** The average of its round trips, in milliseconds; null before the first. */
  readonly roundTrip: number | null;
  readonly answers: number;
  /** Queries that it left unanswered, or could not be asked. */
  readonly failures: number;
}

/** What is known of one server. Times are in milliseconds. */
class Health {
  roundTrip: number | null = null;
  measuredAt = 0;
  answers = 0;
  failures = 0;
  failuresInRow = 0;
  /** Until then it is not retried, when others are before it. */
  restsUntil = 0;
  rest = FIRST_REST;

  get isDead(): boolean {
    return this.failuresInRow >= FAILURES_TO_DIE;
  }
}

/** In which order servers are asked, as indices into their list. */
export interface AskingOrder {
  readonly order: readonly number[];
  /** One that is retried: it is asked at the start too, wherever it is in the order. */
  readonly retried: number | null;
}

/**
 * How the servers have been doing, and so in which order they are asked: as they are configured, but those that are much
 * slower than another behind it, and the dead last. One that is behind is retried from time to time beside the first, so
 * that nobody has to wait for it.
 */
export class ServerHealth {
  readonly #bounds: WaitBounds;
  readonly #servers = new Map<string, Health>();
  readonly #listeners: ((server: ServerAddress, now: number) => void)[] = [];

  constructor(bounds: WaitBounds = WAIT_BOUNDS) {
    this.#bounds = bounds;
  }

  /** Has `listener` called for each query that a server leaves unanswered. */
  onFailure(listener: (server: ServerAddress, now: number) => void): void {
    this.#listeners.push(listener);
  }

  /**
   * A server has answered, `roundTrip` milliseconds after it was asked; null when that is not known, as for a query that
   * was sent twice.
   */
  answered(server: ServerAddress, now: number, roundTrip: number | null): void {
    const health = this.#of(server);
    if (health.isDead) health.restsUntil = 0;
    health.answers++;
    health.failuresInRow = 0;
    health.rest = FIRST_REST;
    if (roundTrip === null) return;
    // What was measured long ago says nothing of now.
    const before = now - health.measuredAt < LONGEST_REST ? (health.roundTrip ?? roundTrip) : roundTrip;
    health.roundTrip = before + (roundTrip - before) * AVERAGE_WEIGHT;
    health.measuredAt = now;
  }

  /** A server has not answered in time, or could not be asked. */
  failed(server: ServerAddress, now: number): void {
    const health = this.#of(server);
    health.failures++;
    if (++health.failuresInRow === FAILURES_TO_DIE) rest(health, now);
    for (const listener of this.#listeners) listener(server, now);
  }

  /** The order that holds at `now`. One that is retried then rests again. */
  order(servers: readonly ServerAddress[], now: number): AskingOrder {
    if (servers.length === 1) return ONLY_ONE;
    const known = servers.map((server) => this.#of(server));
    let fastest = Number.POSITIVE_INFINITY;
    for (const { isDead, roundTrip } of known) {
      if (!isDead && roundTrip !== null && roundTrip < fastest) fastest = roundTrip;
    }
    const limit = Math.max(SLOWER_TIMES * fastest, fastest + SLOWER_BY);
    const rank = ({ isDead, roundTrip }: Health) => (isDead ? 2 : roundTrip !== null && roundTrip > limit ? 1 : 0);
    const order = servers.map((_, index) => index);
    order.sort((one, other) => rank(known[one]) - rank(known[other]) || one - other);
    const isDue = (index: number) => rank(known[index]) > 0 && now >= known[index].restsUntil;
    const retried = order.find((index, place) => place > 0 && isDue(index));
    if (retried === undefined) return { order, retried: null };
    const health = known[retried];
    if (health.isDead) rest(health, now);
    else health.restsUntil = now + LONGEST_REST;
    return { order, retried };
  }

  /** Milliseconds to wait for a server before the next is asked too. */
  wait(server: ServerAddress): number {
    const { shortest, longest } = this.#bounds;
    const { roundTrip } = this.#of(server);
    return roundTrip === null ? longest : Math.min(longest, Math.max(shortest, WAIT_ROUND_TRIPS * roundTrip));
  }

  /** Forgets all that is known, which may not hold in another network. */
  reset(): void {
    this.#servers.clear();
  }

  report(servers: readonly ServerAddress[]): ServerReport[] {
    return servers.map((server) => {
      const { isDead, roundTrip, answers, failures, failuresInRow } = this.#of(server);
      const state = isDead ? "dead" : failuresInRow > 0 ? "failing" : answers > 0 ? "alive" : "untried";
      return { server: formatServerAddress(server), state, roundTrip, answers, failures };
    });
  }

  #of(server: ServerAddress): Health {
    const key = formatServerAddress(server);
    const known = this.#servers.get(key);
    if (known !== undefined) return known;
    const health = new Health();
    this.#servers.set(key, health);
    return health;
  }
}

const ONLY_ONE: AskingOrder = { order: [0], retried: null };

function rest(health: Health, now: number): void {
  health.restsUntil = now + health.rest;
  health.rest = Math.min(LONGEST_REST, 2 * health.rest);
}
