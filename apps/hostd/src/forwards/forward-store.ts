import type { ForwardRule } from "@hostd/portfwd";
import { ConfigError } from "../config/problems.ts";
import type { Logger } from "../logging.ts";
import { StateFile } from "../state-file.ts";
import { type ForwardSurroundings, readForwardData, ruleToData } from "./forward-data.ts";

/** The forwards on disk that are opened again after a restart. */
export class ForwardStore {
  /** What was there when hostd started. */
  readonly rules: readonly ForwardRule[];
  readonly #file: StateFile;

  private constructor(rules: readonly ForwardRule[], file: StateFile) {
    this.rules = rules;
    this.#file = file;
  }

  /**
   * Reads the forwards of a state folder, which is made when it is not there; null has none kept.
   *
   * @throws when the folder cannot be made or the file cannot be read.
   */
  static async open(
    config: ForwardSurroundings & { readonly state: string | null },
    logger: Logger,
  ): Promise<ForwardStore> {
    const rejected: string[] = [];
    const { file, held } = await StateFile.open(
      config.state,
      {
        name: "forwards.json",
        what: "forwards",
        read: (json) => {
          if (!Array.isArray(json)) throw new Error("not a list of forwards");
          return json.flatMap((entry: unknown, index) => {
            try {
              return readForwardData(entry, config);
            } catch (error) {
              if (!(error instanceof ConfigError)) throw error;
              rejected.push(`entry ${index} left out: ${error.message}`);
              return [];
            }
          });
        },
      },
      logger,
    );
    for (const reason of rejected) logger.warn(`${file.path}: ${reason}`);
    return new ForwardStore(held, file);
  }

  /** Has these, and no others, opened again after a restart. */
  save(rules: readonly ForwardRule[]): void {
    this.#file.saveSoon(() => rules.map(ruleToData));
  }

  /** Writes what is not written yet. */
  async close(): Promise<void> {
    await this.#file.close();
  }
}
