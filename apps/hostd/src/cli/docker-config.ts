/** `hostd docker-config`: what the engine in the VM is to be configured with. */
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { elementsAt, textAt } from "@hostd/docker";
import { formatIpv4 } from "@hostd/stack";
import { formatSocketAddress } from "../config/endpoint.ts";
import { formatEngine } from "../config/engine.ts";
import { type HostdConfig, parseConfig } from "../config/resolve.ts";
import type { VmReport } from "../control/vm-report.ts";
import {
  daemonJson,
  type EngineConfigOptions,
  type EngineListener,
  type EngineVersion,
  engineConfig,
  formatEngineVersion,
  isSince,
  knowsProxies,
  NEWEST_ENGINE,
  OLDEST_ENGINE,
  readEngineVersion,
} from "../docker/engine-config.ts";
import { noProxyList, PROXY_URL } from "../proxy/guest-environment.ts";
import { type ApiOptions, askApi, UsageError } from "./api-client.ts";
import { describeEngineConfig } from "./docker-config-text.ts";
import { printJson } from "./print.ts";

/** How long an engine is waited for, in milliseconds. */
const ENGINE_TIMEOUT = 5000;
const ENGINE_PORT = 2375;
/** What Linux calls the first network interface unless it is told otherwise. */
const DEFAULT_LINK = "eth0";

export interface DockerConfigOptions extends ApiOptions {
  /** The file of the configuration; that of the running hostd when it is not given. */
  readonly config?: string;
  readonly engineVersion?: string;
  /** Whether containers have the VM's address outside of it. */
  readonly masquerade: boolean;
  /** The proxy of the engine, `none` for none; hostd's own when it is not given. */
  readonly proxy?: string;
  /** Whether the engine is to listen on TCP. */
  readonly tcp?: true;
  readonly interface?: string;
}

/** An engine as its version tells, and how that is known. */
interface Engine {
  readonly version: EngineVersion;
  readonly source: "asked" | "given" | "assumed";
  /** For people. */
  readonly description: string;
}

/**
 * Prints `daemon.json` to standard output, and what it means and what else the VM needs to standard error.
 *
 * @throws {UsageError} when a flag has a value that it cannot have.
 */
export async function runDockerConfig(options: DockerConfigOptions): Promise<void> {
  const given = options.engineVersion === undefined ? undefined : givenEngine(options.engineVersion);
  const givenProxy = options.proxy === undefined ? undefined : readProxy(options.proxy);
  const link = readLink(options.interface ?? DEFAULT_LINK);
  const hostd = await readHostdConfig(options);
  const engine = given ?? (await askEngine(hostd.docker.listen));
  const listening = options.tcp === true ? await findListener(hostd, link, options) : undefined;
  const network: EngineConfigOptions["network"] = {
    gateway: formatIpv4(hostd.gateway),
    host: formatIpv4(hostd.host),
    mtu: hostd.mtu,
    sources: hostd.egress.sources,
    reach: hostd.docker.reach,
    upstream: formatEngine(hostd.docker.upstream),
    noProxy: noProxyList(hostd),
  };
  const { masquerade } = options;
  const { version } = engine;
  const proxy = givenProxy === undefined ? ownProxy(hostd, version) : (givenProxy ?? undefined);
  const config = engineConfig({ version, network, masquerade, proxy, listener: listening?.listener });
  const daemon = daemonJson(config);
  const notes = [...config.notes, ...(listening?.notes ?? [])];
  if (options.json === true) {
    const { source } = engine;
    printJson({ engine: { version: formatEngineVersion(version), source }, daemon, ...config, notes });
    return;
  }
  printJson(daemon);
  const lines = describeEngineConfig({ ...config, notes }, engine.description);
  process.stderr.write(lines.map((line) => `${line}\n`).join(""));
}

async function readHostdConfig({ config: file, api }: DockerConfigOptions): Promise<HostdConfig> {
  if (file !== undefined) return await (await import("./up.ts")).readConfig(file, new Map());
  try {
    return parseConfig(await askApi(api, "/v1/config"), "the running hostd");
  } catch (error) {
    if (error instanceof UsageError || !(error instanceof Error)) throw error;
    throw new Error(`${error.message}; --config names the file of a hostd that does not run`, { cause: error });
  }
}

function givenEngine(given: string): Engine {
  const version = readEngineVersion(given);
  const oldest = formatEngineVersion(OLDEST_ENGINE);
  if (version === null || !isSince(version, OLDEST_ENGINE)) {
    const reason = version === null ? "is not the version of an engine" : "is too old";
    throw new UsageError(
      `--engine-version: ${JSON.stringify(given)} ${reason}; allowed: two numbers such as 28.2, from ${oldest} on`,
    );
  }
  return { version, source: "given", description: `For Docker ${formatEngineVersion(version)}.` };
}

/** The engine behind a socket that hostd serves; the newest when it does not tell. */
async function askEngine(listen: HostdConfig["docker"]["listen"]): Promise<Engine> {
  const assumed = (reason: string): Engine => {
    const known = formatEngineVersion(NEWEST_ENGINE);
    const description =
      `For Docker ${known} and newer, since ${reason}. An older engine does not start with all of this: ` +
      "--engine-version names it.";
    return { version: NEWEST_ENGINE, source: "assumed", description };
  };
  if (listen === undefined) return assumed("hostd serves no engine that could be asked (docker.listen is none)");
  const url = formatSocketAddress(listen);
  let answer: unknown;
  try {
    answer = await getVersion(listen.path);
  } catch (error) {
    return assumed(`no engine has answered at ${url} (${error instanceof Error ? error.message : String(error)})`);
  }
  if (elementsAt(answer, "Components").some((component) => textAt(component, "Name") === "Podman Engine")) {
    throw new Error(
      `the engine at ${url} is Podman, which has no daemon.json: in its containers.conf, [containers] has ` +
        "dns_servers and host_containers_internal_ip",
    );
  }
  const says = textAt(answer, "Version");
  const version = readEngineVersion(says);
  if (version === null) return assumed(`the engine at ${url} says that its version is ${JSON.stringify(says)}`);
  if (!isSince(version, OLDEST_ENGINE)) {
    throw new Error(
      `the engine at ${url} is Docker ${says}: hostd knows the keys of ${formatEngineVersion(OLDEST_ENGINE)} and newer`,
    );
  }
  return { version, source: "asked", description: `For Docker ${says}, which answers at ${url}.` };
}

/** @throws when there is no answer, or none that an engine gives. */
async function getVersion(socketPath: string): Promise<unknown> {
  const signal = AbortSignal.timeout(ENGINE_TIMEOUT);
  const [status, body] = await new Promise<[number, string]>((resolve, reject) => {
    const outgoing = request({ socketPath, path: "/version", headers: { Host: "docker" }, agent: false, signal });
    outgoing.once("error", reject);
    outgoing.once("response", (response) => {
      text(response).then((read) => resolve([response.statusCode ?? 0, read]), reject);
    });
    outgoing.end();
  }).catch((error: unknown) => {
    throw signal.aborted ? new Error(`nothing within ${ENGINE_TIMEOUT / 1000} s`, { cause: error }) : error;
  });
  const answer = parse(body);
  if (status !== 200) throw new Error(textAt(answer, "message") || `status ${status}`);
  return answer;
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw new Error("its answer is no JSON text");
  }
}

/** Where the engine is to listen on TCP, with what is to be known of that. */
async function findListener(
  { docker: { upstream }, dhcp }: HostdConfig,
  link: string,
  { api, config }: DockerConfigOptions,
): Promise<{ readonly listener: EngineListener; readonly notes: readonly string[] }> {
  const port = "port" in upstream ? upstream.port : ENGINE_PORT;
  if ("port" in upstream && upstream.address !== null) {
    return { listener: { address: formatIpv4(upstream.address), port, link }, notes: [] };
  }
  // Both sides are one program.
  const vms = config === undefined ? ((await askApi(api, "/v1/vms")) as readonly VmReport[]) : [];
  const attached = vms.find(({ address }) => address !== null)?.address ?? null;
  if (attached !== null) return { listener: { address: attached, port, link }, notes: [] };
  const address = formatIpv4(dhcp.first);
  const note = `The VM's address is taken to be ${address}, the first that DHCP gives out, as no VM is there to tell.`;
  return { listener: { address, port, link }, notes: [note] };
}

/** hostd's own proxy, for an engine that is told of it where it is told of all else. */
function ownProxy({ proxy }: HostdConfig, version: EngineVersion): string | undefined {
  return proxy.enabled && knowsProxies(version) ? PROXY_URL : undefined;
}

/** @returns null for none. */
function readProxy(given: string): string | null {
  if (given === "none") return null;
  const url = URL.canParse(given) ? new URL(given) : undefined;
  const allowed = "allowed: http://HOST:PORT, https://HOST:PORT or none";
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.pathname !== "/" || url.search + url.hash !== "") {
    throw new UsageError(`--proxy: ${JSON.stringify(given)} is not the URL of a proxy; ${allowed}`);
  }
  if (/^(?:localhost|127\..*|\[::1\])$/.test(url.hostname)) {
    throw new UsageError(
      `--proxy: ${url.hostname} is the VM itself for the engine; a proxy of this host is at host.docker.internal`,
    );
  }
  return url.href.replace(/\/$/, "");
}

function readLink(given: string): string {
  // What Linux takes is more, but some of it has a meaning to iptables or a shell.
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$/.test(given)) return given;
  throw new UsageError(
    `--interface: ${JSON.stringify(given)} is not the name of a network interface; allowed: letters, digits, "." "_" and ` +
      '"-", at most 15, such as eth0',
  );
}
