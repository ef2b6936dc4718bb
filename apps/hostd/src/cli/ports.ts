/** `hostd ports`: what of this host leads into VMs, and changing it. */
import { existsSync } from "node:fs";
import { absolutePath, processEnvironment } from "../config/environment.ts";
import type { ForwardReport } from "../forwards/forward-report.ts";
import { type ApiOptions, askApi, UsageError } from "./api-client.ts";
import { describeForwards, describeOpened, findForward } from "./ports-text.ts";
import { printJson, printLines } from "./print.ts";
import { outputStyle } from "./table.ts";

const PATH = "/v1/forwards";

export async function runPorts({ api, json }: ApiOptions): Promise<void> {
  const forwards = await listForwards(api);
  if (json === true) printJson(forwards);
  else printLines(describeForwards(forwards, outputStyle()));
}

export interface PortsAddOptions extends ApiOptions {
  /** Whether it is opened again after a restart. */
  readonly persist?: true;
  /** The file of the private key for `ssh://`. */
  readonly identity?: string;
}

/**
 * Opens ports, written as with `hostd up --publish`. One that cannot be opened does not keep the others from it.
 *
 * @throws {UsageError} when one is not written right; nothing is opened then.
 */
export async function runPortsAdd(ports: readonly string[], options: PortsAddOptions): Promise<void> {
  const { api, json, persist, identity } = options;
  const requests = await readPorts(ports);
  const key = identity === undefined ? {} : { identity: findKey(identity) };
  const outcome = await forEach(requests, async (request) => {
    const body = {
      ...request,
      ...(request.to.startsWith("ssh:") ? key : {}),
      ...(persist === true ? { persist } : {}),
    };
    return (await askApi(api, PATH, { method: "POST", body })) as readonly ForwardReport[];
  });
  const opened = outcome.results.flat();
  if (json === true) printJson(opened);
  else printLines(describeOpened(opened));
  if (outcome.failure !== undefined) throw outcome.failure;
}

export interface PortsRemoveOptions extends ApiOptions {
  /** Whether open connections are reset. */
  readonly kill?: true;
}

/** Closes ports, each given by its id, or by its port or address. One that cannot be found does not keep the others. */
export async function runPortsRemove(given: readonly string[], options: PortsRemoveOptions): Promise<void> {
  const { api, json, kill } = options;
  const forwards = await listForwards(api);
  const found = await forEach(given, async (text) => findForward(forwards, text).id);
  const connections = kill === true ? "reset" : "keep";
  const outcome = await forEach([...new Set(found.results)], async (id) => {
    return (await askApi(api, PATH, { method: "DELETE", query: { id, connections } })) as { readonly removed: string };
  });
  if (json === true) printJson(outcome.results);
  else printLines(outcome.results.map(({ removed }) => `${removed} is closed`));
  const failure = together([found.failure, outcome.failure].filter((error) => error !== undefined));
  if (failure !== undefined) throw failure;
}

/**
 * The file as hostd can name it, which runs in another folder.
 *
 * @throws {UsageError} when it is not there: hostd reads it for the first connection only.
 */
function findKey(identity: string): string {
  const path = absolutePath(identity, process.cwd(), processEnvironment());
  if (!existsSync(path)) throw new UsageError(`--identity: there is no file ${path}`);
  return path;
}

async function listForwards(api: string | undefined): Promise<readonly ForwardReport[]> {
  return (await askApi(api, PATH)) as readonly ForwardReport[];
}

/** Reads all of them before anything is asked. The code that reads them is loaded only here. */
async function readPorts(ports: readonly string[]) {
  const { PUBLISH_FORM, readPublishedPort } = await import("../config/forward.ts");
  const { results, failure } = await forEach(ports, async (text) => {
    try {
      return readPublishedPort(text);
    } catch (error) {
      const reason = error instanceof Error && error.message !== "" ? ` (${error.message})` : "";
      throw new UsageError(`${JSON.stringify(text)} is not ${PUBLISH_FORM} such as 8080:80${reason}`, { cause: error });
    }
  });
  if (failure !== undefined) throw failure;
  return results;
}

/** Does something with each, one after the other, with those after a failure too. */
async function forEach<Item, Result>(items: readonly Item[], action: (item: Item) => Promise<Result>) {
  const results: Result[] = [];
  const failures: Error[] = [];
  for (const item of items) {
    try {
      results.push(await action(item));
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      failures.push(error);
    }
  }
  return { results, failure: together(failures) };
}

/** One error with the reasons of all; of wrong usage when all are. */
function together(failures: readonly Error[]): Error | undefined {
  if (failures.length <= 1) return failures[0];
  const message = failures.map((failure) => failure.message).join("\n");
  return failures.every((failure) => failure instanceof UsageError) ? new UsageError(message) : new Error(message);
}
