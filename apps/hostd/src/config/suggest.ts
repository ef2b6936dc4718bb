/** "Did you mean": the nearest of the known words to a mistyped one. */

/**
 * The candidate nearest to `word`, or undefined when none is near: at most three edits (insert, delete, replace or
 * swap two neighbours) and more of the word kept than changed. Case, `-` and `_` do not count.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = 4;
  const written = normalize(word);
  for (const candidate of candidates) {
    const known = normalize(candidate);
    const length = Math.max(written.length, known.length);
    if (Math.abs(written.length - known.length) >= bestDistance) continue;
    const distance = editDistance(written, known);
    if (distance < bestDistance && distance * 2 < length) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function normalize(word: string): string {
  return word.toLowerCase().replaceAll(/[-_]/g, "");
}

/** The optimal string alignment distance: Damerau-Levenshtein in which no part is edited twice. */
function editDistance(from: string, to: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let column = 1; column <= to.length; column++) {
      const replace = previous[column - 1] + (from[row - 1] === to[column - 1] ? 0 : 1);
      let distance = Math.min(previous[column] + 1, current[column - 1] + 1, replace);
      const swapped = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      if (swapped) distance = Math.min(distance, beforePrevious[column - 2] + 1);
      current.push(distance);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[to.length];
}
