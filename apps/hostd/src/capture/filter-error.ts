/** A filter that is not understood. The message says where, and what is allowed there. */
export class FilterError extends Error {
  override readonly name = "FilterError";
  /** The character at which it is not understood, counted from 1. */
  readonly position: number;

  constructor(expression: string, position: number, reason: string) {
    super(`the filter ${JSON.stringify(expression)}, at character ${position}: ${reason}`);
    this.position = position;
  }
}
