/** One row of the table: what the link does to packets, the same in both directions. */
export interface Path {
  /** What `--cells` calls it, such as `1%-10ms`. */
  readonly name: string;
  readonly description: string;
  /** Milliseconds that the link adds to a round trip; half of it in each direction. */
  readonly roundTrip: number;
  /** Arguments of netem(8) besides the delay. */
  readonly netem: string;
}

/** `down` is from the server to the guest, `up` from the guest to the server. */
export const DIRECTIONS = ["down", "up"] as const;
export type Direction = (typeof DIRECTIONS)[number];

export interface Cell {
  readonly path: Path;
  readonly direction: Direction;
}

function lossy(percent: string, roundTrip: number): Path {
  return {
    name: `${percent}%-${roundTrip}ms`,
    description: `${percent} % loss, ${roundTrip} ms`,
    roundTrip,
    netem: percent === "0" ? "" : `loss ${percent}%`,
  };
}

function reordering(percent: string, roundTrip: number): Path {
  return {
    name: `reorder${percent}%-${roundTrip}ms`,
    description: `${percent} % arrive ${roundTrip / 2} ms early, ${roundTrip} ms`,
    roundTrip,
    netem: `reorder ${percent}%`,
  };
}

function duplicating(percent: string, roundTrip: number): Path {
  return {
    name: `duplicate${percent}%-${roundTrip}ms`,
    description: `${percent} % arrive twice, ${roundTrip} ms`,
    roundTrip,
    netem: `duplicate ${percent}%`,
  };
}

export const PATHS: readonly Path[] = [
  ...["0", "0.1", "1", "5"].flatMap((percent) => [0, 10, 100].map((roundTrip) => lossy(percent, roundTrip))),
  ...["1", "25"].flatMap((percent) => [10, 100].map((roundTrip) => reordering(percent, roundTrip))),
  ...[10, 100].map((roundTrip) => duplicating("5", roundTrip)),
];

const ALL_CELLS: readonly Cell[] = PATHS.flatMap((path) => DIRECTIONS.map((direction) => ({ path, direction })));

export function cellName({ path, direction }: Cell): string {
  return `${path.name}-${direction}`;
}

/**
 * The cells that a list such as `1%-10ms,5%-100ms-down` names, in the order of the table. A path without a direction
 * stands for both.
 *
 * @throws Error for a name that there is not; the message lists the paths
 */
export function selectCells(list: string | undefined): readonly Cell[] {
  if (list === undefined) return ALL_CELLS;
  const wanted = list.split(",").map((name) => name.trim());
  const namesOf = (cell: Cell) => [cell.path.name, cellName(cell)];
  const unknown = wanted.find((name) => !ALL_CELLS.some((cell) => namesOf(cell).includes(name)));
  if (unknown !== undefined) {
    const paths = PATHS.map(({ name }) => name).join(", ");
    throw new Error(`there is no cell "${unknown}"; there are ${paths}, each also with -down or -up`);
  }
  return ALL_CELLS.filter((cell) => namesOf(cell).some((name) => wanted.includes(name)));
}
