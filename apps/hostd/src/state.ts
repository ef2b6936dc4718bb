import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LeaseTable } from "@hostd/stack";
import type { Logger } from "./logging.ts";

/** How long changes are gathered before they are written, in milliseconds. */
const SAVE_DELAY_MS = 50;

/** The leases on disk: the same MAC gets the same address after a restart. */
export class LeaseStore {
  readonly leases: LeaseTable;
  readonly #path: string;
  readonly #logger: Logger;
  #timer: NodeJS.Timeout | null = null;
  #saving: Promise<void> = Promise.resolve();
  #failed = false;

  private constructor(path: string, leases: LeaseTable, logger: Logger) {
    this.#path = path;
    this.leases = leases;
    this.#logger = logger;
    leases.onChange = () => {
      this.#timer ??= setTimeout(() => this.#save(), SAVE_DELAY_MS);
    };
  }

  /**
   * Reads the leases of a state folder, which is made when it is not there. A file that cannot be understood is kept
   * under another name and reported; hostd then starts without leases.
   *
   * @throws when the folder cannot be made or the file cannot be read.
   */
  static async open(folder: string, logger: Logger): Promise<LeaseStore> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, "leases.json");
    const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "[]";
      throw error;
    });
    let read: ReturnType<typeof LeaseTable.fromJSON>;
    try {
      read = readLeases(text);
    } catch (error) {
      const kept = `${path}.broken`;
      await rename(path, kept);
      logger.error(`${path} is ${(error as Error).message}: kept as ${kept}, starting without leases`);
      read = readLeases("[]");
    }
    for (const { index, reason } of read.rejected) logger.warn(`${path}: entry ${index} left out: ${reason}`);
    return new LeaseStore(path, read.table, logger);
  }

  /** Writes what is not written yet. */
  async close(): Promise<void> {
    if (this.#timer !== null) this.#save();
    await this.#saving;
    this.leases.onChange = null;
  }

  #save(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const text = `${JSON.stringify(this.leases.toJSON(), null, 2)}\n`;
    this.#saving = this.#saving.then(async () => {
      try {
        // Renamed into place, so that a crash leaves the old file or the new one.
        const temporary = `${this.#path}.${process.pid}.tmp`;
        await writeFile(temporary, text, { mode: 0o600 });
        await rename(temporary, this.#path);
        this.#failed = false;
      } catch (error) {
        // Once per change of luck: the guests keep their leases, only a restart would forget them.
        if (!this.#failed) this.#logger.error(`cannot save leases: ${(error as Error).message}`);
        this.#failed = true;
      }
    });
  }
}

/** @throws when the text as a whole is no list, with what it is instead. */
function readLeases(text: string): ReturnType<typeof LeaseTable.fromJSON> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`not JSON (${(error as Error).message})`);
  }
  if (!Array.isArray(json)) throw new Error("not a list of leases");
  return LeaseTable.fromJSON(json);
}
