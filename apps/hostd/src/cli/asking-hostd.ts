import type { Command } from "commander";

/** Gives a command the flags of all that ask a running hostd, and the end of its help. */
export function askingHostd(command: Command, help: string, json = "as JSON"): Command {
  return command
    .option("--api <socket>", "the control API, unix:///PATH (default: that of the running daemon)")
    .option("--json", json)
    .helpOption("-h, --help", "show this help")
    .addHelpText("after", help);
}
