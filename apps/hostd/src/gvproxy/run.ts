/** `hostd gvproxy`: hostd in the place of gvproxy, with its command line. */
import { basename } from "node:path";
import { formatSocketAddress } from "@hostd/frontends";
import { firstStopSignal } from "../cli/stop-signals.ts";
import { versionInfo } from "../cli/version.ts";
import { configWarnings } from "../config/resolve.ts";
import { EventHub } from "../control/event-hub.ts";
import type { Daemon, StartDaemon } from "../daemon-api.ts";
import type { Logger } from "../logging.ts";
import { readHostRoutes, subnetClash } from "../subnet-clash.ts";
import { limitYoungGeneration } from "../young-generation.ts";
import { type CommandLine, GVPROXY_VERSION, readCommandLine, usage } from "./command-line.ts";
import type { ConfigFile } from "./config-file.ts";
import { UnsupportedError } from "./endpoint-url.ts";
import { GoFlagError } from "./go-flags.ts";
import { createLogrusLogger } from "./logrus.ts";
import { NotificationSender } from "./notification.ts";
import { writePidFile } from "./pid-file.ts";
import { logSettings, mergeSettings } from "./settings.ts";
import { type Translation, translate } from "./translate.ts";

/** The name of the process, by which `pgrep` finds it. */
const NAME = "gvproxy";

/** A command line in a wrong form, or one that asks for what hostd cannot do. */
const EXIT_USAGE = 2;
const EXIT_FAILED = 1;

/**
 * Does what gvproxy does with the command line `args`, until a signal stops it.
 *
 * @returns the exit code: 0 after a clean end, 1 for settings that do not fit and when it failed, 2 for a wrong command
 *   line and for what hostd cannot do.
 */
export async function runGvproxy(args: readonly string[], loadDaemon: () => Promise<StartDaemon>): Promise<number> {
  process.title = NAME;
  let line: CommandLine | "help";
  try {
    line = readCommandLine(args);
  } catch (error) {
    if (!(error instanceof GoFlagError)) throw error;
    process.stderr.write(`${error.message}\n${usage(programName())}`);
    return EXIT_USAGE;
  }
  if (line === "help") {
    process.stderr.write(usage(programName()));
    return 0;
  }
  if (line.version === true) {
    process.stdout.write(`${GVPROXY_VERSION}\n`);
    return 0;
  }
  let file: ConfigFile | undefined;
  let fault: unknown = null;
  try {
    if (line.config) file = (await import("./config-file.ts")).readGvproxyFile(line.config);
  } catch (error) {
    fault = error;
  }
  const logs = logSettings(file, line);
  let logger: Logger;
  try {
    logger = createLogrusLogger(logs.level, logs.file);
  } catch (error) {
    process.stderr.write(`unable to open log file: ${messageOf(error)}\n`);
    return EXIT_FAILED;
  }
  logger.info(`${GVPROXY_VERSION}, by hostd ${versionInfo().version}`);
  logger.debug({ args }, "command line");
  if (logs.unknownLevel !== undefined) {
    logger.warn(`bad log level ${JSON.stringify(logs.unknownLevel)}, falling back to "info"`);
  }
  const failed = (error: unknown) => {
    // Whoever started it by hand does not look into the file first.
    if (logs.file !== undefined) process.stderr.write(`${NAME}: ${messageOf(error)}\n`);
    for (const message of messageOf(error).split("\n")) logger.fatal(message);
    return error instanceof UnsupportedError ? EXIT_USAGE : EXIT_FAILED;
  };
  if (fault !== null) return failed(fault);
  try {
    const settings = mergeSettings(file, line);
    const translation = translate(settings);
    for (const note of [...settings.notes, ...warnings(translation)]) logger.warn(note);
    const stopped = firstStopSignal(() => {
      logger.error("not closed within 5 seconds: ending without");
      process.exit(EXIT_FAILED);
    });
    process.on("uncaughtException", (error) => {
      logger.fatal({ err: error }, "unexpected error");
      process.exit(EXIT_FAILED);
    });
    if (settings.pidFile !== undefined) writePidFile(settings.pidFile);
    await serve(translation, logger, loadDaemon, stopped);
    return 0;
  } catch (error) {
    return failed(error);
  }
}

/** @throws when it cannot start. */
async function serve(
  { config, apis, notification }: Translation,
  logger: Logger,
  loadDaemon: () => Promise<StartDaemon>,
  stopped: Promise<unknown>,
): Promise<void> {
  limitYoungGeneration();
  const events = new EventHub();
  const notifications = notification === undefined ? null : new NotificationSender(notification, logger);
  notifications?.follow(events);
  let daemon: Daemon;
  try {
    const startDaemon = await loadDaemon();
    daemon = await startDaemon(config, logger, { events, gvproxyApis: apis, keepsState: false });
  } catch (error) {
    notifications?.send({ notification_type: "hypervisor_error" });
    await notifications?.close();
    throw new Error(`gvproxy exiting: ${messageOf(error)}`);
  }
  for (const { address } of apis) logger.info(`listening ${formatSocketAddress(address)}`);
  notifications?.send({ notification_type: "ready" });
  logger.info("waiting for clients...");
  await stopped;
  logger.info("gvproxy exiting: signal caught");
  await daemon.close();
  await notifications?.close();
}

/** What is worth a word. That no VM can attach is not where one may by the API. */
function warnings({ config, apis }: Translation): string[] {
  const ofConfig = config.qemu.length === 0 && apis.some(({ canConnect }) => canConnect) ? [] : configWarnings(config);
  const clash = subnetClash(config.subnet, readHostRoutes());
  return [...ofConfig, ...(clash === undefined ? [] : [clash])];
}

/** As what it was started. */
function programName(): string {
  return basename(process.argv[1] ?? "") === NAME ? NAME : `hostd ${NAME}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
