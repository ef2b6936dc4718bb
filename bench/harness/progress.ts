import type { WriteStream } from "node:tty";
import { CELLS } from "./cells.ts";
import { formatFigure } from "./format.ts";
import type { Outcome } from "./outcome.ts";
import type { Step } from "./session.ts";

/** Says where a session is: on a terminal in one line that changes, elsewhere in a line for each outcome. */
export class Progress {
  readonly #stream: WriteStream;
  readonly #began = performance.now();

  constructor(stream: WriteStream) {
    this.#stream = stream;
  }

  show(step: Step, outcome?: Outcome): void {
    if (outcome === undefined && !this.#stream.isTTY) return;
    const seconds = ((performance.now() - this.#began) / 1000).toFixed(0);
    const text = `bench: ${seconds.padStart(4)} s  ${describeStep(step, outcome)}`;
    if (!this.#stream.isTTY) this.#stream.write(`${text}\n`);
    // A failure stays to be seen.
    else if (outcome?.failure !== undefined) this.#stream.write(`\r\x1b[K${text}\n`);
    else this.#stream.write(`\r\x1b[K${text.slice(0, this.#stream.columns - 1)}`);
  }

  /** Makes room for what comes next. */
  end(): void {
    if (this.#stream.isTTY) this.#stream.write("\r\x1b[K");
  }
}

/** Such as "12/84  run 1, MTU 1500, gvproxy: up 1.80 Gbit/s". */
export function describeStep({ number, of, round, mtu, peer, measure }: Step, outcome?: Outcome): string {
  const where = `${number}/${of}  run ${round}, MTU ${mtu}, ${peer}: ${measure}`;
  if (outcome === undefined) return `${where} ...`;
  if (outcome.failure !== undefined) return `${where} FAILED: ${outcome.failure}`;
  const figures = Object.entries(outcome.figures).map(([id, value]) => {
    const unit = CELLS.find((cell) => cell.id === id)?.unit ?? "";
    return `${id === measure ? "" : `${id} `}${formatFigure(value)} ${unit}`.trim();
  });
  return `${where} ${figures.join(", ")}`.trimEnd();
}
