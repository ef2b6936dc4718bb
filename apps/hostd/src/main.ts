/** The `hostd` command: reads the command line, runs the command, and says with its exit code how it went. */
import type { CommanderError } from "commander";
import { createProgram } from "./cli/program.ts";
import { versionInfo, versionLine } from "./cli/version.ts";
import type { RunDemo, StartDaemon } from "./daemon-api.ts";

/** What the commands run, loaded only when it is needed. */
export interface Modules {
  loadDaemon(): Promise<StartDaemon>;
  loadDemo(): Promise<RunDemo>;
}

const hostdModules: Modules = {
  loadDaemon: async () => (await import("./daemon.ts")).startDaemon,
  loadDemo: async () => (await import("./demo.ts")).runDemo,
};

/** By their names, since their modules are loaded only when they are needed. */
const USAGE_ERRORS = ["ConfigError", "UsageError"];

/** The exit code of a command line or a configuration that cannot be used. */
const EXIT_USAGE = 2;

/**
 * Runs the command line `args`, which do not include node and the script, and sets the exit code of the process.
 * After `up` the process ends here, since whatever a connection left behind must not keep it alive.
 */
export async function main(args: readonly string[], modules: Modules = hostdModules): Promise<void> {
  let isDaemon = false;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    // Nobody reads any more, so there is nothing left to do; but a daemon's VMs do not read its output either.
    if (!isDaemon) process.exit();
  });
  const gvproxy = async (given: readonly string[]) => {
    const { runGvproxy } = await import("./gvproxy/run.ts");
    isDaemon = true;
    process.exit(await runGvproxy(given, modules.loadDaemon));
  };
  // A command line in a syntax of its own.
  if (args[0] === "gvproxy") await gvproxy(args.slice(1));
  // The flags come with the schema, whose library takes longer to load than all the rest of a short command.
  const needsFlags = args.includes("up") || args.includes("completion");
  const flags = needsFlags ? (await import("./config/flags.ts")).configFlags() : [];
  const program = createProgram(versionLine(), flags, {
    async up(options, given) {
      const { printConfig, readConfig, runUp } = await import("./cli/up.ts");
      const config = await readConfig(options.config, given);
      if (options.printConfig) {
        await printConfig(config);
        return;
      }
      isDaemon = true;
      process.exit(await runUp(config, () => readConfig(options.config, given), modules.loadDaemon));
    },
    async check(options) {
      const { printConfig, readConfig } = await import("./cli/up.ts");
      const { readCaFile } = await import("./proxy/ca-file.ts");
      const config = await readConfig(options.config, new Map());
      // The one file that hostd does not start without; other files may come later, and are waited for.
      readCaFile(config.proxy.ca);
      await printConfig(config);
    },
    async demo(options) {
      const runDemo = await modules.loadDemo();
      await runDemo({ vm: options.vm });
    },
    gvproxy,
    version(options) {
      const info = versionInfo();
      process.stdout.write(`${options.json ? JSON.stringify(info) : versionLine(info)}\n`);
    },
  });
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    process.exitCode = report(error);
  }
}

/** Says what went wrong, unless commander has said so already, and returns the exit code. */
function report(error: unknown): number {
  if (isCommanderError(error)) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(message.replaceAll(/^/gm, "hostd: ").concat("\n"));
  return error instanceof Error && USAGE_ERRORS.includes(error.name) ? EXIT_USAGE : 1;
}

function isCommanderError(error: unknown): error is CommanderError {
  return error instanceof Error && "code" in error && String(error.code).startsWith("commander.");
}
