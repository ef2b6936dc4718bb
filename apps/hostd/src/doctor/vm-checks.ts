/** Checks of the VMs, and of the programs that go with them: QEMU and Docker. */
import { join } from "node:path";
import { formatSocketAddress, type TcpAddress, type UnixAddress } from "@hostd/frontends";
import { isGuestSocket } from "@hostd/portfwd";
import { codeOf, type Finding, messageOf, ok, warning } from "./finding.ts";
import type { Host, Subject } from "./host.ts";

/** The first QEMU with `-netdev stream`. */
const OLDEST_QEMU = [7, 2] as const;
/** Where an engine listens without encryption and without a password. */
const ENGINE_PORT = 2375;

/** Whether VMs are attached and have an address; nothing where no hostd runs. */
export async function checkVms(_: Host, { hostd }: Subject): Promise<Finding[]> {
  if (!(await hostd.isRunning())) return [];
  const vms = await hostd.vms();
  if (vms.length === 0) {
    return [
      warning("VMs", "none is attached", 'attach one as "hostd up" says, and look at what QEMU says if it fails'),
    ];
  }
  return vms.map(({ name, address, link }) => {
    if (address !== null) return ok("VM", `${name} has ${address}`);
    const frames = link.framesFromVm === 0 ? "it has sent nothing at all" : `it has sent ${link.framesFromVm} frames`;
    return warning(
      "VM",
      `${name} is attached and has no address: ${frames}`,
      "see that the VM asks for an address by DHCP; \"hostd capture --filter 'arp or port 67'\" shows what it sends",
    );
  });
}

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64" };

export async function checkQemu(host: Host): Promise<Finding[]> {
  const program = `qemu-system-${ARCHITECTURES[host.arch] ?? host.arch}`;
  let output: string;
  try {
    output = await host.run(program, ["--version"]);
  } catch (error) {
    const seen = codeOf(error) === "ENOENT" ? `${program} is not on the path` : messageOf(error);
    return [
      warning("QEMU", seen, `install QEMU ${OLDEST_QEMU.join(".")} or newer, unless the VM is run by another program`),
    ];
  }
  const [, version, major, minor] = /version ((\d+)\.(\d+)[\d.]*)/.exec(output) ?? [];
  if (version === undefined) {
    return [warning("QEMU", `${program} says no version`, `see that it is QEMU ${OLDEST_QEMU.join(".")} or newer`)];
  }
  const isOld = Number(major) < OLDEST_QEMU[0] || (Number(major) === OLDEST_QEMU[0] && Number(minor) < OLDEST_QEMU[1]);
  if (!isOld) return [ok("QEMU", `${program} ${version}`)];
  const advice = `install QEMU ${OLDEST_QEMU.join(".")} or newer, the first with -netdev stream`;
  return [warning("QEMU", `${program} ${version} cannot attach to hostd`, advice)];
}

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

/**
 * Whether an engine in a VM listens on its port without a password: every container can reach it there, and is root of
 * the VM then. Nothing is said where it cannot be seen.
 */
export async function checkEngineInVm(host: Host, { config, hostd }: Subject): Promise<Finding[]> {
  const advice =
    "have the engine listen on its Unix socket only, and publish that by ssh://USER@vm/var/run/docker.sock";
  const isPublished = config.forwards.some(({ to }) => {
    return !isGuestSocket(to) && to.ports.first <= ENGINE_PORT && to.ports.last >= ENGINE_PORT;
  });
  if (isPublished) {
    const seen = `port ${ENGINE_PORT} of the VM is published: an engine there is open to every container of the VM too`;
    return [warning("engine in the VM", seen, advice)];
  }
  const { api } = hostd;
  if (api === undefined) return [];
  const vms = await hostd.vms();
  const open = await Promise.all(
    vms.map(async ({ address }) => address !== null && (await answersAsEngine(host, api.path, address))),
  );
  return vms
    .filter((_, index) => open[index])
    .map(({ name, address }) => {
      const seen = `the engine of ${name} answers at ${address}:${ENGINE_PORT}, and so to every container of the VM`;
      return warning("engine in the VM", seen, advice);
    });
}

/** Asks through the tunnel of gvproxy's API, which becomes a connection to the VM after the two letters OK. */
async function answersAsEngine(host: Host, socket: string, address: string): Promise<boolean> {
  const tunnel = `POST /tunnel?ip=${address}&port=${ENGINE_PORT} HTTP/1.1\r\nHost: hostd\r\nContent-Length: 0\r\n\r\n`;
  const question = "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n";
  const answer = await host.exchange(socket, tunnel, question).catch(() => "");
  return /^OKHTTP\/1\.[01] 200 /.test(answer);
}
