import { spawn } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

const BIN = join(import.meta.dirname, "..", "..", "apps", "hostd", "bin", "hostd.mjs");

it("hostd demo shows each step with an embedded guest, ends with a QEMU command, and exits 0", async () => {
  const child = spawn(process.execPath, [BIN, "demo", "--no-vm"], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let errors = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (errors += chunk));
  const status = await new Promise((resolve) => child.once("close", resolve));
  expect({ status, errors }).toEqual({ status: 0, errors: "" });
  const steps = output.split("\n").flatMap((line) => /^ {2}✓ (.+?) {2,}/.exec(line)?.[1] ?? []);
  expect(steps).toEqual([
    "DHCP lease",
    "ping the gateway",
    "host.docker.internal",
    "HTTP download",
    "DNS look-up",
    "UDP echo",
    "closed port",
    "throughput down",
    "throughput up",
  ]);
  expect(output).toMatch(/-netdev stream,id=net0,server=off,addr\.type=unix,addr\.path=\S+vm\.sock\n$/);
});
