/** `hostd docker-context`: a context of the docker command that leads to hostd's socket. */
import { textAt } from "@hostd/docker";
import { formatSocketAddress, readUnixListener } from "../config/endpoint.ts";
import { processEnvironment } from "../config/environment.ts";
import { ContextStore, DEFAULT_CONTEXT, dockerConfigFolder, isContextName } from "../docker/context-store.ts";
import { type ApiOptions, askApi, UsageError } from "./api-client.ts";
import { printJson, printLines } from "./print.ts";
import { alignRows } from "./table.ts";

const DEFAULT_NAME = "hostd";

export interface DockerContextOptions {
  /** What the context is called. */
  readonly name?: string;
}

/** Shows the context. */
export async function runDockerContext(options: DockerContextOptions & Pick<ApiOptions, "json">): Promise<void> {
  const name = readName(options);
  const { store, folder } = openStore();
  const context = await store.find(name);
  if (context === null) {
    throw new Error(`there is no context ${name} in ${folder}; "hostd docker-context create" makes it`);
  }
  const { host, isOurs } = context;
  const current = await store.current();
  const override = overrideOf(name);
  const isUsed = override === null && (current === name || process.env.DOCKER_CONTEXT === name);
  if (options.json === true) {
    printJson({ name, host, isUsed, isOurs, folder });
    return;
  }
  printLines(
    alignRows([
      ["name", name],
      ["host", host === "" ? "none" : host],
      ["used", isUsed ? "yes" : `no, ${override ?? `the docker command uses ${current}`}`],
      ["written by", isOurs ? "hostd" : "somebody else"],
    ]),
  );
}

export interface DockerContextCreateOptions extends DockerContextOptions, Pick<ApiOptions, "api"> {
  /** The socket; that of the running hostd when it is not given. */
  readonly docker?: string;
  /** Whether the docker command uses it from now on. */
  readonly use?: true;
  /** Whether it takes the place of one that hostd has not written. */
  readonly force?: true;
}

/**
 * Writes the context, in the place of an earlier one.
 *
 * @throws when there is one of that name that hostd has not written.
 */
export async function runDockerContextCreate(options: DockerContextCreateOptions): Promise<void> {
  const name = readName(options);
  const { store, folder } = openStore();
  const host = options.docker === undefined ? await servedSocket(options.api) : readSocket(options.docker);
  const before = await store.find(name);
  if (before !== null && !before.isOurs && options.force !== true) throw foreign(name, folder, "replaces");
  await store.write(name, host);
  if (options.use === true) await store.use(name);
  printLines([
    options.use === true
      ? `the docker command uses the context ${name} from now on, which leads to ${host}`
      : `the context ${name} leads to ${host}; "docker context use ${name}" has the docker command use it`,
  ]);
  const override = overrideOf(name);
  if (options.use === true && override !== null) process.stderr.write(`hostd: warning: not here: ${override}\n`);
}

export interface DockerContextRemoveOptions extends DockerContextOptions {
  /** Whether one that hostd has not written goes too. */
  readonly force?: true;
}

/**
 * Removes the context. The docker command uses its default one then if it has used this one.
 *
 * @throws when there is none, or hostd has not written it.
 */
export async function runDockerContextRemove(options: DockerContextRemoveOptions): Promise<void> {
  const name = readName(options);
  const { store, folder } = openStore();
  const context = await store.find(name);
  if (context === null) throw new Error(`there is no context ${name} in ${folder}`);
  if (!context.isOurs && options.force !== true) throw foreign(name, folder, "removes");
  const wasUsed = (await store.current()) === name;
  if (wasUsed) await store.use(DEFAULT_CONTEXT);
  await store.remove(name);
  printLines([`the context ${name} is removed${wasUsed ? `; the docker command uses ${DEFAULT_CONTEXT} again` : ""}`]);
}

function openStore(): { readonly store: ContextStore; readonly folder: string } {
  const folder = dockerConfigFolder(processEnvironment());
  return { store: new ContextStore(folder), folder };
}

function readName({ name = DEFAULT_NAME }: DockerContextOptions): string {
  if (isContextName(name)) return name;
  throw new UsageError(
    `--name: ${JSON.stringify(name)} is not the name of a context; allowed: two or more letters, digits, "_", ".", "+" and ` +
      `"-", the first a letter or digit, and not ${DEFAULT_CONTEXT}`,
  );
}

function readSocket(given: string): string {
  try {
    return formatSocketAddress(readUnixListener(given));
  } catch (error) {
    const reason = error instanceof Error && error.message !== "" ? ` (${error.message})` : "";
    throw new UsageError(
      `--docker: ${JSON.stringify(given)} is not the address of a Unix socket such as unix:///run/user/1000/docker.sock${reason}`,
      { cause: error },
    );
  }
}

/** Where the running hostd serves the engine. */
async function servedSocket(api: string | undefined): Promise<string> {
  const config = await askApi(api, "/v1/config").catch((error: unknown) => {
    if (error instanceof UsageError || !(error instanceof Error)) throw error;
    throw new Error(`${error.message}; --docker names the socket of a hostd that does not run`, { cause: error });
  });
  const listen = textAt(config, "docker", "listen");
  if (listen.startsWith("unix:")) return listen;
  throw new Error(
    'the running hostd serves no Docker engine: start it with "hostd up --docker unix:///PATH", or name the socket with --docker',
  );
}

/** What in the environment has the docker command use something else, as a sentence; null for nothing. */
function overrideOf(name: string): string | null {
  const { DOCKER_HOST: host = "", DOCKER_CONTEXT: context = "" } = process.env;
  if (host !== "") return `DOCKER_HOST is set to ${host}, which goes over it`;
  return context === "" || context === name ? null : `DOCKER_CONTEXT is set to ${context}, which goes over it`;
}

function foreign(name: string, folder: string, does: string): Error {
  return new Error(`the context ${name} in ${folder} was not written by hostd; --force ${does} it all the same`);
}
