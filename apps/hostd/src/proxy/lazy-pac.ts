import type { Destination, PacOptions, PacResolver, Route } from "@hostd/httpproxy";

/** Asks a PAC script with code that is loaded for it. */
export class LazyPac implements PacResolver {
  readonly #opened: Promise<PacResolver>;

  constructor(options: PacOptions) {
    this.#opened = open(options);
    // Whoever asks is told.
    this.#opened.catch(() => {});
  }

  async routes(destination: Destination): Promise<readonly Route[]> {
    const pac = await this.#opened;
    return await pac.routes(destination);
  }

  close(): void {
    this.#opened.then(
      (pac) => pac.close(),
      () => {},
    );
  }
}

async function open(options: PacOptions): Promise<PacResolver> {
  const { Pac } = await import("./pac.ts");
  return new Pac(options);
}
