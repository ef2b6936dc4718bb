/** `hostd up`: from flags and file to a running daemon, and to its end. */
import { dirname } from "node:path";
import { ActivatedSockets } from "@hostd/portfwd";
import { formatIpv4 } from "@hostd/stack";
import { formatSocketAddress, qemuNetdev, readEndpoint } from "../config/endpoint.ts";
import { processEnvironment, runtimeFolder } from "../config/environment.ts";
import { configFlags, flagLayer } from "../config/flags.ts";
import { configWarnings, type HostdConfig, resolveConfig } from "../config/resolve.ts";
import { formatNetwork } from "../config/values.ts";
import type { Daemon, StartDaemon } from "../daemon-api.ts";
import { createLogger, type Logger } from "../logging.ts";
import { readHostRoutes, subnetClash } from "../subnet-clash.ts";
import { limitYoungGeneration } from "../young-generation.ts";
import { ensurePrivateFolder } from "./runtime-folder.ts";
import { firstStopSignal } from "./stop-signals.ts";
import { versionInfo } from "./version.ts";

/** The configuration of file and flags together. The YAML library is loaded only for a file. */
export async function readConfig(file: string | undefined, given: ReadonlyMap<string, unknown>): Promise<HostdConfig> {
  const below = file === undefined ? [] : [(await import("../config/file.ts")).readConfigFile(file)];
  return resolveConfig([...below, flagLayer(configFlags(), given)]);
}

/** Everything about `config` on this host that is worth a word. */
export function hostWarnings(config: HostdConfig): string[] {
  const clash = subnetClash(config.subnet, readHostRoutes());
  return [...configWarnings(config), ...(clash === undefined ? [] : [clash])];
}

/** Prints the effective configuration to standard output, and what is worth a word to standard error. */
export async function printConfig(config: HostdConfig): Promise<void> {
  const { configToYaml } = await import("../config/print.ts");
  for (const warning of hostWarnings(config)) process.stderr.write(`hostd: warning: ${warning}\n`);
  process.stdout.write(configToYaml(config));
}

/**
 * Runs the daemon until a signal stops it. SIGHUP has it read its configuration again.
 *
 * @param rereadConfig - reads the configuration again.
 * @returns the exit code: 0 after a clean end, 1 when it could not start or not close.
 */
export async function runUp(
  config: HostdConfig,
  rereadConfig: () => Promise<HostdConfig>,
  loadDaemon: () => Promise<StartDaemon>,
): Promise<number> {
  const logger = createLogger(config.log);
  process.on("uncaughtException", (error) => {
    logger.fatal({ err: error }, "unexpected error");
    process.exit(1);
  });
  const stopped = firstStopSignal(() => {
    logger.error("not closed within 5 seconds: ending without");
    process.exit(1);
  });
  for (const warning of hostWarnings(config)) logger.warn(warning);
  const starting = start(config, logger, rereadConfig, loadDaemon);
  // One that comes before hostd runs may be about a file that has been read already: it is heeded then.
  process.on("SIGHUP", () => void starting.then((daemon) => reload(daemon, logger)).catch(() => {}));
  let daemon: Daemon;
  try {
    daemon = await starting;
  } catch (error) {
    return failed(logger, "cannot start", error);
  }
  process.stdout.write(announcement(config, daemon.endpoints));
  const signal = await stopped;
  logger.info(`${signal}: closing`);
  try {
    await daemon.close();
  } catch (error) {
    return failed(logger, "cannot close", error);
  }
  logger.info("closed");
  return 0;
}

/** @throws when it cannot start. */
async function start(
  config: HostdConfig,
  logger: Logger,
  rereadConfig: () => Promise<HostdConfig>,
  loadDaemon: () => Promise<StartDaemon>,
): Promise<Daemon> {
  limitYoungGeneration();
  prepareSockets(config);
  const startDaemon = await loadDaemon();
  return startDaemon(config, logger, {
    readConfig: rereadConfig,
    activated: ActivatedSockets.fromEnvironment(process.env, process.pid),
  });
}

async function reload({ control }: Daemon, logger: Logger): Promise<void> {
  try {
    await control.reload();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    for (const line of message.split("\n")) logger.error(`not reloaded: ${line}`);
  }
}

function failed(logger: Logger, what: string, error: unknown): number {
  logger.fatal(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  logger.debug({ err: error }, what);
  return 1;
}

/** Makes the folder of the default sockets, which nobody but hostd would make. */
function prepareSockets(config: HostdConfig): void {
  const folder = runtimeFolder(processEnvironment());
  const paths = config.qemu.flatMap((endpoint) => {
    return endpoint.mode === "listen" && endpoint.transport === "unix" ? [endpoint.path] : [];
  });
  if (config.api !== undefined) paths.push(config.api.path);
  if (config.vpnkitApi !== undefined) paths.push(config.vpnkitApi.path);
  if (config.docker.listen !== undefined) paths.push(config.docker.listen.path);
  if (paths.some((path) => dirname(path) === folder)) ensurePrivateFolder(folder);
}

/** What is running and how a VM attaches to it. */
function announcement(config: HostdConfig, endpoints: readonly string[]): string {
  const lines = [
    `hostd ${versionInfo().version}: subnet ${formatNetwork(config.subnet)}, gateway ${formatIpv4(config.gateway)}, ` +
      `this host ${formatIpv4(config.host)}`,
  ];
  for (const url of endpoints) {
    const endpoint = readEndpoint(url);
    const address = formatSocketAddress(endpoint);
    lines.push(
      endpoint.mode === "listen" ? `Attach a VM at ${address}:` : `Connecting to a VM that listens at ${address}:`,
      "  qemu-system-x86_64 ... -device virtio-net-pci,netdev=net0 \\",
      `    -netdev ${qemuNetdev(endpoint)}`,
    );
  }
  return `${lines.join("\n")}\n`;
}
