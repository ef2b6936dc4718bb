/** The commands of the HTTP proxy: their flags and help. What they run is loaded only then. */
import { Argument, type Command, Option } from "commander";
import type { ApiOptions } from "./api-client.ts";
import { askingHostd } from "./asking-hostd.ts";
import type { ProxySetOptions, ProxyTestOptions } from "./proxy.ts";

const DOCUMENTATION = "Documentation: docs/http-proxy.md";

const PROXY_HELP = `
The first source that says something holds: what was set at run time, the
configuration, the environment of hostd, the settings of the operating system.
Credentials are never shown.

Examples:
  hostd proxy
  hostd proxy test https://www.example.com
  hostd proxy set http://proxy.example:3128 --no-proxy .corp.example,10.0.0.0/8
  hostd proxy unset

${DOCUMENTATION}`;

const SET_HELP = `
UPSTREAM is one of these, or several proxies with commas between, of which the
next one is taken when one fails:
  http://proxy.example:3128   an HTTP proxy; https:// is one that is reached by TLS
  socks5h://proxy.example     a SOCKS proxy that looks names up itself; with
                              socks5:// this host looks them up
  pac+http://HOST/proxy.pac   what a PAC script says; pac+file:///PATH
  system                      what the environment and the system of this host say
  direct                      no proxy

It holds for the next request, and until hostd ends; requests under way finish on
their way. The password of a URL such as http://alice@proxy.example:3128 is asked
for. One that is to stay belongs in a file: proxy.credentials in the configuration.

Examples:
  hostd proxy set http://alice@proxy.example:3128
  hostd proxy set direct
  hostd proxy set system --no-proxy .lab.example

${DOCUMENTATION}`;

const UNSET_HELP = `
What the configuration says holds again for the next request.

${DOCUMENTATION}`;

const TEST_HELP = `
URL is http://HOST[:PORT] or https://HOST[:PORT], of which all else is left out, or
HOST:PORT for a tunnel. hostd makes a request as a guest would make it: a tunnel is
opened and closed, plain HTTP is asked for the head of the page.

Exit codes:
  0  reached; with --no-connect, there is a way
  1  not reached, or refused by a rule, or no hostd is running
  2  wrong command line

Examples:
  hostd proxy test https://registry-1.docker.io
  hostd proxy test intranet.corp.example:8443 --no-connect

${DOCUMENTATION}`;

/** Adds the commands to the program. */
export function addProxyCommands(program: Command): void {
  const proxy = askingHostd(
    program
      .command("proxy")
      .summary("show and set which way requests take")
      .description(
        "Shows which upstream proxies a running hostd uses for requests of guests, from where it knows them, and how they do.",
      )
      .enablePositionalOptions(),
    PROXY_HELP,
  ).action(async (options: ApiOptions) => {
    await (await import("./proxy.ts")).runProxy(options);
  });
  askingHostd(
    proxy
      .command("set")
      .summary("set the upstream proxies")
      .description("Has a running hostd send requests of guests another way, and shows what is in force then.")
      .addArgument(upstreamArgument())
      .addOption(noProxyOption()),
    SET_HELP,
  ).action(async (upstream: string, options: ProxySetOptions) => {
    await (await import("./proxy.ts")).runProxySet(upstream, { ...proxy.opts(), ...options });
  });
  askingHostd(
    proxy
      .command("unset")
      .summary("have the configuration hold again")
      .description("Takes back what was set at run time, and shows what is in force then."),
    UNSET_HELP,
  ).action(async (options: ApiOptions) => {
    await (await import("./proxy.ts")).runProxyUnset({ ...proxy.opts(), ...options });
  });
  askingHostd(
    proxy
      .command("test")
      .summary("show which way a request takes, and whether it gets there")
      .description("Shows which way a request of a guest would take and why, and makes one.")
      .argument("<url>", "such as https://www.example.com, or HOST:PORT")
      .option("--no-connect", "only show which way it would take"),
    TEST_HELP,
  ).action(async (url: string, options: ProxyTestOptions) => {
    const { runProxyTest } = await import("./proxy.ts");
    process.exitCode = await runProxyTest(url, { ...proxy.opts(), ...options });
  });
}

function upstreamArgument(): Argument {
  const argument = new Argument("<upstream>", "a proxy such as http://proxy.example:3128, pac+URL, system or direct");
  // For completion: there are others.
  argument.argChoices = ["system", "direct"];
  return argument;
}

function noProxyOption(): Option {
  const description = "what goes direct nevertheless, as NO_PROXY has it (default: as in the configuration)";
  const option = new Option("--no-proxy <list>", description);
  // It does not take back another flag.
  option.negate = false;
  return option;
}
