import { execFile } from "node:child_process";
import { createSocket } from "node:dgram";
import { closeSync } from "node:fs";
import { access, constants, lstat, readFile, stat } from "node:fs/promises";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import {
  fixedServers,
  hostPolicy,
  newQuery,
  type Policy,
  RulesFirst,
  type ServerAddress,
  showMessage,
} from "@hostd/dns";
import type { TcpAddress, UnixAddress } from "@hostd/frontends";
import { CredentialsFile, type SettingsReport, SettingsStack, systemProgram, VpnkitProxyFile } from "@hostd/httpproxy";
import { loadSystemCalls, openPingSocket } from "@hostd/native";
import { type ForwardRule, PortForwarder, readUnixSockets } from "@hostd/portfwd";
import { formatIpv4 } from "@hostd/stack";
import { systemClock } from "@hostd/streams";
import { processEnvironment } from "../config/environment.ts";
import type { HostdConfig } from "../config/resolve.ts";
import { ContextStore, dockerConfigFolder } from "../docker/context-store.ts";
import { forwarderSettings } from "../forwarder-settings.ts";
import { readHostRoutes } from "../subnet-clash.ts";
import { messageOf } from "./finding.ts";
import { type FileStatus, type Host, type HttpReply, PROBE_TIME } from "./host.ts";

/** The type of the record that names servers (RFC 1035, 3.2.2). */
const NS = 2;
const DNS_HEADER_LENGTH = 12;
/** The most that is read of what a socket answers, in characters. */
const MAX_ANSWER = 64 * 1024;

const silent = () => {};
/** For what is only looked at. */
const SILENT = { trace: silent, debug: silent, info: silent, warn: silent, error: silent };

/** The host that this process runs on. */
export function realHost(): Host {
  const environment = processEnvironment();
  const contexts = new ContextStore(dockerConfigFolder(environment));
  return {
    ...environment,
    platform: process.platform,
    arch: process.arch,
    nodeVersion: process.versions.node,
    openFiles: readOpenFiles(),
    readFile: (path) => readFile(path, "utf8"),
    lookAt,
    canWriteIn,
    run,
    get,
    exchange,
    connect: connectAndGo,
    listeningSockets,
    tryForward,
    whyNoSystemCalls: () => {
      const calls = loadSystemCalls();
      return "reason" in calls ? calls.reason : null;
    },
    tryPing: () => {
      const result = openPingSocket();
      if (result.descriptor === null) return result;
      closeSync(result.descriptor);
      return null;
    },
    routes: readHostRoutes,
    findDockerContext: (name) => contexts.find(name),
    currentDockerContext: () => contexts.current(),
    namePolicy,
    proxySettings,
    whyNoCredentials,
    connectTcp,
    askNameServer,
  };
}

/** The limit of this process, which Node has raised as far as it may go (setrlimit(2)). */
function readOpenFiles(): number {
  const { report } = process;
  // Without it, the names of all peers are looked up.
  Reflect.set(report, "excludeNetwork", true);
  const { userLimits } = report.getReport() as { userLimits?: { open_files?: { soft?: unknown } } };
  const limit = Number(userLimits?.open_files?.soft);
  return Number.isNaN(limit) ? Number.POSITIVE_INFINITY : limit;
}

async function lookAt(path: string): Promise<FileStatus | null> {
  try {
    const status = await lstat(path);
    const kind = status.isDirectory() ? "folder" : status.isSocket() ? "socket" : "other";
    return { kind, mode: status.mode & 0o7777, userId: status.uid };
  } catch (error) {
    if (isCode(error, "ENOENT")) return null;
    throw error;
  }
}

async function canWriteIn(folder: string): Promise<boolean> {
  try {
    await access(folder, constants.W_OK | constants.X_OK);
    return (await stat(folder)).isDirectory();
  } catch {
    return false;
  }
}

async function run(program: string, args: readonly string[]): Promise<string> {
  return await new Promise((resolve, reject) => {
    const options = { timeout: PROBE_TIME, killSignal: "SIGKILL", env: { ...process.env, LC_ALL: "C" } } as const;
    execFile(program, args, options, (error, stdout) => {
      if (error === null) resolve(stdout);
      else reject(error.killed ? new Error(`${program} takes too long`) : error);
    });
  });
}

async function get(address: UnixAddress | TcpAddress, path: string): Promise<HttpReply> {
  const to = address.transport === "unix" ? { socketPath: address.path } : { host: address.host, port: address.port };
  let outgoing: ClientRequest | undefined;
  const answered = (async () => {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      outgoing = request({ ...to, path, agent: false }, resolve);
      outgoing.on("error", reject);
      outgoing.end();
    });
    return { status: response.statusCode ?? 0, body: await text(response) };
  })();
  return await inTime(answered, () => outgoing?.destroy());
}

async function exchange(path: string, first: string, second: string, time?: number): Promise<string> {
  const socket = connect(path);
  const answered = new Promise<string>((resolve, reject) => {
    let answer = "";
    socket.setEncoding("latin1");
    socket.on("error", reject);
    socket.on("close", () => resolve(answer));
    socket.on("data", (piece) => {
      if (answer === "") socket.write(second);
      answer += piece;
      if (answer.length > MAX_ANSWER) socket.destroy();
    });
    socket.write(first);
  });
  return await inTime(answered, () => socket.destroy(), time);
}

async function connectAndGo(path: string): Promise<void> {
  await goOnceConnected(connect(path));
}

async function connectTcp({ host, port }: TcpAddress): Promise<void> {
  await goOnceConnected(connect({ host, port }));
}

async function goOnceConnected(socket: Socket): Promise<void> {
  const connected = new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("connect", resolve);
  });
  try {
    await inTime(connected, () => {});
  } finally {
    socket.destroy();
  }
}

function listeningSockets(): ReadonlySet<string> | null {
  if (process.platform !== "linux") return null;
  return new Set(readUnixSockets().flatMap(({ path, isListening }) => (isListening ? [path] : [])));
}

async function tryForward(config: HostdConfig, rule: ForwardRule): Promise<void> {
  const forwarder = new PortForwarder({ ...forwarderSettings(config), logger: SILENT });
  try {
    await forwarder.listen(rule);
  } finally {
    await forwarder.close();
  }
}

async function namePolicy({ dns, gateway, host }: HostdConfig): Promise<Policy> {
  const own = hostPolicy({ resolvConf: dns.resolvConf, ownAddresses: [formatIpv4(gateway), formatIpv4(host)] });
  try {
    const from = "the configuration";
    const rules = dns.rules.map(({ domain, servers }) => {
      return { domain: domain.toLowerCase(), set: { servers, serverTimeout: null, attempts: null }, from };
    });
    if (dns.servers.length > 0) return new RulesFirst(rules, fixedServers(dns.servers, from)).current();
    await inTime(own.ready(), () => {});
    return new RulesFirst(rules, own).current();
  } finally {
    own.close();
  }
}

async function proxySettings({ proxy }: HostdConfig): Promise<SettingsReport> {
  const { upstream, noProxy, vpnkitFile } = proxy;
  const stack = new SettingsStack({
    configuration:
      vpnkitFile === undefined
        ? { upstream: upstream.setting, exclusions: noProxy }
        : new VpnkitProxyFile(vpnkitFile, systemClock),
    environment: process.env,
    program: systemProgram(),
    clock: systemClock,
    logger: SILENT,
  });
  try {
    return await inTime(stack.report(), () => {});
  } finally {
    stack.close();
  }
}

function whyNoCredentials(path: string): string | null {
  try {
    new CredentialsFile(path).read();
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

async function askNameServer({ address, family, port }: ServerAddress): Promise<string> {
  const query = Uint8Array.from(newQuery(".", NS).message);
  crypto.getRandomValues(query.subarray(0, 2));
  const socket = createSocket(family === 6 ? "udp6" : "udp4");
  const answered = new Promise<string>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("message", (answer) => {
      if (answer.length < DNS_HEADER_LENGTH || answer[0] !== query[0] || answer[1] !== query[1]) return;
      resolve(showMessage(answer).rcode);
    });
    // Connected, so that the system tells that nobody is there.
    socket.connect(port, address, () => socket.send(query));
  });
  try {
    return await inTime(answered, () => {});
  } finally {
    socket.close();
  }
}

/** What was promised, or an error when it takes longer, in milliseconds; it is given up then. */
async function inTime<T>(promised: Promise<T>, giveUp: () => void, time = PROBE_TIME): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new Error(`no answer within ${time / 1000} seconds`));
    giveUp();
  }, time);
  // What comes after the time is up is of no interest.
  promised.catch(() => {});
  try {
    return await Promise.race([promised, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
