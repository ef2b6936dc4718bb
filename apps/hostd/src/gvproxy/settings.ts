/** What gvproxy was told to do: its configuration file, and the command line over it. */
import { type CommandLine, DEFAULT_SSH_PORT } from "./command-line.ts";
import type { ConfigFile, SshForward } from "./config-file.ts";
import { type LogrusLevel, readLogrusLevel } from "./logrus.ts";

type Stack = NonNullable<ConfigFile["stack"]>;
type Interfaces = NonNullable<ConfigFile["interfaces"]>;

export interface GvproxySettings {
  readonly listen: readonly string[];
  readonly services?: string | undefined;
  readonly pidFile?: string | undefined;
  /** The Unix socket that is told what happens: the path that the file has, or the URL of the command line. */
  readonly notification: { readonly path?: string | undefined; readonly url?: string | undefined };
  readonly stack: Stack;
  readonly interfaces: Interfaces;
  readonly sshForwards: readonly SshForward[];
  /** Whether there is a configuration file: then no zone, no lease and no port is there that it does not name. */
  readonly hasFile: boolean;
  /** The port that leads to the SSH server of the VM where there is no configuration file; -1 for none. */
  readonly sshPort: number;
  /** Whether VMs may reach 169.254.0.0/16. */
  readonly linkLocal: boolean;
  /** What was given and does nothing. */
  readonly notes: readonly string[];
}

/** How the log is written. */
export interface LogSettings {
  readonly level: LogrusLevel;
  readonly file: string | undefined;
  /** The name of a level that there is not, in place of which `info` holds. */
  readonly unknownLevel?: string;
}

export function logSettings(file: ConfigFile | undefined, line: CommandLine): LogSettings {
  const name = line.debug === true ? "debug" : (given(file?.["log-level"]) ?? "info");
  const level = readLogrusLevel(name);
  return {
    file: given(line["log-file"]) ?? given(file?.["log-file"]),
    ...(level === undefined ? { level: "info", unknownLevel: name } : { level }),
  };
}

/**
 * Lays the command line over a configuration file.
 *
 * @throws {Error} when the flags that belong together were not given the same number of times.
 */
export function mergeSettings(file: ConfigFile | undefined, line: CommandLine): GvproxySettings {
  const { stack = {}, interfaces = {}, forwards = [] } = file ?? {};
  const notes: string[] = [];
  if (file !== undefined) {
    if (line["ssh-port"] !== undefined) {
      notes.push("-ssh-port has no effect together with -config: write the port into stack.forwards");
    }
    if (line.pcap !== undefined) {
      notes.push("-pcap has no effect together with -config: write the file into stack.capture-file");
    }
  }
  if (stack.debug === true)
    notes.push("stack.debug has no effect: stack.capture-file has every packet written to a file");
  return {
    listen: line.listen ?? file?.listen ?? [],
    services: given(line.services) ?? given(file?.services),
    pidFile: given(line["pid-file"]) ?? given(file?.["pid-file"]),
    notification: { path: given(file?.notification), url: given(line.notification) },
    stack: {
      ...stack,
      "capture-file": given(file === undefined ? line.pcap : stack["capture-file"]),
      // 0 is the default of the flag.
      mtu: line.mtu || stack.mtu || undefined,
      subnet: given(line.subnet) ?? given(stack.subnet),
      gatewayIP: given(line.gatewayIP) ?? given(stack.gatewayIP),
      deviceIP: given(line.deviceIP) ?? given(stack.deviceIP),
      hostIP: given(line.hostIP) ?? given(stack.hostIP),
    },
    interfaces: {
      vpnkit: given(line["listen-vpnkit"]) ?? given(interfaces.vpnkit),
      qemu: given(line["listen-qemu"]) ?? given(interfaces.qemu),
      bess: given(line["listen-bess"]) ?? given(interfaces.bess),
      stdio: given(line["listen-stdio"]) ?? given(interfaces.stdio),
      vfkit: given(line["listen-vfkit"]) ?? given(interfaces.vfkit),
    },
    sshForwards: [...forwards, ...sshForwards(line)],
    hasFile: file !== undefined,
    sshPort: line["ssh-port"] ?? DEFAULT_SSH_PORT,
    // gvproxy itself takes no notice of the flag and of the key at the top.
    linkLocal: [line["ec2-metadata-access"], file?.["ec2-metadata-access"], stack.ec2MetadataAccess].includes(true),
    notes,
  };
}

/** An empty text is the default of every flag, and of every key. */
function given(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function sshForwards(line: CommandLine): SshForward[] {
  const names = ["forward-sock", "forward-dest", "forward-user", "forward-identity"] as const;
  const [sockets, dests, users, identities] = names.map((name) => line[name] ?? []);
  if ([dests, users, identities].some(({ length }) => length !== sockets.length)) {
    throw new Error(
      "--forward-sock, --forward-dest, --forward-user, and --forward-identity must all be specified together, the same " +
        "number of times, or not at all",
    );
  }
  return sockets.map((socket, index) => ({
    socket,
    dest: dests[index],
    user: users[index],
    identity: identities[index],
  }));
}
