/** Proxies of Debian's packages, in a company's network. */
import type { ChildProcess } from "node:child_process";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findCommand } from "../vm/host-packages.ts";
import { type Company, PROXIES_ADDRESS } from "./company.ts";

const START_TIME = 20_000;

export interface Account {
  readonly user: string;
  readonly password: string;
}

export interface ProxyOptions {
  /** Of {@link PROXIES_ADDRESS}. */
  readonly port: number;
  /** Who may use it; everybody unless given. */
  readonly account?: Account;
}

/** What a proxy is started with. */
interface Program {
  readonly command: readonly string[];
  /** The files in which it logs; what it was asked for is in the first one. */
  readonly logs: readonly string[];
}

/** A proxy that runs, or has run. */
export class UpstreamProxy {
  readonly port: number;
  /** The address that origins see it at. */
  readonly from: string;
  readonly #company: Company;
  readonly #program: Program;
  #process: ChildProcess | null = null;
  #printed = "";

  private constructor(company: Company, port: number, from: string, program: Program) {
    this.#company = company;
    this.port = port;
    this.from = from;
    this.#program = program;
  }

  static async start(company: Company, port: number, from: string, program: Program): Promise<UpstreamProxy> {
    const proxy = new UpstreamProxy(company, port, from, program);
    await proxy.begin();
    return proxy;
  }

  /** Its URL, with credentials in it if there are any. */
  url(scheme: string, account?: Account): string {
    const who = account === undefined ? "" : `${account.user}:${encodeURIComponent(account.password)}@`;
    return `${scheme}://${who}${PROXIES_ADDRESS}:${this.port}`;
  }

  /** What it says that it was asked for. */
  get requests(): string {
    const [path] = this.#program.logs;
    return path === undefined ? this.#printed : readFileSync(path, "utf8");
  }

  /** All that it has logged. */
  get log(): string {
    return `${this.#program.logs.map((path) => readFileSync(path, "utf8")).join("")}${this.#printed}`;
  }

  /** Starts it, also anew after {@link kill}, and waits until it listens. */
  async begin(): Promise<void> {
    const [program = "", ...args] = this.#program.command;
    const child = this.#company.outside.spawn(findCommand(program) ?? program, args);
    this.#process = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => (this.#printed += text));
    }
    for (const deadline = performance.now() + START_TIME; performance.now() < deadline; await sleep(20)) {
      if (child.exitCode !== null) break;
      if (await isListening(PROXIES_ADDRESS, this.port)) return;
    }
    throw new Error(`${program} does not start: ${this.log}`);
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "exit");
    child.kill("SIGKILL");
    await closed;
  }
}

async function isListening(host: string, port: number): Promise<boolean> {
  const socket = connect(port, host);
  const isOpen = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return isOpen;
}

let started = 0;

/** Squid, as an HTTP proxy, or by TLS. Its log has a line for each request: its method, target, user and status. */
export async function startSquid(
  company: Company,
  { port, account, isTls = false }: ProxyOptions & { readonly isTls?: boolean },
): Promise<UpstreamProxy> {
  const folder = company.makeFolder(`squid${++started}`);
  const from = await company.addAddress();
  const [access, cache, users] = ["access.log", "cache.log", "users"].map((name) => join(folder, name));
  for (const file of [access, cache]) writeForAll(file, "");
  const { key, cert } = company.proxyIdentity;
  if (isTls) chmodSync(key, 0o644);
  const authentication: string[] = [];
  if (account !== undefined) {
    writeForAll(users, `${account.user}:${hashOf("-apr1", account)}\n`);
    authentication.push(`auth_param basic program /usr/lib/squid/basic_ncsa_auth ${users}`);
    authentication.push("acl known proxy_auth REQUIRED", "http_access allow known", "http_access deny all");
  }
  const lines = [
    isTls
      ? `https_port ${PROXIES_ADDRESS}:${port} tls-cert=${cert} tls-key=${key}`
      : `http_port ${PROXIES_ADDRESS}:${port}`,
    ...authentication,
    ...(account === undefined ? ["http_access allow all"] : []),
    "logformat requests %rm %ru %un %>Hs",
    `access_log stdio:${access} requests`,
    `cache_log ${cache}`,
    "cache deny all",
    "pid_filename none",
    "visible_hostname proxy.test",
    "pinger_enable off",
    `coredump_dir ${folder}`,
    `tcp_outgoing_address ${from}`,
    "shutdown_lifetime 0 seconds",
    "max_filedescriptors 4096",
  ];
  writeForAll(join(folder, "squid.conf"), `${lines.join("\n")}\n`);
  const command = ["squid", "-N", "-f", join(folder, "squid.conf")];
  return await UpstreamProxy.start(company, port, from, { command, logs: [access, cache] });
}

/** Tinyproxy, an HTTP proxy. */
export async function startTinyproxy(company: Company, { port, account }: ProxyOptions): Promise<UpstreamProxy> {
  const folder = company.makeFolder(`tinyproxy${++started}`);
  const from = await company.addAddress();
  const [log, config] = ["tinyproxy.log", "tinyproxy.conf"].map((name) => join(folder, name));
  writeForAll(log, "");
  const lines = [
    `Port ${port}`,
    `Listen ${PROXIES_ADDRESS}`,
    `Bind ${from}`,
    "Timeout 600",
    "MaxClients 500",
    `LogFile "${log}"`,
    "LogLevel Info",
    ...(account === undefined ? [] : [`BasicAuth ${account.user} ${account.password}`]),
  ];
  writeForAll(config, `${lines.join("\n")}\n`);
  return await UpstreamProxy.start(company, port, from, { command: ["tinyproxy", "-d", "-c", config], logs: [log] });
}

/** Dante, a SOCKS proxy. Who may use it is a user of the company's machines. */
export async function startDante(company: Company, { port, account }: ProxyOptions): Promise<UpstreamProxy> {
  const folder = company.makeFolder(`dante${++started}`);
  const from = await company.addAddress();
  const [log, config] = ["danted.log", "danted.conf"].map((name) => join(folder, name));
  writeForAll(log, "");
  if (account !== undefined) await company.addUser(account.user, account.password);
  const lines = [
    `logoutput: ${log}`,
    `internal: ${PROXIES_ADDRESS} port = ${port}`,
    `external: ${from}`,
    "clientmethod: none",
    `socksmethod: ${account === undefined ? "none" : "username"}`,
    "user.privileged: root",
    "user.unprivileged: nobody",
    "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }",
    "socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 log: connect disconnect error }",
  ];
  writeForAll(config, `${lines.join("\n")}\n`);
  return await UpstreamProxy.start(company, port, from, { command: ["danted", "-f", config], logs: [log] });
}

/** Microsocks, another SOCKS proxy. */
export async function startMicrosocks(company: Company, { port, account }: ProxyOptions): Promise<UpstreamProxy> {
  const from = await company.addAddress();
  const place = ["-i", PROXIES_ADDRESS, "-p", String(port), "-b", from];
  const who = account === undefined ? [] : ["-u", account.user, "-P", account.password];
  return await UpstreamProxy.start(company, port, from, { command: ["microsocks", ...place, ...who], logs: [] });
}

function writeForAll(path: string, text: string): void {
  writeFileSync(path, text);
  chmodSync(path, 0o666);
}

/** A password as crypt(3) has it, which takes it from standard input so that nobody else sees it. */
function hashOf(algorithm: string, { password }: Account): string {
  return execFileSync("openssl", ["passwd", algorithm, "-stdin"], { input: `${password}\n`, encoding: "utf8" }).trim();
}
