import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "./logging.ts";

/** How long changes are gathered before they are written, in milliseconds. */
const SAVE_DELAY_MS = 50;

/** What a {@link StateFile} holds, for people and as JSON. */
export interface StateContent<T> {
  /** The name of the file in the state folder. */
  readonly name: string;
  /** What it holds, for messages: `leases`. */
  readonly what: string;
  /**
   * Reads what the file says; `[]` is that of one that is not there.
   *
   * @throws when it is not to be understood, with what it is instead.
   */
  read(json: unknown): T;
}

/** A list on disk that outlives a restart: JSON, replaced as a whole when it has changed. */
export class StateFile {
  /** Null for one that is in memory alone. */
  readonly path: string | null;
  readonly #what: string;
  readonly #logger: Logger;
  #contents: (() => unknown) | null = null;
  #timer: NodeJS.Timeout | null = null;
  #saving: Promise<void> = Promise.resolve();
  #failed = false;

  private constructor(path: string | null, what: string, logger: Logger) {
    this.path = path;
    this.#what = what;
    this.#logger = logger;
  }

  /**
   * Reads a file of a state folder, which is made when it is not there; without a folder nothing is kept. One that
   * cannot be understood is kept under another name and reported; nothing is known then.
   *
   * @throws when the folder cannot be made or the file cannot be read.
   */
  static async open<T>(
    folder: string | null,
    content: StateContent<T>,
    logger: Logger,
  ): Promise<{ file: StateFile; held: T }> {
    if (folder === null) return { file: new StateFile(null, content.what, logger), held: content.read([]) };
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, content.name);
    const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "[]";
      throw error;
    });
    const file = new StateFile(path, content.what, logger);
    try {
      return { file, held: content.read(parse(text)) };
    } catch (error) {
      const kept = `${path}.broken`;
      await rename(path, kept);
      logger.error(`${path} is ${(error as Error).message}: kept as ${kept}, starting without ${content.what}`);
      return { file, held: content.read([]) };
    }
  }

  /** Writes soon what `contents` gives then. */
  saveSoon(contents: () => unknown): void {
    this.#contents = contents;
    this.#timer ??= setTimeout(() => this.#save(), SAVE_DELAY_MS);
  }

  /** Writes what is not written yet. */
  async close(): Promise<void> {
    if (this.#timer !== null) this.#save();
    await this.#saving;
  }

  #save(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const { path } = this;
    if (path === null) return;
    const text = `${JSON.stringify(this.#contents?.(), null, 2)}\n`;
    this.#saving = this.#saving.then(async () => {
      try {
        // Renamed into place, so that a crash leaves the old file or the new one.
        const temporary = `${path}.${process.pid}.tmp`;
        await writeFile(temporary, text, { mode: 0o600 });
        await rename(temporary, path);
        this.#failed = false;
      } catch (error) {
        // Once per change of luck: nothing is lost before a restart.
        if (!this.#failed) this.#logger.error(`cannot save ${this.#what}: ${(error as Error).message}`);
        this.#failed = true;
      }
    });
  }
}

/** @throws when the text is no JSON. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`not JSON (${(error as Error).message})`);
  }
}
