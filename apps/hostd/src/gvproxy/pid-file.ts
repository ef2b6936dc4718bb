import { unlinkSync, writeFileSync } from "node:fs";

/**
 * Writes the process ID to a file: the digits alone, since Podman reads the whole file as a number. The file goes when
 * the process ends, unless it is killed.
 *
 * @throws {NodeJS.ErrnoException} when the file cannot be written.
 */
export function writePidFile(path: string): void {
  writeFileSync(path, String(process.pid));
  process.once("exit", () => {
    try {
      unlinkSync(path);
    } catch {
      // Whoever started us has removed it already.
    }
  });
}
