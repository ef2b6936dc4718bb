/** A table of texts, all rows of one length. Columns after the first `left` ones are set flush right. */
export interface TextTable {
  readonly header: readonly string[];
  readonly rows: readonly (readonly string[])[];
  readonly left: number;
}

/** The table for a terminal, without spaces at the ends of lines. */
export function plainTable({ header, rows, left }: TextTable): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((text, column) => (column < left ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd();
  const rule = widths.map((width) => "─".repeat(width)).join("  ");
  return [line(header), rule, ...rows.map(line)].join("\n");
}

/** The table in Markdown. */
export function markdownTable({ header, rows, left }: TextTable): string {
  const line = (row: readonly string[]) => `| ${row.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = `|${header.map((_, column) => (column < left ? "---" : "--:")).join("|")}|`;
  return [line(header), rule, ...rows.map(line)].join("\n");
}
