/** The commands for Docker on this host and the engine in the VM: their flags and help. What they run is loaded only then. */
import type { Command } from "commander";
import type { DockerConfigOptions } from "./docker-config.ts";
import type { DockerContextCreateOptions, DockerContextOptions, DockerContextRemoveOptions } from "./docker-context.ts";

const DOCUMENTATION = "Documentation: docs/docker.md";

const CONTEXT_HELP = `
A context is where the docker command finds an engine. They are kept in
$DOCKER_CONFIG, or ~/.docker without that variable. A context of the same name
that hostd has not written stays as it is without --force.

Examples:
  hostd docker-context create --use
  docker ps
  hostd docker-context rm

${DOCUMENTATION}`;

const CREATE_HELP = `
Examples:
  hostd docker-context create --use
  hostd docker-context create --name work --docker unix:///run/user/1000/docker.sock

${DOCUMENTATION}`;

const REMOVE_HELP = `
The docker command uses its default context again if it has used this one.

${DOCUMENTATION}`;

const CONFIG_HELP = `
daemon.json goes to standard output; what each line is for, and what else the VM
needs, to standard error. The values are those of the running hostd, or of
--config. An engine does not start with a key that it does not know, so that the
keys are those of its version: it is asked over the socket that hostd serves.

Examples:
  hostd docker-config
  hostd docker-config --engine-version 28.2 2>/dev/null |
    ssh core@vm sudo tee /etc/docker/daemon.json
  hostd docker-config --config hostd.yaml --no-masquerade
  hostd docker-config --json | jq -r '.files[].path'

${DOCUMENTATION}`;

/** Adds the commands to the program. */
export function addDockerCommands(program: Command): void {
  const context = program
    .command("docker-context")
    .summary("have the docker command use the engine in the VM")
    .description("Shows the context of the docker command that leads to hostd, makes it, and removes it.")
    .enablePositionalOptions()
    .option("--name <name>", "the name of the context (default: hostd)")
    .option("--json", "as JSON")
    .helpOption("-h, --help", "show this help")
    .addHelpText("after", CONTEXT_HELP)
    .action(async (options: DockerContextOptions & { json?: true }) => {
      await (await import("./docker-context.ts")).runDockerContext(options);
    });
  context
    .command("create")
    .summary("make the context")
    .description("Makes a context of the docker command that leads to the socket on which hostd serves the engine.")
    .option("--name <name>", "the name of the context (default: hostd)")
    .option("--docker <url>", "the socket, unix:///PATH (default: that of the running hostd)")
    .option("--use", "have the docker command use it from now on")
    .option("--force", "replace a context of that name that hostd has not written")
    .option("--api <socket>", "the control API, unix:///PATH (default: that of the running daemon)")
    .helpOption("-h, --help", "show this help")
    .addHelpText("after", CREATE_HELP)
    .action(async (options: DockerContextCreateOptions) => {
      await (await import("./docker-context.ts")).runDockerContextCreate({ ...context.opts(), ...options });
    });
  context
    .command("rm")
    .summary("remove the context")
    .description("Removes the context.")
    .option("--name <name>", "the name of the context (default: hostd)")
    .option("--force", "remove one that hostd has not written")
    .helpOption("-h, --help", "show this help")
    .addHelpText("after", REMOVE_HELP)
    .action(async (options: DockerContextRemoveOptions) => {
      await (await import("./docker-context.ts")).runDockerContextRemove({ ...context.opts(), ...options });
    });

  program
    .command("docker-config")
    .summary("print how to configure the engine in the VM")
    .description("Prints what the Docker engine in the VM has to be configured with, and what else the VM needs.")
    .option("--engine-version <version>", "the version of the engine (default: as it says, else the newest)")
    .option("--no-masquerade", "have hostd see containers at their own addresses")
    .option("--proxy <url>", "the HTTP proxy through which the engine pulls images, or none (default: that of hostd)")
    .option("--tcp", "have the engine listen on TCP, for hostd alone")
    .option("--interface <name>", "with --tcp: the VM's network interface (default: eth0)")
    .option("--config <file>", "the configuration of hostd (default: that of the running daemon)")
    .option("--api <socket>", "the control API, unix:///PATH (default: that of the running daemon)")
    .option("--json", "all of it as JSON")
    .helpOption("-h, --help", "show this help")
    .addHelpText("after", CONFIG_HELP)
    .action(async (options: DockerConfigOptions) => {
      await (await import("./docker-config.ts")).runDockerConfig(options);
    });
}
