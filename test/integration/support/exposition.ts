/** Prometheus' text format, version 0.0.4, read as strictly as its documentation writes it. */

/** A metric of an answer. */
export interface ExposedFamily {
  readonly type: string;
  readonly help: string;
  /** By the labels as they are written, `{result="connected"}`; empty for none. */
  readonly samples: ReadonlyMap<string, number>;
}

const METRIC_NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"';
const HELP_LINE = new RegExp(`^# HELP (${METRIC_NAME}) (.+)$`);
const TYPE_LINE = new RegExp(`^# TYPE (${METRIC_NAME}) (counter|gauge)$`);
const SAMPLE_LINE = new RegExp(`^(${METRIC_NAME})(\\{${LABEL}(?:,${LABEL})*\\})? (-?[0-9.e+-]+)$`);

/**
 * Reads an answer.
 *
 * @throws {Error} with the line that does not fit: each metric has its help, its type and its samples once and together.
 */
export function parseExposition(text: string): Map<string, ExposedFamily> {
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  const families = new Map<string, ExposedFamily>();
  let help: { readonly name: string; readonly text: string } | null = null;
  let current: { readonly name: string; readonly samples: Map<string, number> } | null = null;
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const [, helpName, helpText] = HELP_LINE.exec(line) ?? [];
    const [, typeName, type] = TYPE_LINE.exec(line) ?? [];
    const [, name, labels = "", value] = SAMPLE_LINE.exec(line) ?? [];
    if (helpName !== undefined) {
      help = { name: helpName, text: helpText };
    } else if (typeName !== undefined) {
      if (help?.name !== typeName || families.has(typeName)) throw new Error(`out of place: ${line}`);
      if ((type === "counter") !== typeName.endsWith("_total")) throw new Error(`${typeName} is a ${type}`);
      current = { name: typeName, samples: new Map() };
      families.set(typeName, { type, help: help.text, samples: current.samples });
    } else {
      if (name === undefined || current === null || name !== current.name) throw new Error(`out of place: ${line}`);
      if (current.samples.has(labels) || !Number.isFinite(Number(value))) throw new Error(`not a value: ${line}`);
      current.samples.set(labels, Number(value));
    }
  }
  return families;
}
