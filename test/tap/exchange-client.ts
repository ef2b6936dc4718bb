/**
 * Reads a plan from standard input, makes its connections to `exchange-server.ts`, so many at a time, and writes the
 * outcome to standard output; both are JSON.
 */
import { connect } from "node:net";
import { json } from "node:stream/consumers";
import { clientPart, type Exchange, play, type Report } from "./exchange.ts";

export interface ClientPlan {
  readonly address: string;
  readonly port: number;
  readonly exchanges: readonly Exchange[];
  /** Connections that are open at once. */
  readonly parallel: number;
}

export interface ClientOutcome {
  readonly reports: readonly Report[];
  /** From the first connect to the last close, in seconds. */
  readonly seconds: number;
}

const plan = (await json(process.stdin)) as ClientPlan;
const { address: host, port } = plan;
const waiting = [...plan.exchanges];
const reports: Report[] = [];
const began = performance.now();

async function work(): Promise<void> {
  for (let exchange = waiting.shift(); exchange !== undefined; exchange = waiting.shift()) {
    const socket = connect({ host, port, allowHalfOpen: true });
    reports.push(await play(socket, clientPart(exchange), `${JSON.stringify(exchange)}\n`));
  }
}

await Promise.all(Array.from({ length: plan.parallel }, work));
const outcome: ClientOutcome = { reports, seconds: (performance.now() - began) / 1000 };
process.stdout.write(`${JSON.stringify(outcome)}\n`);
