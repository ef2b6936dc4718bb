import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ensureVm, imageOf } from "./image.ts";
import { Vm } from "./vm.ts";

const availability = await ensureVm();

describe.skipIf(!availability.available)("a real VM", () => {
  const artifacts = mkdtempSync(join(tmpdir(), "hostd-boot-"));
  let vm: Vm;

  beforeAll(async () => {
    vm = await Vm.boot({ image: imageOf(availability), netdevs: [], name: "boot", artifacts });
  });

  afterAll(async () => {
    await vm.kill();
    rmSync(artifacts, { recursive: true });
  });

  it("runs a command and returns its status, standard output and standard error", async () => {
    const result = await vm.run("echo to stdout; echo to stderr >&2; exit 7");
    expect(result).toMatchObject({ status: 7, stdout: "to stdout\n", stderr: "to stderr\n" });
    expect(result.durationMs).toBeGreaterThanOrEqual(0);
    expect((await vm.run("kill -TERM $$")).status).toBe(128 + 15);
  });

  it("has no network card when it was given none", async () => {
    expect((await vm.check("ls /sys/class/net")).stdout).toBe("lo\n");
  });

  it("runs two commands at once", async () => {
    // Each waits for what the other one does, so neither ends unless both run.
    const wait = (name: string) => `for _ in $(seq 300); do [ -e /tmp/${name} ] && exit 0; sleep 0.1; done; exit 1`;
    const results = await Promise.all([
      vm.run(`touch /tmp/first; ${wait("second")}`),
      vm.run(`touch /tmp/second; ${wait("first")}`),
    ]);
    expect(results.map(({ status }) => status)).toEqual([0, 0]);
  });

  it("carries a megabyte out of a command and into one", async () => {
    const { stdout } = await vm.check("head -c 1048576 /dev/zero | tr '\\0' x");
    expect(stdout.length).toBe(1_048_576);
    expect(stdout).toBe("x".repeat(1_048_576));
    expect((await vm.check("wc -c", { stdin: stdout })).stdout).toBe("1048576\n");
  });

  it("hands over standard input and output while a command runs", async () => {
    const cat = vm.spawn('while read -r line; do echo "got $line"; done; echo end');
    cat.write("one\n");
    await cat.waitForOutput(/got one/);
    cat.end("two\n");
    expect(await cat.result).toMatchObject({ status: 0, stdout: "got one\ngot two\nend\n" });
  });

  it("ends a command with its shell, whatever that leaves in the background", async () => {
    const { stdout } = await vm.check("(sleep 600; echo too late) & echo started");
    expect(stdout).toBe("started\n");
  });

  it("kills a command that runs into its time limit, and says what it had written", async () => {
    await expect(vm.run("echo before; sleep 600", { timeoutMs: 2000 })).rejects.toThrow(
      /killed after 2000 ms[\s\S]*before/,
    );
    expect((await vm.check("echo alive")).stdout).toBe("alive\n");
  });

  it("shows what a command wrote when it should have succeeded", async () => {
    await expect(vm.check("echo the reason >&2; false")).rejects.toThrow(/status 1 in the guest[\s\S]*the reason/);
  });

  it("can be killed with SIGKILL at any time and boots again", async () => {
    const running = vm.run("echo begun; sleep 600");
    const expectation = expect(running).rejects.toThrow(/the VM has ended[\s\S]*sleep 600/);
    await vm.run("true");
    expect(await vm.kill("SIGKILL")).toBeNull();
    await expectation;
    await expect(vm.run("true")).rejects.toThrow("the VM has ended");
    expect(existsSync(`/proc/${vm.pid}`)).toBe(false);

    const options = { image: imageOf(availability), netdevs: [], name: "again", artifacts };
    vm = await Vm.boot({ ...options, script: "echo hello from the script\necho 'and goodbye'" });
    await vm.waitFor(/^hello from the script$/);
    await vm.waitFor(/script ended with status 0/);
    await vm.check("echo it lives");
    expect(readFileSync(join(artifacts, "again.console.log"), "utf8")).toContain("and goodbye");
    expect(readFileSync(join(artifacts, "again.commands.log"), "utf8")).toContain("it lives");
  });

  it("ends when the guest powers off", async () => {
    vm.spawn("poweroff");
    expect(await vm.exited).toBe(0);
  });

  it("says why it did not start", async () => {
    const options = { image: imageOf(availability), name: "broken", artifacts };
    const boot = Vm.boot({ ...options, netdev: "nonsense,id=n0" });
    await expect(boot).rejects.toThrow(/QEMU ended with status 1[\s\S]*qemu: .*nonsense/);
    await expect(Vm.boot({ ...options, netdev: "user" })).rejects.toThrow('netdev "user" has no id=');
  });
});
