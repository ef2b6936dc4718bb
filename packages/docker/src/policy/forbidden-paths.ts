import { posix } from "node:path";

/** Ways to any other path that lead through a process. */
const THROUGH_PROCESS = /^\/proc\/(?:self|thread-self|[0-9]+)(?:\/|$)/;

/**
 * Paths of the VM that no container may have. One is also had with a folder that it is in. Paths are compared as they are
 * written: a symbolic link in the VM leads past this.
 */
export class ForbiddenPaths {
  readonly #paths: readonly string[];

  /** @param paths - absolute. */
  constructor(paths: readonly string[]) {
    this.#paths = paths.map(canonicalPath);
  }

  /** Whether there are none. */
  get isEmpty(): boolean {
    return this.#paths.length === 0;
  }

  /** @returns the forbidden path that would be had with this one; null for none. */
  findIn(path: string): string | null {
    const candidate = canonicalPath(path);
    if (THROUGH_PROCESS.test(candidate)) return this.#paths[0] ?? null;
    return this.#paths.find((forbidden) => isIn(forbidden, candidate) || isIn(candidate, forbidden)) ?? null;
  }
}

function isIn(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === "/" ? folder : `${folder}/`);
}

/** `/var/run` is `/run` (Filesystem Hierarchy Standard 3.0, 5.13). */
function canonicalPath(path: string): string {
  const normal = posix.normalize(path).replace(/(?<=.)\/+$/, "");
  return normal.replace(/^\/var\/run(?=\/|$)/, "/run");
}
