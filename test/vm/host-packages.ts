import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

/** A Debian package of the host, known by a file it installs: a command on the path, or an absolute path. */
interface HostPackage {
  readonly name: string;
  readonly provides: string;
}

/** What running the tests takes. */
const TO_RUN: readonly HostPackage[] = [
  { name: "qemu-system-x86", provides: "qemu-system-x86_64" },
  { name: "util-linux", provides: "setpriv" },
  { name: "iproute2", provides: "ip" },
  { name: "iptables", provides: "iptables" },
  { name: "ncat", provides: "ncat" },
  { name: "tcpdump", provides: "tcpdump" },
  { name: "tshark", provides: "tshark" },
  { name: "busybox-static", provides: "busybox" },
  { name: "gcc", provides: "cc" },
  { name: "libc6-dev", provides: "/usr/include/stdio.h" },
];

/** What building the image takes in addition. */
const TO_BUILD: readonly HostPackage[] = [
  { name: "debootstrap", provides: "debootstrap" },
  { name: "debian-archive-keyring", provides: "/usr/share/keyrings/debian-archive-keyring.gpg" },
  { name: "e2fsprogs", provides: "mke2fs" },
  { name: "cpio", provides: "cpio" },
];

/** The name servers that the name server on the gateway is tried against, and what asks and signs. */
const NAME_SERVERS: readonly HostPackage[] = [
  { name: "unbound", provides: "unbound" },
  { name: "dnsmasq-base", provides: "dnsmasq" },
  { name: "bind9-dnsutils", provides: "dig" },
  { name: "ldnsutils", provides: "ldns-signzone" },
  { name: "dnsperf", provides: "dnsperf" },
  { name: "dbus-daemon", provides: "dbus-daemon" },
  { name: "systemd", provides: "busctl" },
];

/** The SSH server that forwards to Unix sockets in the guest are tried against, and what makes keys. */
const SSH_SERVER: readonly HostPackage[] = [
  { name: "openssh-server", provides: "sshd" },
  { name: "openssh-client", provides: "ssh-keygen" },
];

/** The shells that complete command lines of hostd, and what gives them a terminal. */
const SHELLS: readonly HostPackage[] = [
  { name: "bash", provides: "bash" },
  { name: "zsh", provides: "zsh" },
  { name: "fish", provides: "fish" },
  { name: "bsdutils", provides: "script" },
];

/** The docker command, which also comes from elsewhere. The package has the engine too; nothing here starts it. */
const DOCKER_CLIENT: readonly HostPackage[] = [{ name: "docker.io", provides: "docker" }];

/** The engine, which tests start in a network namespace, or ask what it says of a configuration. */
const DOCKER_ENGINE: readonly HostPackage[] = [{ name: "docker.io", provides: "dockerd" }];

/** Compose in Python, with a client of the engine's API that is not Docker's own. */
const DOCKER_COMPOSE: readonly HostPackage[] = [{ name: "docker-compose", provides: "docker-compose" }];

/** The other engine with Docker's API, and what makes its networks. */
const PODMAN: readonly HostPackage[] = [
  { name: "podman", provides: "podman" },
  { name: "runc", provides: "runc" },
  { name: "netavark", provides: "/usr/lib/podman/netavark" },
  { name: "iptables", provides: "iptables" },
];

/** The settings of a GNOME desktop, with what keeps them and tells of changes. */
const GNOME_SETTINGS: readonly HostPackage[] = [
  { name: "libglib2.0-bin", provides: "gsettings" },
  { name: "gsettings-desktop-schemas", provides: "/usr/share/glib-2.0/schemas/org.gnome.system.proxy.gschema.xml" },
  { name: "dbus-daemon", provides: "dbus-daemon" },
  { name: "dconf-service", provides: "/usr/share/dbus-1/services/ca.desrt.dconf.service" },
  { name: "dconf-gsettings-backend", provides: "/usr/lib/x86_64-linux-gnu/gio/modules/libdconfsettings.so" },
];

/** The proxies that hostd sends requests through, each of another author. */
const PROXIES: readonly HostPackage[] = [
  { name: "squid", provides: "squid" },
  { name: "tinyproxy-bin", provides: "tinyproxy" },
  { name: "dante-server", provides: "danted" },
  { name: "microsocks", provides: "microsocks" },
  { name: "openssl", provides: "openssl" },
];

/** The programs that fetch through the proxy on the gateway, and the one proxy that says what it was asked for. */
const PROXY_CLIENTS: readonly HostPackage[] = [
  { name: "curl", provides: "curl" },
  { name: "wget", provides: "wget" },
  { name: "git", provides: "git" },
  { name: "python3", provides: "/usr/bin/python3" },
  { name: "squid", provides: "squid" },
  { name: "openssl", provides: "openssl" },
];
/** Is held by whoever installs packages for tests. */
const LOCK = join(tmpdir(), "hostd-test-packages.lock");

/** Root's commands are looked for even when an ordinary user's path lacks their folders. */
export function searchPath(): string[] {
  return [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"].filter((folder) => folder !== "");
}

/** The absolute path of a command, or undefined if the host has none of that name. */
export function findCommand(name: string): string | undefined {
  for (const folder of searchPath()) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

function isInstalled({ provides }: HostPackage): boolean {
  return provides.startsWith("/") ? existsSync(provides) : findCommand(provides) !== undefined;
}

export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** Whether this is a continuous-integration run, where missing things are installed and nothing may be skipped. */
export function isContinuousIntegration(): boolean {
  return process.env.CI === "true";
}

/**
 * Makes sure that the host has the packages the real-VM tests need; under CI=true and as root, installs those it lacks.
 *
 * @param building - whether the image has to be built too, which takes more packages
 * @returns undefined if all are there, otherwise one line that says which are missing and how to get them
 */
export function ensureHostPackages(building: boolean): string | undefined {
  return ensure(building ? [...TO_RUN, ...TO_BUILD] : TO_RUN);
}

/** The same for the tests that start real name servers. */
export function ensureNameServers(): string | undefined {
  return ensure(NAME_SERVERS);
}

/** The same for the tests that choose frames as tcpdump does. */
export function ensureTcpdump(): string | undefined {
  return ensure(TO_RUN.filter(({ name }) => name === "tcpdump"));
}

/** The same for the tests that start a real SSH server. */
export function ensureSshServer(): string | undefined {
  return ensure(SSH_SERVER);
}

/** The same for the tests that press Tab in shells. */
export function ensureShells(): string | undefined {
  return ensure(SHELLS);
}

/** The same for the tests that run the docker command. */
export function ensureDockerClient(): string | undefined {
  return ensure(DOCKER_CLIENT);
}

/** The same for the tests that start a Docker engine, or have it read a configuration. */
export function ensureDockerEngine(): string | undefined {
  return ensure(DOCKER_ENGINE);
}

/** The same for the tests that run docker-compose. */
export function ensureDockerCompose(): string | undefined {
  return ensure(DOCKER_COMPOSE);
}

/** The same for the tests that start Podman's service. */
export function ensurePodman(): string | undefined {
  return ensure(PODMAN);
}

/** The same for the tests that try rules of a firewall in network namespaces. */
export function ensureFirewall(): string | undefined {
  return ensure(TO_RUN.filter(({ name }) => name === "iproute2" || name === "iptables"));
}

/** The same for the tests that follow the settings of a GNOME desktop. */
export function ensureGnomeSettings(): string | undefined {
  return ensure(GNOME_SETTINGS);
}

/** The same for the tests that send requests through proxies. */
export function ensureProxies(): string | undefined {
  return ensure(PROXIES);
}

/** The same for the tests of programs that fetch through a proxy. */
export function ensureProxyClients(): string | undefined {
  return ensure(PROXY_CLIENTS);
}

/**
 * Runs apt-get with no service started of what it installs (invoke-rc.d(8)), and takes away only a rule of its own.
 */
const APT_GET = `
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >$policy && chmod 755 $policy
fi
apt-get "$@"
`;

function ensure(wanted: readonly HostPackage[]): string | undefined {
  if (process.platform !== "linux") return `the host runs ${process.platform}; they need Linux with Debian's packages`;
  const missing = () => wanted.filter((each) => !isInstalled(each)).map((each) => each.name);
  let names = missing();
  if (names.length > 0 && isContinuousIntegration() && isRoot() && findCommand("apt-get") !== undefined) {
    process.stderr.write(`test: installing ${names.join(" ")}\n`);
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    for (const args of [["update"], ["install", "-y", "--no-install-recommends", ...names]]) {
      // Tests that run at the same time wait for each other: apt-get itself fails while another one is at work.
      const command = [LOCK, "sh", "-c", APT_GET, "sh", ...args];
      const { status, stdout, stderr } = spawnSync("flock", command, { env, encoding: "utf8" });
      if (status !== 0) return `apt-get ${args.join(" ")} failed: ${lastLine(stderr || stdout)}`;
    }
    names = missing();
  }
  if (names.length === 0) return undefined;
  return `missing on this host; run: apt-get install --no-install-recommends ${names.join(" ")}`;
}

function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1) ?? "";
}
