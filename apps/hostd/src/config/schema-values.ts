/** The values that several parts of the schema hold, and the headings their flags stand under in `--help`. */
import * as z from "zod";
import { readUnixListener, type UnixAddress } from "./endpoint.ts";
import { expecting, text } from "./key-schema.ts";
import { readDomainName, readIpv4, readPath } from "./values.ts";

/** The headings of `hostd up --help`. */
export const FLAG_GROUPS = {
  attaching: "Attaching a VM:",
  network: "Network:",
  proxy: "HTTP proxy:",
  docker: "Docker:",
  running: "Files and logging:",
} as const;

export const ipv4 = () => text("an IPv4 address such as 192.168.65.1", readIpv4);

export const domainName = (longest = 253) =>
  text("a domain name such as vm.internal", (written) => readDomainName(written, longest));

export const path = (what: string) => text(`the path of a ${what}`, readPath);

export const yesOrNo = () => expecting("true or false", z.boolean());

/** A Unix socket to listen on; null for "none". */
export const socketOrNone = (example: string) =>
  text(`the address of a Unix socket such as unix://${example}, or "none"`, readSocketOrNone);

function readSocketOrNone(written: string): UnixAddress | null {
  return written === "none" ? null : readUnixListener(written);
}
