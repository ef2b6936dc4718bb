/** The commands that ask a running hostd, or steer it: their flags and help. What they run is loaded only then. */
import { type Command, Option } from "commander";
import type { ApiOptions } from "./api-client.ts";
import { askingHostd } from "./asking-hostd.ts";
import type { FlowsOptions } from "./flows.ts";
import type { PortsAddOptions, PortsRemoveOptions } from "./ports.ts";
import { addProxyCommands } from "./proxy-commands.ts";
import { PUBLISHED_PORTS } from "./published-ports.ts";

const DOCUMENTATION = "Documentation: docs/control.md";

const PS_HELP = `
The name is what --vm takes elsewhere. The bytes are those of frames since the
VM was attached; "hostd stats" has more. Columns for which a terminal has no
room are left out.

Examples:
  hostd ps
  hostd ps --json | jq -r '.[].address'

${DOCUMENTATION}`;

const PORTS_HELP = `
Examples:
  hostd ports
  hostd ports add 8080:80 127.0.0.1:5353:53/udp
  hostd ports rm 8080

${DOCUMENTATION}`;

const PORTS_ADD_HELP = `
PORTS is [address:]port[-port]:[guest-address:]guest-port[-port][/udp], or has a
Unix socket at one end or both:
${PUBLISHED_PORTS}
  unix:///run/podman.sock:ssh://core@vm/run/podman/podman.sock
                              to a Unix socket of the VM, by SSH and --identity

Without an address, that of "publish.address" in the configuration holds:
127.0.0.1 unless it says otherwise. Ports are open until hostd ends; with
--persist they are opened again when it starts. What cannot be opened does not
keep the others from it, and makes the exit code 1.

Examples:
  hostd ports add 8080:80
  hostd ports add --persist 2222:22 5353:53/udp
  hostd ports add --identity ~/.ssh/id_ed25519 \\
    unix:///run/user/1000/podman.sock:ssh://core@vm/run/podman/podman.sock

${DOCUMENTATION}`;

const PORTS_RM_HELP = `
A forward is named by its id as "hostd ports" lists it, or by its port, its
address and port, or its path, where no other has that. Connections that are
open go on without --kill.

Examples:
  hostd ports rm 8080
  hostd ports rm tcp/127.0.0.1:8080 5353/udp
  hostd ports rm --kill /run/web.sock

${DOCUMENTATION}`;

const FLOWS_HELP = `
The newest come first. The id is the protocol, the guest's end and the other
one; UDP and ping out of the VM have a flow for each port, and -> leads to where
it last sent. CLIENT is who is connected to a published port. Columns for which a
terminal has no room are left out.

Examples:
  hostd flows
  hostd flows --watch --protocol tcp
  hostd flows kill tcp/192.168.65.3:40000/192.0.2.1:443

${DOCUMENTATION}`;

const FLOWS_KILL_HELP = `
A TCP connection is reset at both ends. What the guest sends of a UDP flow later
begins another one.

Examples:
  hostd flows kill tcp/192.168.65.3:40000/192.0.2.1:443

${DOCUMENTATION}`;

const STATS_HELP = `
The same figures for Prometheus are at /metrics of the control API.

Examples:
  hostd stats
  hostd stats --vm unix:///run/vm.sock
  hostd stats --json | jq .totals.stack.tcpRetransmissions

${DOCUMENTATION}`;

const LEASES_HELP = `
Examples:
  hostd leases
  hostd leases --json | jq -r '.[] | select(.isActive) | .address'

${DOCUMENTATION}`;

const RELOAD_HELP = `
Changed at once: published ports, what may be listened on, names and their
servers, upstream proxies, the level of the log. What else has changed is named, and holds after a
restart. A configuration with an error changes nothing. SIGHUP does the same.

Exit codes:
  0  the configuration holds
  1  no hostd is running, or a port cannot be listened on
  2  the configuration has an error

Examples:
  hostd reload

${DOCUMENTATION}`;

const EVENTS_HELP = `
VMs that are attached and detached, leases, ports, zones, proxy settings, and
reloads, from now on. Ends with Ctrl-C, or with code 1 when hostd ends.

Examples:
  hostd events
  hostd events --json | jq -r 'select(.type == "vm.address") | .address'

${DOCUMENTATION}`;

const RESOLVE_HELP = `
NAME is that of a running container, Compose's SERVICE.PROJECT, or the id of one
or its first 12 digits or more. Any other name is looked up as the VM would:
names in "docker.zone" and all the names of the world.

Exit codes:
  0  there are addresses, one a line, IPv4 first
  1  there is none, or no hostd is running
  2  wrong command line

Examples:
  hostd resolve web
  hostd resolve web.shop
  hostd resolve web.docker.internal
  hostd resolve www.example.com --json

Documentation: docs/docker.md`;

const DNS_HELP = `
Examples:
  hostd dns
  hostd dns query www.example.com
  hostd dns query example.com TYPE65 --json

Documentation: docs/dns.md`;

const DNS_QUERY_HELP = `
TYPE is one of A, AAAA, CNAME, HTTPS, MX, NS, PTR, SOA, SRV, TXT and so on, or
TYPE with its number. The name is really resolved, as it would be for the VM.

Exit codes:
  0  answered, be it that the name does not exist
  1  no server answered (SERVFAIL), or no hostd is running
  2  wrong command line

Examples:
  hostd dns query host.docker.internal
  hostd dns query _ldap._tcp.corp.example SRV
  hostd dns query 254.65.168.192.in-addr.arpa PTR

Documentation: docs/dns.md`;

/** Adds the commands to the program. */
export function addControlCommands(program: Command): void {
  askingHostd(
    program
      .command("ps")
      .summary("list the VMs that are attached")
      .description("Lists the VMs that are attached to a running hostd."),
    PS_HELP,
  ).action(async (options: ApiOptions) => {
    await (await import("./ps.ts")).runPs(options);
  });
  addPorts(program);
  addFlows(program);
  addDns(program);
  addProxyCommands(program);
  askingHostd(
    program
      .command("resolve")
      .summary("print the addresses of a container, or of any name")
      .description("Prints the addresses of a running container, or those that the VM would find for a name.")
      .argument("<name>", "a container, or a whole name such as www.example.com")
      .addOption(vmOption("the VM for which a name is looked up (default: the only one)")),
    RESOLVE_HELP,
  ).action(async (name: string, options: ApiOptions & { vm?: string }) => {
    await (await import("./resolve.ts")).runResolve(name, options);
  });
  askingHostd(
    program
      .command("stats")
      .summary("show what hostd and its VMs have done")
      .description("Shows what a running hostd uses, and what it has counted of its VMs.")
      .addOption(vmOption("only what was counted of this VM")),
    STATS_HELP,
  ).action(async (options: ApiOptions & { vm?: string }) => {
    await (await import("./stats.ts")).runStats(options);
  });
  askingHostd(
    program
      .command("leases")
      .summary("list the addresses that DHCP has given out")
      .description("Lists the addresses that the DHCP server of a running hostd has given out."),
    LEASES_HELP,
  ).action(async (options: ApiOptions) => {
    await (await import("./leases.ts")).runLeases(options);
  });
  askingHostd(
    program
      .command("events")
      .summary("follow what happens")
      .description("Prints what happens in a running hostd, as it happens."),
    EVENTS_HELP,
    "as one line of JSON for each event",
  ).action(async (options: ApiOptions) => {
    await (await import("./events.ts")).runEvents(options);
  });
  askingHostd(
    program
      .command("reload")
      .summary("have the configuration read again")
      .description("Has a running hostd read its configuration again, with the flags that it was started with."),
    RELOAD_HELP,
  ).action(async (options: ApiOptions) => {
    await (await import("./reload.ts")).runReload(options);
  });
}

function addPorts(program: Command): void {
  const ports = askingHostd(
    program
      .command("ports")
      .summary("list, open and close published ports")
      .description("Lists the ports and sockets of this host that lead into VMs, opens others, and closes them.")
      .enablePositionalOptions(),
    PORTS_HELP,
  ).action(async (options: ApiOptions) => {
    await (await import("./ports.ts")).runPorts(options);
  });
  askingHostd(
    ports
      .command("add")
      .summary("open ports")
      .description("Has a running hostd lead ports of this host into the VM.")
      .argument("<ports...>", "as with --publish of hostd up, such as 8080:80")
      .option("--persist", "open them again after a restart of hostd")
      .option("--identity <file>", "the private key for what leads to ssh://"),
    PORTS_ADD_HELP,
  ).action(async (given: string[], options: PortsAddOptions) => {
    await (await import("./ports.ts")).runPortsAdd(given, { ...ports.opts(), ...options });
  });
  askingHostd(
    ports
      .command("rm")
      .summary("close ports")
      .description("Has a running hostd listen no longer.")
      .argument("<forwards...>", "ids as listed, or ports")
      .option("--kill", "end their connections too"),
    PORTS_RM_HELP,
  ).action(async (given: string[], options: PortsRemoveOptions) => {
    await (await import("./ports.ts")).runPortsRemove(given, { ...ports.opts(), ...options });
  });
}

function addFlows(program: Command): void {
  const flows = askingHostd(
    program
      .command("flows")
      .summary("list and end the flows of VMs")
      .description("Lists the TCP connections and the UDP and echo flows of VMs.")
      .enablePositionalOptions()
      .option("--watch", "show them again each second, until Ctrl-C")
      .addOption(vmOption("only those of this VM"))
      .addOption(new Option("--protocol <name>", "only those of tcp, udp or icmp").choices(["tcp", "udp", "icmp"]))
      .option("--limit <count>", "at most so many, 1 to 20000 (default: 1000)"),
    FLOWS_HELP,
  ).action(async (options: FlowsOptions) => {
    await (await import("./flows.ts")).runFlows(options);
  });
  askingHostd(
    flows
      .command("kill")
      .summary("end a flow")
      .description("Ends a flow of a VM.")
      .argument("<id>", "its id as listed")
      .addOption(vmOption("the VM whose flow it is (default: the only one)")),
    FLOWS_KILL_HELP,
  ).action(async (id: string, options: ApiOptions & { vm?: string }) => {
    await (await import("./flows.ts")).runFlowsKill(id, { ...flows.opts(), ...options });
  });
}

function addDns(program: Command): void {
  const dns = askingHostd(
    program
      .command("dns")
      .summary("look at the name server")
      .description(
        "Shows the name server of a running hostd: its zones, the servers that it asks and how they are doing, its cache.",
      )
      .enablePositionalOptions(),
    DNS_HELP,
  ).action(async (options: ApiOptions) => {
    await (await import("./dns.ts")).runDns(options);
  });
  askingHostd(
    dns
      .command("query")
      .summary("show how a name is resolved")
      .description("Shows how a running hostd resolves a name, and why: from where the answer is, and what it says.")
      .argument("<name>", "the whole name, such as www.example.com")
      .argument("[type]", "the type of the records (default: A)")
      .addOption(vmOption("the VM for which it is resolved (default: the only one)")),
    DNS_QUERY_HELP,
  ).action(async (name: string, type: string | undefined, options: ApiOptions & { vm?: string }) => {
    const { runDnsQuery } = await import("./dns.ts");
    process.exitCode = await runDnsQuery(name, type, { ...dns.opts(), ...options });
  });
}

function vmOption(description: string): Option {
  return new Option("--vm <name>", description);
}
