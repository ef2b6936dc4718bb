import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Exchange, Report } from "./exchange.ts";
import type { ClientOutcome, ClientPlan } from "./exchange-client.ts";
import type { TapGuest } from "./tap-guest.ts";

const SERVER = join(import.meta.dirname, "exchange-server.ts");
const CLIENT = join(import.meta.dirname, "exchange-client.ts");
/** hostd's name for the host's loopback. */
const HOST = "192.168.65.254";

export interface Transfer {
  /** From the first connect to the last close, in seconds. */
  readonly seconds: number;
  /** Connections on which an end failed, or received other bytes than the other end sent: none on a good network. */
  readonly failures: readonly string[];
}

/** Connections of programs in a guest to a server on the host's loopback. The server is a process of its own. */
export class Traffic {
  readonly #server: ChildProcess;
  readonly #port: number;
  readonly #reports = new Map<number, (report: Report) => void>();
  #lastId = 0;

  private constructor(server: ChildProcess, port: number) {
    this.#server = server;
    this.#port = port;
    server.on("message", (message) => {
      const report = message as Report;
      this.#reports.get(report.id)?.(report);
    });
  }

  static async start(): Promise<Traffic> {
    const server = fork(SERVER, { execArgv: [] });
    const [port] = await once(server, "message");
    return new Traffic(server, Number(port));
  }

  async stop(): Promise<void> {
    const exited = once(this.#server, "exit");
    this.#server.disconnect();
    await exited;
  }

  /**
   * Runs a client in the guest that makes a connection for each exchange, `parallel` of them at a time.
   *
   * @throws Error with the guest's view of its connections if they take longer than `timeoutMs`
   */
  async run(
    guest: TapGuest,
    plans: readonly Omit<Exchange, "id">[],
    { parallel = plans.length, timeoutMs = 60_000 } = {},
  ): Promise<Transfer> {
    const exchanges = plans.map((plan) => ({ ...plan, id: ++this.#lastId }));
    const serverReports = exchanges.map(
      ({ id }) => new Promise<Report>((resolve) => void this.#reports.set(id, resolve)),
    );
    const work = async (): Promise<Transfer> => {
      const { reports, seconds } = await runClient(guest, { address: HOST, port: this.#port, exchanges, parallel });
      const ofClient = new Map(reports.map((report) => [report.id, report]));
      const failures: string[] = [];
      for (const [index, exchange] of exchanges.entries()) {
        const client = ofClient.get(exchange.id);
        // A connection that failed at the client may not have come to the server.
        const server = client?.error === null ? await serverReports[index] : undefined;
        const isGood =
          client?.receivedBytes === exchange.down &&
          server?.receivedBytes === exchange.up &&
          server.error === null &&
          client.isRight &&
          server.isRight;
        if (!isGood) failures.push(JSON.stringify({ exchange, client, server }));
      }
      return { seconds, failures };
    };
    try {
      return await withLimit(work(), timeoutMs, () => guest.check("ss -tineom"));
    } finally {
      for (const { id } of exchanges) this.#reports.delete(id);
    }
  }
}

async function runClient(guest: TapGuest, plan: ClientPlan): Promise<ClientOutcome> {
  const client = guest.spawn(process.execPath, [CLIENT]);
  const { stdin, stdout, stderr } = client;
  if (stdin === null || stdout === null || stderr === null) throw new Error("the client has no pipes");
  stdin.end(JSON.stringify(plan));
  const [output, errors] = await Promise.all([text(stdout), text(stderr)]);
  if (output === "") throw new Error(`the client in ${guest.namespace} ended without an outcome: ${errors.trim()}`);
  return JSON.parse(output);
}

async function withLimit<T>(
  work: Promise<T>,
  timeoutMs: number,
  describe: () => Promise<{ stdout: string }>,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(resolve, timeoutMs, "late");
  });
  const first = await Promise.race([work.then((result) => ({ result })), late]);
  clearTimeout(timer);
  if (first !== "late") return first.result;
  work.catch(() => {});
  throw new Error(`not done after ${timeoutMs} ms; the guest's connections:\n${(await describe()).stdout}`);
}
