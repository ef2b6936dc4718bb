/** A PAC script cannot be had, or does not say which way to take. The message is for people. */
export class PacError extends Error {
  override readonly name = "PacError";
}
