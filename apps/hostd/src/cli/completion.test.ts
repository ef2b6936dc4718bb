import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Argument, Command, Option } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configFlags } from "../config/flags.ts";
import { completedCommands, completionScript } from "./completion.ts";
import { createProgram } from "./program.ts";

const nothing = async () => {};
const hostd = createProgram("1", configFlags(), {
  up: nothing,
  check: nothing,
  demo: nothing,
  gvproxy: nothing,
  version: () => {},
});

/** A command of which every kind of thing that can be completed has one. */
function makeProgram(): Command {
  const program = new Command("hostd").helpCommand("help [command]", "show help");
  program
    .command("up")
    .description("Serves VMs: it's all [of] them.\nAnd more.")
    .option("-c, --config <file>", "the file; flags go over it (default: none)")
    .option("--state <folder>", "a folder")
    .option("--name <word>", "a name: any")
    .option("--quiet", "say nothing")
    .addOption(new Option("--level <level>", "how much").choices(["debug", "info"]))
    .addOption(new Option("--secret").hideHelp());
  const ports = program.command("ports").summary("list ports").description("Lists ports.");
  ports.command("add").argument("<ports...>", "ports");
  ports.command("close").addArgument(new Argument("[how]").choices(["now", "later"]));
  return program;
}

describe("completedCommands", () => {
  it("has the commands, flags and values of a command line", () => {
    const help = { names: ["--help", "-h"], description: "display help for command", value: undefined };
    const any = { kind: "any" } as const;
    expect(completedCommands(makeProgram())).toEqual([
      {
        fullName: "hostd",
        flags: [help],
        commands: [
          { name: "up", description: "Serves VMs" },
          { name: "ports", description: "list ports" },
          { name: "help", description: "show help" },
        ],
        operand: undefined,
      },
      {
        fullName: "hostd up",
        flags: [
          { names: ["--config", "-c"], description: "the file", value: { kind: "file" } },
          { names: ["--state"], description: "a folder", value: { kind: "folder" } },
          { names: ["--name"], description: "a name", value: any },
          { names: ["--quiet"], description: "say nothing", value: undefined },
          { names: ["--level"], description: "how much", value: { kind: "words", words: ["debug", "info"] } },
          help,
        ],
        commands: [],
        operand: undefined,
      },
      {
        fullName: "hostd ports",
        flags: [help],
        commands: [
          { name: "add", description: "" },
          { name: "close", description: "" },
          { name: "help", description: "show help" },
        ],
        operand: undefined,
      },
      {
        fullName: "hostd ports add",
        flags: [help],
        commands: [],
        operand: any,
      },
      {
        fullName: "hostd ports close",
        flags: [help],
        commands: [],
        operand: { kind: "words", words: ["now", "later"] },
      },
      {
        fullName: "hostd ports help",
        flags: [],
        commands: [],
        operand: { kind: "words", words: ["add", "close"] },
      },
      {
        fullName: "hostd help",
        flags: [],
        commands: [],
        operand: { kind: "words", words: ["up", "ports"] },
      },
    ]);
  });

  it("has the choices of a flag that sets a key of the configuration", () => {
    const up = completedCommands(hostd).find(({ fullName }) => fullName === "hostd up");
    const flag = up?.flags.find(({ names }) => names[0] === "--log-format");
    expect(flag?.value).toEqual({ kind: "words", words: ["auto", "pretty", "json"] });
  });
});

describe("the script for bash", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "hostd-completion-"));
    writeFileSync(join(folder, "completion"), completionScript(hostd, "bash"));
    writeFileSync(join(folder, "a file.yaml"), "");
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  /** What Tab offers at the end of a line. Run as a function, it has bash's own file names from compgen. */
  function complete(line: string, set = ""): string[] {
    const script = `source ./completion; ${set}
      COMP_LINE=$1 COMP_POINT=\${#1}
      _hostd
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const out = execFileSync("bash", ["--norc", "-c", script, "bash", line], { cwd: folder, encoding: "utf8" });
    return out.split("\n").filter((word) => word !== "");
  }

  it.each([
    ["hostd ch", ["check"]],
    ["hostd ports ", ["add", "rm"]],
    ["hostd ports r", ["rm"]],
    ["hostd ports add --pers", ["--persist"]],
    ["hostd --vers", ["--version"]],
    ["hostd up --log-format ", ["auto", "pretty", "json"]],
    ["hostd up --log-format=p", ["pretty"]],
    ["hostd up --log-level i", ["info"]],
    ["hostd completion ", ["bash", "zsh", "fish"]],
    ["hostd help por", ["ports"]],
    // A value of a flag is no command, though it has the name of one.
    ["hostd flows --vm kill k", ["kill"]],
    ["hostd ports --api x add --pers", ["--persist"]],
    ["hostd up --publish 8080:80 --publ", ["--publish"]],
    ["hostd up --mtu ", []],
    ["hostd up --config=a", ["a file.yaml"]],
    ["hostd up --config ", ["a file.yaml", "completion"]],
    ["hostd up vm", []],
  ])("offers for %j %j", (line, offered) => {
    expect(complete(line).toSorted()).toEqual(offered.toSorted());
  });

  it("repeats the flag where bash does not split at =", () => {
    expect(complete("hostd up --log-format=p", "COMP_WORDBREAKS=:")).toEqual(["--log-format=pretty"]);
  });

  it("runs nothing of what was typed", () => {
    const typed = "hostd up --config $(touch run) `touch run` --log-format ";
    expect(complete(typed)).toEqual(["auto", "pretty", "json"]);
    expect(complete('hostd up --config "$(touch run)')).toEqual([]);
    expect(complete("hostd ports $(>run)")).toEqual([]);
    expect(complete("hostd check --config ")).not.toContain("run");
  });
});
