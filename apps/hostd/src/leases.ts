import { LeaseTable } from "@hostd/stack";
import type { Logger } from "./logging.ts";
import { StateFile } from "./state-file.ts";

/** The leases on disk: the same MAC gets the same address after a restart. */
export class LeaseStore {
  readonly leases: LeaseTable;
  readonly #file: StateFile;

  private constructor(leases: LeaseTable, file: StateFile) {
    this.leases = leases;
    this.#file = file;
    leases.onChange = () => file.saveSoon(() => leases.toJSON());
  }

  /**
   * Reads the leases of a state folder, which is made when it is not there; null has them in memory alone.
   *
   * @throws when the folder cannot be made or the file cannot be read.
   */
  static async open(folder: string | null, logger: Logger): Promise<LeaseStore> {
    const { file, held } = await StateFile.open(
      folder,
      {
        name: "leases.json",
        what: "leases",
        read: (json) => {
          if (!Array.isArray(json)) throw new Error("not a list of leases");
          return LeaseTable.fromJSON(json);
        },
      },
      logger,
    );
    for (const { index, reason } of held.rejected) logger.warn(`${file.path}: entry ${index} left out: ${reason}`);
    return new LeaseStore(held.table, file);
  }

  /** Writes what is not written yet. */
  async close(): Promise<void> {
    await this.#file.close();
    this.leases.onChange = null;
  }
}
