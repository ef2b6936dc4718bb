// Everything a change must pass, stage by stage: format and lint, type check, unit tests, integration, real VMs.
//
// Usage: node scripts/test.mjs [--only STAGE]... Runs under the pinned Node, through scripts/with-deps.mjs.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const reports = mkdtempSync(join(tmpdir(), "hostd-test-"));
const counts = { passed: 0, failed: 0, skipped: 0 };

const stages = {
  lint: () => run("biome", ["check", "--error-on-warnings", "."]),
  types: () => run("tsc", ["-b"]),
  unit: () => vitest("unit"),
  integration: () => vitest("integration"),
  vm: async () => {
    // Builds the image where that is possible; says in one line what is missing where it is not.
    const { ensureVm } = await import("../test/vm/image.ts");
    return (await ensureVm()).available ? vitest("vm") : "skipped";
  },
};

function run(command, args) {
  const { status, error } = spawnSync(command, args, { stdio: "inherit" });
  if (error) console.error(`test: cannot run ${command}: ${error.message}`);
  return status === 0;
}

function vitest(project) {
  const report = join(reports, `${project}.json`);
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const passed = run("vitest", ["run", "--project", project, ...reporters]);
  try {
    const { numPassedTests, numFailedTests, numPendingTests } = JSON.parse(readFileSync(report, "utf8"));
    counts.passed += numPassedTests;
    counts.failed += numFailedTests;
    counts.skipped += numPendingTests;
    if (process.env.CI === "true" && numPendingTests > 0) {
      console.error(`test: ${numPendingTests} tests of "${project}" were skipped, and with CI=true none may be`);
      return false;
    }
    return passed && numPassedTests > 0;
  } catch (error) {
    console.error(`test: "${project}" left no report: ${error.message}`);
    return false;
  }
}

const { values } = parseArgs({ options: { only: { type: "string", multiple: true } } });
const chosen = values.only ?? Object.keys(stages);
const unknown = chosen.find((name) => !Object.hasOwn(stages, name));
if (unknown !== undefined) {
  console.error(`test: there is no stage "${unknown}"; there are ${Object.keys(stages).join(", ")}`);
  process.exit(2);
}

if (process.env.CI === "true" && chosen.some((name) => name === "integration" || name === "vm")) {
  // The tests compare with tshark, and run QEMU and name servers: on a fresh machine they come from Debian's packages.
  const { ensureHostPackages, ensureNameServers } = await import("../test/vm/host-packages.ts");
  const missing = ensureHostPackages(true) ?? ensureNameServers();
  if (missing !== undefined) {
    console.error(`test: ${missing}`);
    process.exit(1);
  }
}

const failed = [];
const skipped = [];
for (const name of chosen) {
  console.log(`\n== ${name}`);
  const began = performance.now();
  const outcome = await stages[name]();
  if (outcome === false) failed.push(name);
  if (outcome === "skipped") skipped.push(name);
  const word = outcome === "skipped" ? "skipped" : outcome ? "passed" : "FAILED";
  console.log(`== ${name}: ${word} in ${((performance.now() - began) / 1000).toFixed(1)} s`);
  // What does not compile or pass on its own need not be tried in a machine.
  if (outcome === false && name !== "lint") break;
}
rmSync(reports, { recursive: true, force: true });
if (failed.length > 0) console.log(`\nFailed: ${failed.join(", ")}. Logs and captures are in test/output.`);
else console.log(skipped.length > 0 ? `\nPassed, without ${skipped.join(", ")}.` : "\nAll stages passed.");
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(failed.length === 0 ? 0 : 1);
