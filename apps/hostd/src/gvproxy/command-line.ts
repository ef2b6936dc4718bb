/** The command line of gvproxy v0.8.9, with the addresses that its next version takes too. */
import { type GoFlag, type GoFlagValues, goUsage, parseGoFlags } from "./go-flags.ts";

/** Which gvproxy this stands in for; clients read it. */
export const GVPROXY_VERSION = "gvproxy version v0.8.9";

export const DEFAULT_SSH_PORT = 2222;

const FLAGS = {
  config: { kind: "string", usage: "YAML file with the configuration; other flags go over it" },
  debug: { kind: "bool", usage: "Log everything" },
  deviceIP: { kind: "string", usage: "IP address of the VM (default: the second one of the subnet)" },
  "ec2-metadata-access": { kind: "bool", usage: "Let VMs reach 169.254.0.0/16, where clouds have their metadata" },
  "forward-dest": { kind: "list", usage: "Path of the socket in the VM that -forward-sock leads to" },
  "forward-identity": { kind: "list", usage: "File of the private key for -forward-user" },
  "forward-sock": { kind: "list", usage: "Unix socket of this host that leads to one in the VM over SSH" },
  "forward-user": { kind: "list", usage: "User who logs in to the VM for -forward-sock" },
  gatewayIP: { kind: "string", usage: "IP address of the gateway (default: the first one of the subnet)" },
  hostIP: { kind: "string", usage: "IP address that stands for this host (default: the last one of the subnet)" },
  listen: { kind: "list", usage: "URL where the HTTP API listens, with /connect" },
  "listen-bess": { kind: "string", usage: "Not supported yet" },
  "listen-qemu": { kind: "string", usage: "URL where VMs attach with QEMU's stream framing" },
  "listen-stdio": { kind: "string", usage: "Not supported yet" },
  "listen-vfkit": { kind: "string", usage: "Not supported yet" },
  "listen-vpnkit": { kind: "string", usage: "Not supported yet" },
  "log-file": { kind: "string", usage: "File that the log is written to, in place of standard error" },
  mtu: { kind: "int", usage: "Largest IP packet on the link of the VM (default: 1500)" },
  notification: { kind: "string", usage: "URL of a Unix socket that is told what happens" },
  pcap: { kind: "string", usage: "File that every frame is captured to" },
  "pid-file": { kind: "string", usage: "File that the process ID is written to" },
  services: { kind: "string", usage: "URL where the HTTP API listens, without /connect" },
  "ssh-port": {
    kind: "int",
    usage: "Port of 127.0.0.1 that leads to port 22 of the VM, from 1024 to 65535; -1 for none",
    default: DEFAULT_SSH_PORT,
  },
  subnet: { kind: "string", usage: "Network of the VMs (default: 192.168.127.0/24)" },
  version: { kind: "bool", usage: "Print the version" },
} as const satisfies Record<string, GoFlag>;

/** What was given on the command line, by the names of the flags. */
export type CommandLine = GoFlagValues<typeof FLAGS>;

/**
 * Reads the command line.
 *
 * @returns "help" when that was asked for.
 * @throws {GoFlagError} in Go's words.
 */
export function readCommandLine(args: readonly string[]): CommandLine | "help" {
  return parseGoFlags(FLAGS, args);
}

/** @param program - as which it was started. */
export function usage(program: string): string {
  return goUsage(program, FLAGS);
}
