/** What `hostd docker-config` says beside `daemon.json`, for people. */
import type { EngineConfig } from "../docker/engine-config.ts";
import { wrap } from "./doctor-text.ts";

/** How many characters a line has at most. */
const WIDTH = 100;
const INDENT = "  ";

/** @param engine - for which engine it is, as a sentence. */
export function describeEngineConfig({ settings, files, notes }: EngineConfig, engine: string): string[] {
  const width = Math.max(...settings.map(({ key }) => key.length));
  return [
    "",
    ...wrap(engine, WIDTH),
    "",
    "The VM needs what is on standard output as /etc/docker/daemon.json:",
    ...settings.flatMap(({ key, reason }) => hanging(`${INDENT}${key.padEnd(width)}${INDENT}`, reason)),
    ...files.flatMap(({ path, text, reason }) => [
      "",
      `It also needs ${path}:`,
      ...text
        .trimEnd()
        .split("\n")
        .map((line) => INDENT + line),
      ...hanging("-> ", reason),
    ]),
    "",
    "Then, as root in the VM: sysctl --system; systemctl daemon-reload; systemctl restart docker",
    ...notes.flatMap((note) => ["", ...wrap(note, WIDTH)]),
  ];
}

/** Text behind a first column, which the lines after the first leave empty. */
function hanging(first: string, text: string): string[] {
  const indent = " ".repeat(first.length);
  return wrap(text, WIDTH - first.length).map((line, index) => (index === 0 ? first : indent) + line);
}
