import { connect } from "node:net";
import type { Duplex } from "node:stream";

/** Where an API listens. */
export type ApiAddress = { readonly path: string } | { readonly host: string; readonly port: number };

/** An answer as it came over the wire. */
export interface Answer {
  /** Such as `HTTP/1.1 200 OK`. */
  readonly statusLine: string;
  /** In their order; the date is left out of `Date`. */
  readonly headers: readonly string[];
  readonly body: string;
}

/** An answer, or that the connection was closed without one. */
export type Outcome = Answer | "closed";

export interface CallRequest {
  /** GET without a body and POST with one, unless given. */
  readonly method?: string;
  readonly path: string;
  readonly headers?: readonly string[];
  readonly body?: string;
}

/** Writes a request as it goes over the wire. */
export function encodeRequest({
  path,
  body,
  method = body === undefined ? "GET" : "POST",
  headers = [],
}: CallRequest): Buffer {
  const length = body === undefined ? [] : [`Content-Length: ${Buffer.byteLength(body)}`];
  const head = [`${method} ${path} HTTP/1.1`, "Host: gvproxy", ...headers, ...length, "", ""].join("\r\n");
  return Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body ?? "")]);
}

/** Sends bytes on a connection of their own and reads the answer to the first request in them. */
export async function ask(address: ApiAddress, request: Buffer): Promise<Outcome> {
  return await askOver(connect(address), request);
}

/** Sends bytes on a connection that was just made, reads the answer to the first request in them, and closes it. */
export async function askOver(stream: Duplex, request: Buffer): Promise<Outcome> {
  const timer = setTimeout(() => stream.destroy(), 10_000);
  try {
    return await new Conversation(stream).ask(request);
  } finally {
    clearTimeout(timer);
    stream.destroy();
  }
}

/** A connection over which one request follows another. */
export class Conversation {
  readonly #stream: Duplex;
  readonly #chunks: AsyncIterator<Buffer>;
  #received: Buffer = Buffer.alloc(0);
  #hasEnded = false;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.#chunks = stream[Symbol.asyncIterator]();
    stream.on("error", () => {});
  }

  async ask(request: Buffer): Promise<Outcome> {
    this.#stream.write(request);
    const headEnd = await this.#indexOf("\r\n\r\n");
    if (headEnd < 0) return "closed";
    const [statusLine, ...fields] = this.#take(headEnd + 4)
      .slice(0, -4)
      .split("\r\n");
    const headers = fields.map((field) => field.replace(/^(Date: )\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT$/, "$1now"));
    const length = fieldOf(fields, "content-length");
    if (request.toString("latin1", 0, 5) === "HEAD ") return { statusLine, headers, body: "" };
    if (fieldOf(fields, "transfer-encoding") === "chunked") {
      return { statusLine, headers, body: await this.#chunked() };
    }
    await this.#until(() => length !== undefined && this.#received.length >= Number(length));
    const body = this.#take(length === undefined ? this.#received.length : Number(length));
    return { statusLine, headers, body: Buffer.from(body, "latin1").toString("utf8") };
  }

  close(): void {
    this.#stream.destroy();
  }

  async #chunked(): Promise<string> {
    let body = "";
    for (;;) {
      const end = await this.#indexOf("\r\n");
      if (end < 0) throw new Error("the answer ends in the middle of its chunks");
      const length = Number.parseInt(this.#take(end + 2), 16);
      await this.#until(() => this.#received.length >= length + 2);
      const chunk = this.#take(length + 2).slice(0, -2);
      if (length === 0) return Buffer.from(body, "latin1").toString("utf8");
      body += chunk;
    }
  }

  #take(length: number): string {
    const taken = this.#received.toString("latin1", 0, length);
    this.#received = this.#received.subarray(length);
    return taken;
  }

  async #indexOf(text: string): Promise<number> {
    await this.#until(() => this.#received.includes(text));
    return this.#received.indexOf(text);
  }

  /** Reads until `holds` does, or the connection ends. */
  async #until(holds: () => boolean): Promise<void> {
    while (!this.#hasEnded && !holds()) {
      const { done, value } = await this.#chunks.next().catch(() => ({ done: true, value: undefined }));
      if (done === true || value === undefined) this.#hasEnded = true;
      else this.#received = Buffer.concat([this.#received, value]);
    }
  }
}

function fieldOf(fields: readonly string[], name: string): string | undefined {
  const field = fields.find((each) => each.toLowerCase().startsWith(`${name}:`));
  return field?.slice(name.length + 1).trim();
}
