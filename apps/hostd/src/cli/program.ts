/** The command line: commands, flags and their help. What a command does is handed in, so that help needs none of it. */
import { Argument, Command, Option } from "commander";
import type { ConfigFlag } from "../config/flags.ts";
import type { Shell } from "./completion.ts";
import { addControlCommands } from "./control-commands.ts";
import { addDiagnosticCommands } from "./diagnostic-commands.ts";
import { addDockerCommands } from "./docker-commands.ts";
import { PUBLISHED_PORTS } from "./published-ports.ts";

/** What the commands do. */
export interface Actions {
  /** `given` holds the text of every configuration flag by its name (`--mtu`). */
  up(options: { config?: string; printConfig?: true }, given: ReadonlyMap<string, unknown>): Promise<void>;
  check(options: { config?: string }): Promise<void>;
  demo(options: { vm?: boolean }): Promise<void>;
  /** `args` is what gvproxy would have been started with. */
  gvproxy(args: readonly string[]): Promise<void>;
  version(options: { json?: true }): void;
}

const DOCUMENTATION = `docs/configuration.md (every key of the file) and
docs/command-line.md`;

const EXIT_CODES = `Exit codes:
  0  done; for "hostd up", closed after SIGINT or SIGTERM
  1  failed while running
  2  wrong command line or configuration`;

const PROGRAM_HELP = `
Start here:
  hostd demo                          see it work
  hostd up                            serve a VM; prints how to attach it
  hostd up --help                     flags, examples, the QEMU command line
  hostd ps                            the VMs that are attached
  hostd ports add 8080:80             lead a port of this host into the VM
  hostd dns query NAME                how a name is resolved, and why
  hostd proxy                         which way requests take, and why

${EXIT_CODES}

Documentation: ${DOCUMENTATION}`;

const UP_HELP = `
Endpoints (--qemu, or the list "qemu:" in the file):
  unix:///run/vm.sock         listen on a Unix socket; so does /run/vm.sock
  tcp://127.0.0.1:5555        listen on TCP; whoever connects is on the network
  dial+unix:///run/vm.sock    connect to a QEMU that listens (server=on)
  dial+tcp://127.0.0.1:5555

Published ports (--publish, or the list "forwards:" in the file):
${PUBLISHED_PORTS}

Attaching QEMU 7.2 or newer to unix:///run/vm.sock:
  qemu-system-x86_64 ... -device virtio-net-pci,netdev=net0 \\
    -netdev stream,id=net0,server=off,addr.type=unix,addr.path=/run/vm.sock
  With reconnect=1 added to -netdev (QEMU 8.0; reconnect-ms=1000 from 9.2 on)
  the VM attaches again by itself when hostd was restarted.

Examples:
  hostd up                            listen on the default endpoint
  hostd up --qemu /run/vm.sock --mtu 4000
  hostd up --publish 8080:80 --publish 127.0.0.1:2222:22
  hostd up --config hostd.yaml --log-level debug
  hostd up --subnet 10.0.2.0/24 --dns-server 192.0.2.53
  hostd up --dns-rule corp.example=10.0.0.53,10.0.0.54
  hostd up --proxy http://proxy.example:3128 --no-proxy .corp.example,10.0.0.0/8
  hostd up --config hostd.yaml --print-config

A flag goes over the same key of the file; a flag that may be repeated replaces
the whole list of the file. SIGINT or SIGTERM closes hostd within 5 seconds, a
second one ends it at once; SIGHUP has it read its configuration again, as
"hostd reload" does. The log goes to standard error.

Documentation: ${DOCUMENTATION}`;

const COMPLETION_HELP = `
In this shell, from now on until it ends:
  source <(hostd completion bash)
  source <(hostd completion zsh)              after compinit
  hostd completion fish | source

In every shell; write the file again after an update of hostd:
  hostd completion bash > ~/.local/share/bash-completion/completions/hostd
  hostd completion zsh > FOLDER/_hostd        a folder of $fpath
  hostd completion fish > ~/.config/fish/completions/hostd.fish

Documentation: docs/control.md`;

const CHECK_HELP = `
Without --config, the configuration that holds by default is printed. The output
can be used as a configuration file, but for the passwords of proxies: *** stands
in their place.

Documentation: ${DOCUMENTATION}`;

/**
 * Builds the command line.
 *
 * @param version what `--version` prints.
 * @param flags the flags of `hostd up` that set keys of the configuration.
 */
export function createProgram(version: string, flags: readonly ConfigFlag[], actions: Actions): Command {
  const program = new Command("hostd")
    .description(
      "The host side of a virtual machine's network: DHCP, DNS, and every flow of the guest as an ordinary socket " +
        "of this host.",
    )
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "hostd: ")) })
    .version(version, "-V, --version", "print the version")
    .helpOption("-h, --help", "show this help")
    // The values of a choice are part of its description where they are to be seen.
    .configureHelp({
      optionDescription: ({ description }) => description,
      argumentDescription: ({ description }) => description,
    })
    .addHelpText("after", PROGRAM_HELP)
    .commandsGroup("Serving VMs:");
  const up = program
    .command("up")
    .summary("serve VMs until stopped")
    .description("Serves the network of VMs until stopped.")
    .optionsGroup("Configuration:")
    .option("--config <file>", "Read this YAML file; flags go over it (default: no file)")
    .option("--print-config", "Print the configuration that would hold, as YAML, and exit");
  for (const flag of flags) up.addOption(configOption(flag));
  up.optionsGroup("Help:")
    .helpOption("-h, --help", "Show this help")
    .addHelpText("after", UP_HELP)
    .action(async (options: { config?: string; printConfig?: true }) => {
      await actions.up(options, givenFlags(up));
    });

  program
    .command("demo")
    .summary("see it work")
    .description(
      "Shows hostd at work on a temporary socket: lease, ping, names, download, UDP, a refused port, throughput.\n" +
        "The guest is a real virtual machine where QEMU and an image are there, else a small machine in TypeScript.",
    )
    .option("--vm", "insist on a real virtual machine")
    .option("--no-vm", "take the embedded guest even where a virtual machine could be booted")
    .helpOption("-h, --help", "Show this help")
    .action(async (options: { vm?: boolean }) => {
      await actions.demo(options);
    });

  program
    .command("check")
    .summary("validate a configuration")
    .description("Validates a configuration and prints what holds, with every default, as YAML.")
    .option("--config <file>", "the YAML file to read (default: no file)")
    .helpOption("-h, --help", "show this help")
    .addHelpText("after", CHECK_HELP)
    .action(async (options: { config?: string }) => {
      await actions.check(options);
    });

  program
    .command("gvproxy")
    .summary("serve VMs in the place of gvproxy")
    .description(
      "Serves VMs in the place of gvproxy, with its command line and its defaults, as Podman's machines have it started.",
    )
    .usage("[gvproxy's flags]; see hostd gvproxy -help")
    .argument("[flags...]")
    .helpOption(false)
    .allowUnknownOption()
    .addHelpText("after", "\nDocumentation: docs/gvproxy.md")
    .action(async (args: string[]) => {
      await actions.gvproxy(args);
    });

  program.commandsGroup("A running hostd:");
  addControlCommands(program);
  addDiagnosticCommands(program);

  program.commandsGroup("Docker:");
  addDockerCommands(program);

  program
    .commandsGroup("Other commands:")
    .helpCommand("help [command]", "show the help of a command")
    .command("completion")
    .summary("print a script for completion in a shell")
    .description("Prints a script that has a shell complete the commands and flags of hostd.")
    .addArgument(new Argument("<shell>", "bash, zsh or fish").choices(["bash", "zsh", "fish"]))
    .helpOption("-h, --help", "show this help")
    .addHelpText("after", COMPLETION_HELP)
    .action(async (shell: Shell) => {
      const { completionScript } = await import("./completion.ts");
      process.stdout.write(completionScript(program, shell));
    });

  program
    .command("version")
    .summary("print the version")
    .description("Prints the version of hostd and of what it runs on.")
    .option("--json", "as one line of JSON")
    .helpOption("-h, --help", "show this help")
    .action((options: { json?: true }) => {
      actions.version(options);
    });

  program.showHelpAfterError(`The commands are ${commandNames(program)}; see "hostd --help".`);
  for (const command of subcommands(program)) {
    const name = fullName(command);
    const below = command.commands.length === 0 ? "" : `The commands of "${name}" are ${commandNames(command)}. `;
    command.showHelpAfterError(`${below}The flags of "${name}" are ${flagNames(command)}; see "${name} --help".`);
  }
  return program;
}

/** Every command below one, each before its own. */
export function subcommands(command: Command): Command[] {
  return command.commands.flatMap((each) => [each, ...subcommands(each)]);
}

/** The name of a command with those of the commands that it belongs to. */
export function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}

function configOption(flag: ConfigFlag): Option {
  const notes = [
    ...(flag.allowed === undefined ? [] : [flag.allowed]),
    ...(flag.repeatable ? ["may be repeated"] : []),
    ...(flag.default === undefined ? [] : [`default: ${flag.default.replaceAll("`", "")}`]),
  ];
  const option = new Option(flag.flags, `${flag.description.replaceAll("`", "")} (${notes.join("; ")})`);
  // --no-proxy is a flag of its own, and does not take back --proxy.
  option.negate = false;
  option.helpGroup(flag.group);
  // For completion: what a value that is none of them gets is the configuration's message.
  if (flag.choices.length > 0) option.argChoices = [...flag.choices];
  if (flag.repeatable) option.argParser<string[]>((text, before) => [...(before ?? []), text]);
  return option;
}

/** The value of every flag that was given, by the flag's name. */
function givenFlags(command: Command): Map<string, unknown> {
  const values = new Map<string, unknown>();
  for (const option of command.options) {
    const value: unknown = command.getOptionValue(option.attributeName());
    if (option.long && value !== undefined) values.set(option.long, value);
  }
  return values;
}

function commandNames(program: Command): string {
  return program.commands.map((command) => command.name()).join(", ");
}

function flagNames(command: Command): string {
  return [...command.options.map((option) => option.long), "--help"].join(", ");
}
