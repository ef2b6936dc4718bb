/** `hostd completion`: what can be completed, read off the command line, and the script that has a shell do it. */
import type { Argument, Command, Option } from "commander";
import { bashScript, fishScript, zshScript } from "./completion-text.ts";

/** The shells that a script can be had for. */
export type Shell = "bash" | "zsh" | "fish";

/** What a value may be: one of some words, a file, a folder, or what nobody can know. */
export type CompletedValue =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "file" | "folder" | "any" };

/** A flag of a command. */
export interface CompletedFlag {
  /** With its dashes, the long form first: `--publish`, `-p`. */
  readonly names: readonly string[];
  readonly description: string;
  /** Undefined for a flag without a value. */
  readonly value: CompletedValue | undefined;
}

/** A command and what may follow it. */
export interface CompletedCommand {
  /** With the names of those that it belongs to: `hostd ports add`. */
  readonly fullName: string;
  readonly flags: readonly CompletedFlag[];
  readonly commands: readonly { readonly name: string; readonly description: string }[];
  /** What its first operand may be; undefined where there is none. */
  readonly operand: CompletedValue | undefined;
}

/** The script for a shell, which asks nobody: every word that it offers is in it. */
export function completionScript(program: Command, shell: Shell): string {
  const commands = completedCommands(program);
  const write = { bash: bashScript, zsh: zshScript, fish: fishScript }[shell];
  return `${write(commands)}\n`;
}

/**
 * A command and all below it, each before its own.
 *
 * @param parent - the full name of the command that it belongs to, with a space.
 */
export function completedCommands(command: Command, parent = ""): CompletedCommand[] {
  const help = command.createHelp();
  const fullName = `${parent}${command.name()}`;
  const below = help.visibleCommands(command);
  const [operand] = command.registeredArguments.map(completedValue);
  const own: CompletedCommand = {
    fullName,
    flags: help.visibleOptions(command).map(completedFlag),
    commands: below.map((each) => ({ name: each.name(), description: brief(each.summary() || each.description()) })),
    operand,
  };
  return [
    own,
    ...below.flatMap((each) => {
      return command.commands.includes(each)
        ? completedCommands(each, `${fullName} `)
        : helpCommand(`${fullName} ${each.name()}`, command.commands);
    }),
  ];
}

/** `help` takes the commands beside it. */
function helpCommand(fullName: string, beside: readonly Command[]): CompletedCommand {
  const words = beside.map((each) => each.name());
  return { fullName, flags: [], commands: [], operand: { kind: "words", words } };
}

function completedFlag(option: Option): CompletedFlag {
  const { long, short, description } = option;
  return {
    names: [long, short].filter((name) => name !== undefined && name !== null),
    description: brief(description),
    value: option.required || option.optional ? completedValue(option) : undefined,
  };
}

/** What a value may be by its choices, or by the word that stands for it. */
function completedValue(value: Option | Argument): CompletedValue {
  if (value.argChoices !== undefined) return { kind: "words", words: value.argChoices };
  const placeholder = "flags" in value ? value.flags : value.name();
  if (/\b(?:file|socket|url)\b/.test(placeholder.replace(/^.*[<[]/, ""))) return { kind: "file" };
  return { kind: placeholder.endsWith("<folder>") ? "folder" : "any" };
}

/** The first clause of a description. */
function brief(description: string): string {
  return description.split(/[;:] |\n| \(/, 1)[0];
}
