// hostd's bundle: all its code as a few files of plain JavaScript in `bundle/`, from which a process starts faster and
// smaller than from its sources. scripts/build-bundle.mjs makes it. Parses on any Node of the last years.
import { readFileSync, statSync } from "node:fs";

/** Where the bundle is; it is as deep in the package as the sources. */
export const bundleFolder = new URL("../bundle/", import.meta.url);

const workspace = new URL("../../../", import.meta.url);

/** The state of a file of the workspace, by which a change of it is seen. */
export function fileState(path) {
  const { mtimeMs, size } = statSync(new URL(path, workspace));
  return `${mtimeMs} ${size}`;
}

/** Whether every file that the bundle was made from is as it was then. */
export function isBundleCurrent() {
  try {
    const inputs = JSON.parse(readFileSync(new URL("inputs.json", bundleFolder), "utf8"));
    return Object.entries(inputs).every(([path, state]) => fileState(path) === state);
  } catch {
    // There is no bundle, or a file of it is gone.
    return false;
  }
}
