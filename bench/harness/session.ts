import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Peer } from "../peers/peer.ts";
import type { LoadGenerator } from "./load.ts";
import type { Durations, Measure } from "./measures.ts";
import type { Inability, Outcome } from "./outcome.ts";
import { RunningPeer } from "./running-peer.ts";
import { StolenTime } from "./stolen-time.ts";

export interface SessionOptions {
  readonly peers: readonly Peer[];
  readonly mtus: readonly number[];
  readonly measures: readonly Measure[];
  readonly rounds: number;
  readonly durations: Durations;
  readonly load: LoadGenerator;
  readonly bridge: string;
  /** For what lives as long as the session. */
  readonly folder: string;
  /** For the logs of peers with which something failed. */
  readonly logs: string;
  /** Is told what is measured next, and what came of it. */
  readonly progress: (step: Step, outcome?: Outcome) => void;
}

/** Where a session is. */
export interface Step {
  readonly number: number;
  readonly of: number;
  readonly round: number;
  readonly mtu: number;
  readonly peer: string;
  readonly measure: string;
}

export interface SessionResult {
  readonly outcomes: readonly Outcome[];
  readonly inabilities: readonly Inability[];
}

/**
 * Measures every peer: all of them by turns within a round, so that what else goes on in the machine meets all alike.
 * Each is started anew for every round, MTU and stage, and again after a failure.
 */
export async function runSession(options: SessionOptions): Promise<SessionResult> {
  const { peers, mtus, measures, rounds } = options;
  const visits = mtus.flatMap((mtu) => peers.map((peer) => planVisit(peer, mtu, measures)));
  const session = new Session(options, rounds * visits.reduce((sum, visit) => sum + visit.measures.length, 0));
  for (let round = 1; round <= rounds; round += 1) {
    for (const visit of visits) {
      for (const stage of ["memory", "speed"] as const) await session.visit(visit, round, stage);
    }
  }
  return { outcomes: session.outcomes, inabilities: visits.flatMap((visit) => visit.inabilities) };
}

/** What is done with one peer at one MTU in every round. */
interface Visit {
  readonly peer: Peer;
  readonly mtu: number;
  readonly measures: readonly Measure[];
  readonly inabilities: readonly Inability[];
}

function planVisit(peer: Peer, mtu: number, measures: readonly Measure[]): Visit {
  const inabilities = measures.flatMap(({ id: measure }) => {
    const reason = peer.kind.cannot?.(measure, mtu);
    return reason === undefined ? [] : [{ peer: peer.id, mtu, measure, reason }];
  });
  const able = measures.filter(({ id }) => !inabilities.some(({ measure }) => measure === id));
  return { peer, mtu, measures: able, inabilities };
}

class Session {
  readonly outcomes: Outcome[] = [];
  readonly #options: SessionOptions;
  readonly #steps: number;

  constructor(options: SessionOptions, steps: number) {
    this.#options = options;
    this.#steps = steps;
  }

  /** Does the measures of one stage with a peer that is started for them. */
  async visit({ peer, mtu, measures }: Visit, round: number, stage: Measure["stage"]): Promise<void> {
    const { folder, bridge, load, progress } = this.#options;
    let running: RunningPeer | undefined;
    // A peer that does not start is not tried for every measure.
    let startFailure: string | undefined;
    try {
      for (const measure of measures.filter((each) => each.stage === stage)) {
        const number = this.outcomes.length + 1;
        const step = { number, of: this.#steps, round, mtu, peer: peer.id, measure: measure.id };
        progress(step);
        if (running === undefined && startFailure === undefined) {
          try {
            running = await RunningPeer.start(peer, { mtu, folder, bridge, load });
          } catch (error) {
            startFailure = messageOf(error);
          }
        }
        const outcome = await this.#measure(step, measure, running, startFailure);
        this.outcomes.push(outcome);
        progress(step, outcome);
        if (outcome.failure === undefined || running === undefined) continue;
        this.#keepLog(running, step);
        await running.stop();
        running = undefined;
      }
    } finally {
      await running?.stop();
    }
  }

  async #measure(step: Step, measure: Measure, running: RunningPeer | undefined, startFailure = ""): Promise<Outcome> {
    const { load, durations } = this.#options;
    const { peer, mtu, round } = step;
    const figures: Record<string, number> = {};
    const notes: string[] = [];
    const outcome = { peer, mtu, round, measure: measure.id, figures, notes };
    if (running === undefined) return { ...outcome, stolen: 0, failure: startFailure };
    const stolen = new StolenTime();
    try {
      const record = (cell: string, value: number) => {
        figures[cell] = value;
      };
      await measure.run({ running, load, durations, record, note: (text) => notes.push(text) });
      if (running.end !== undefined) throw new Error("the figures were there, but then");
      return { ...outcome, stolen: stolen.share() };
    } catch (error) {
      const end = running.end === undefined ? "" : `; the program ${running.end}`;
      return { ...outcome, stolen: stolen.share(), failure: `${messageOf(error)}${end}` };
    }
  }

  /** What a peer has said is of use where something failed. */
  #keepLog(running: RunningPeer, { round, mtu, peer, measure }: Step): void {
    if (!existsSync(running.log)) return;
    mkdirSync(this.#options.logs, { recursive: true });
    copyFileSync(running.log, join(this.#options.logs, `${peer}-${mtu}-${round}-${measure}.log`));
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
