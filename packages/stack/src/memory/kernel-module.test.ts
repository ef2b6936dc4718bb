import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { test } from "vitest";

test("the compiled kernel is made of its source as it is", () => {
  execFileSync(process.execPath, [join(import.meta.dirname, "../../../../scripts/build-kernel.mjs"), "--check"]);
});
