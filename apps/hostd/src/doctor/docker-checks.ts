/** Checks of Docker: the engine of this host, that in the VM, and the way of the docker command to it. */
import { join } from "node:path";
import { textAt } from "@hostd/docker";
import { formatSocketAddress, type TcpAddress, type UnixAddress } from "@hostd/frontends";
import { formatListen, isGuestSocket, isSocketPath } from "@hostd/portfwd";
import { type EngineAddress, formatEngine } from "../config/engine.ts";
import { expandForward } from "../config/forward.ts";
import type { HostdConfig } from "../config/resolve.ts";
import { codeOf, type Finding, messageOf, ok, warning } from "./finding.ts";
import type { Host, Subject } from "./host.ts";

/** Where an engine listens without encryption and without a password. */
const ENGINE_PORT = 2375;
/** How long an engine behind a firewall is waited for, in milliseconds: the check has time left to say so. */
const SILENCE = 1000;
/** What "hostd docker-context create" makes. */
const CONTEXT = "hostd";

/** The engine that the docker command of this host talks to, if there is one to be seen. */
export async function checkDocker(host: Host): Promise<Finding[]> {
  const given = host.variables.DOCKER_HOST;
  if (given !== undefined && given !== "") return [await checkEngine(host, given)];
  const paths = ["/var/run/docker.sock"];
  if (host.platform === "darwin") paths.unshift(join(host.homeFolder, ".docker/run/docker.sock"));
  for (const path of paths) {
    const status = await host.lookAt(path).catch(() => null);
    // Docker Desktop has a link there.
    if (status !== null) return [await checkEngine(host, `unix://${path}`)];
  }
  return [];
}

async function checkEngine(host: Host, url: string): Promise<Finding> {
  const address = readEngine(url);
  if (address === undefined) return ok("Docker", `DOCKER_HOST=${url} was not tried`);
  const shown = formatSocketAddress(address);
  try {
    const { status, body } = await host.get(address, "/version");
    const version: unknown = status === 200 ? JSON.parse(body) : null;
    if (typeof version === "object" && version !== null && "Version" in version) {
      const seen = `engine ${String(version.Version).slice(0, 40)} answers at ${shown}`;
      if (address.transport === "tcp" && address.port === ENGINE_PORT) {
        return warning("Docker", `${seen}, without a password`, "reach it by a Unix socket, or by ssh://, instead");
      }
      return ok("Docker", seen);
    }
    return warning("Docker", `no engine is at ${shown}: it answers with status ${status}`, "see what listens there");
  } catch (error) {
    const advice =
      codeOf(error) === "EACCES"
        ? "have this user be in the group of the socket (docker)"
        : "start the engine, or the VM that it is in, or change DOCKER_HOST";
    return warning("Docker", `no engine answers at ${shown}: ${messageOf(error)}`, advice);
  }
}

/** Undefined for what is reached by SSH, or is understood by docker alone. */
function readEngine(url: string): UnixAddress | TcpAddress | undefined {
  if (url.startsWith("unix://")) return { transport: "unix", path: url.slice("unix://".length) };
  const match = /^tcp:\/\/(?:\[([\da-f:.]+)\]|([^[\]/:]+))(?::(\d{1,5}))?\/?$/i.exec(url);
  if (match === null) return undefined;
  const [, ipv6, host = ipv6, port = String(ENGINE_PORT)] = match;
  return { transport: "tcp", host, port: Number(port) };
}

/** Whether the engine in the VM answers on the socket where hostd serves it; nothing where it does not. */
export async function checkDockerSocket(host: Host, subject: Subject): Promise<Finding[]> {
  const { listen, upstream } = (await configInUse(subject)).docker;
  if (listen === undefined || !(await subject.hostd.isRunning())) return [];
  const url = formatSocketAddress(listen);
  try {
    const { status, body } = await host.get(listen, "/version");
    const answer = parseJson(body);
    const version = textAt(answer, "Version");
    if (status === 200 && version !== "") {
      return [ok("Docker socket", `engine ${version.slice(0, 40)} answers at ${url}, from ${formatEngine(upstream)}`)];
    }
    const reason = textAt(answer, "message").replace(/; `hostd doctor` tells more$/, "");
    const seen = reason === "" ? `no engine answers at ${url}: status ${status}` : `${url} says: ${reason}`;
    return [warning("Docker socket", seen, engineAdvice(upstream))];
  } catch (error) {
    return [warning("Docker socket", `no engine answers at ${url}: ${messageOf(error)}`, engineAdvice(upstream))];
  }
}

function engineAdvice(upstream: EngineAddress): string {
  if ("user" in upstream) {
    return (
      `start the engine and the SSH server in the VM; ${upstream.user} has to be let in there by the key of docker.identity, ` +
      `and to be one who may open ${upstream.path}`
    );
  }
  if (isSocketPath(upstream)) return `start what listens at ${formatEngine(upstream)}, or change docker.upstream`;
  return (
    `start the engine in the VM, and have it listen on port ${upstream.port}: "hostd docker-config --tcp" prints how; ` +
    "or use its socket, with docker.upstream ssh://USER@vm/var/run/docker.sock"
  );
}

/** Whether the docker command is led to the socket where hostd serves the engine; nothing where it does not. */
export async function checkDockerContext(host: Host, subject: Subject): Promise<Finding[]> {
  const { listen } = (await configInUse(subject)).docker;
  if (listen === undefined) return [];
  const name = "Docker context";
  const url = formatSocketAddress(listen);
  const { DOCKER_HOST: given = "", DOCKER_CONTEXT: chosen = "" } = host.variables;
  if (given === url) return [ok(name, `DOCKER_HOST leads docker to ${url}`)];
  const stored = await host.currentDockerContext();
  const current = chosen === "" ? stored : chosen;
  if (given === "" && (await host.findDockerContext(current))?.host === url) {
    return [ok(name, `docker uses the context ${current}, which leads to ${url}`)];
  }
  const instead = given === "" ? `the context ${current}` : `DOCKER_HOST=${given}`;
  const variable = given === "" ? (chosen === "" ? null : "DOCKER_CONTEXT") : "DOCKER_HOST";
  const ours = await host.findDockerContext(CONTEXT);
  if (ours?.host === url) {
    const steps = [
      ...(variable === null ? [] : [`unset ${variable}, which goes over it`]),
      ...(stored === CONTEXT ? [] : [`"docker context use ${CONTEXT}" has docker use it`]),
    ];
    return [ok(name, `the context ${CONTEXT} leads to ${url}, and docker uses ${instead}`, steps.join("; "))];
  }
  const seen =
    ours === null
      ? `there is no context ${CONTEXT} that leads docker to ${url}; it uses ${instead}`
      : `the context ${CONTEXT} leads to ${ours.host === "" ? "nothing" : ours.host}, and hostd serves ${url}`;
  return [warning(name, seen, '"hostd docker-context create --use" makes it, and has docker use it')];
}

/**
 * Whether an engine in a VM answers on its port without a password: every container can reach it there, and is root of
 * the VM then. Nothing is said where it cannot be seen.
 */
export async function checkEngineInVm(host: Host, subject: Subject): Promise<Finding[]> {
  const name = "engine in the VM";
  const { docker } = await configInUse(subject);
  const ports = new Set([ENGINE_PORT, ...("port" in docker.upstream ? [docker.upstream.port] : [])]);
  const published = subject.config.forwards.flatMap(expandForward).flatMap(({ protocol, listen, to }) => {
    // A socket of this host's files is out of the reach of containers.
    if (protocol === "udp" || isSocketPath(listen) || isGuestSocket(to) || !ports.has(to.port)) return [];
    const seen = `port ${to.port} of the VM is published on ${formatListen(listen)}, where containers may reach an engine too`;
    return [warning(name, seen, "have hostd serve the engine on a Unix socket instead: docker.listen, or --docker")];
  });
  const { api } = subject.hostd;
  if (api === undefined) return published;
  const targets = (await subject.hostd.vms()).flatMap(({ name, address }) => {
    return address === null ? [] : [...ports].map((port) => ({ name, address, port }));
  });
  const open = await Promise.all(
    targets.map(async (target) => {
      // Rules that let in the gateway alone let in the host's address no more than that of a container.
      const [toGateway, toOthers] = await Promise.all(
        (["gateway", "host"] as const).map((from) => answersAsEngine(host, api.path, target, from)),
      );
      const seen = `the engine of ${target.name} answers at ${target.address}:${target.port}`;
      if (toOthers) {
        const advice =
          'let in nobody but the gateway: "hostd docker-config --tcp" prints the rules; or have the engine listen on its Unix ' +
          "socket only, with docker.upstream ssh://USER@vm/var/run/docker.sock";
        return [warning(name, `${seen}, not to the gateway alone, and so to containers of the VM`, advice)];
      }
      return toGateway ? [ok(name, `${seen} to the gateway alone`)] : [];
    }),
  );
  return [...published, ...open.flat()];
}

/**
 * Asks through the tunnel of gvproxy's API, which becomes a connection to the VM after the two letters OK.
 *
 * @param from - the address that the VM sees it come from.
 */
async function answersAsEngine(
  host: Host,
  socket: string,
  { address, port }: { readonly address: string; readonly port: number },
  from: "gateway" | "host",
): Promise<boolean> {
  const target = `/tunnel?ip=${address}&port=${port}&from=${from}`;
  const tunnel = `POST ${target} HTTP/1.1\r\nHost: hostd\r\nContent-Length: 0\r\n\r\n`;
  const question = "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";
  const answer = await host.exchange(socket, tunnel, question, SILENCE).catch(() => "");
  return /^OKHTTP\/1\.[01] 200 /.test(answer);
}

/** That of the hostd that runs, whose flags may say more than the file. */
async function configInUse({ config, hostd }: Subject): Promise<HostdConfig> {
  return (await hostd.config()) ?? config;
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
