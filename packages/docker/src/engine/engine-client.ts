import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { after, type Clock, systemClock } from "@hostd/streams";
import { type EngineEvent, readEngineEvent } from "./engine-event.ts";
import { JsonLines } from "./json-lines.ts";
import { textAt } from "./json-value.ts";

/** The version of the API whose answers are known. An engine that does not have it is asked in one near to it. */
const API_VERSION = "1.44";
/** How long an answer may take, in milliseconds. */
const TIMEOUT = 10_000;
/** The longest answer, in bytes. */
const MAX_ANSWER = 16 * 1024 * 1024;
const MAX_ERROR = 64 * 1024;

export interface EngineClientOptions {
  /**
   * Opens a connection to the engine. It should find out by itself when the other end is gone without a word (RFC 9293,
   * 3.8.4): the stream of events may be silent for days.
   */
  readonly dial: () => Promise<Duplex>;
  /** For tests; the process's clock unless given. */
  readonly clock?: Clock;
}

/** A question that an engine did not answer as it should. */
export class EngineError extends Error {
  override readonly name = "EngineError";
  /** The status of its answer; null when there was none that could be understood. */
  readonly status: number | null;

  constructor(message: string, status: number | null, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

const CLOSED = new EngineError("the client is closed", null);

/** A question that is under way. */
interface Request {
  readonly signal: AbortSignal;
  abort(reason: unknown): void;
  /** It is over. */
  end(): void;
}

/** Reads from the API of a Docker engine, or of Podman in its place. Every question has a connection of its own. */
export class EngineClient {
  readonly #dial: () => Promise<Duplex>;
  readonly #clock: Clock;
  readonly #open = new Set<Request>();
  #version: Promise<string> | null = null;
  #isClosed = false;

  constructor({ dial, clock = systemClock }: EngineClientOptions) {
    this.#dial = dial;
    this.#clock = clock;
  }

  /**
   * Asks for a JSON text.
   *
   * @param path - with its query, and without the version of the API.
   * @throws {EngineError} when the status is none of success, or the answer is too long, late or no JSON text.
   */
  async get(path: string, signal?: AbortSignal): Promise<unknown> {
    this.#version ??= this.#negotiate(signal);
    return await this.#getJson(`/v${await this.#version}${path}`, signal);
  }

  /**
   * Opens the stream of events, and finds out anew which version of the API the engine has. It begins with what happens
   * after this is fulfilled; it ends when the engine ends it.
   *
   * @param filters - as the API has them: by each name, what an event may have.
   * @throws {EngineError}
   */
  async events(
    filters: Readonly<Record<string, readonly string[]>>,
    signal: AbortSignal,
  ): Promise<AsyncIterable<EngineEvent>> {
    this.#version = this.#negotiate(signal);
    const query = new URLSearchParams({ filters: JSON.stringify(filters) });
    const path = `/v${await this.#version}/events?${query}`;
    const request = this.#begin(signal);
    try {
      return readEvents(await this.#withTimeout(request, () => this.#request(path, request.signal)), request.end);
    } catch (error) {
      request.end();
      throw error;
    }
  }

  /** Ends what is under way. There are no further answers. */
  close(): void {
    this.#isClosed = true;
    for (const request of [...this.#open]) request.abort(CLOSED);
  }

  #negotiate(signal?: AbortSignal): Promise<string> {
    const version = this.#getJson("/version", signal).then(
      (answer) => chooseVersion(textAt(answer, "MinAPIVersion"), textAt(answer, "ApiVersion")),
      (error: unknown) => {
        if (this.#version === version) this.#version = null;
        throw error;
      },
    );
    return version;
  }

  async #getJson(path: string, signal?: AbortSignal): Promise<unknown> {
    const request = this.#begin(signal);
    try {
      const body = await this.#withTimeout(request, async () => {
        return await readBody(await this.#request(path, request.signal), MAX_ANSWER);
      });
      return parseJson(body);
    } finally {
      request.end();
    }
  }

  /** @param signal - ends it before the client is closed. */
  #begin(signal?: AbortSignal): Request {
    const controller = new AbortController();
    const abort = (reason: unknown) => controller.abort(reason);
    const ended = () => abort(signal?.reason);
    signal?.addEventListener("abort", ended, { once: true });
    const end = () => {
      signal?.removeEventListener("abort", ended);
      this.#open.delete(request);
    };
    const request: Request = { signal: controller.signal, abort, end };
    this.#open.add(request);
    if (this.#isClosed) abort(CLOSED);
    if (signal?.aborted === true) ended();
    return request;
  }

  async #withTimeout<T>(request: Request, action: () => Promise<T>): Promise<T> {
    const expire = () => request.abort(new EngineError(`no answer within ${TIMEOUT / 1000} s`, null));
    const stop = after(this.#clock, TIMEOUT, expire);
    try {
      return await action();
    } catch (error) {
      const cause: unknown = request.signal.aborted ? request.signal.reason : error;
      if (cause instanceof EngineError) throw cause;
      throw new EngineError(cause instanceof Error ? cause.message : String(cause), null, { cause });
    } finally {
      stop();
    }
  }

  /** @returns an answer of success, whose body is still to be read. */
  async #request(path: string, signal: AbortSignal): Promise<IncomingMessage> {
    const [{ request }, connection] = await Promise.all([import("node:http"), this.#connect(signal)]);
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { Host: "docker", Accept: "application/json" };
      const outgoing = request({ path, headers, createConnection: () => connection, signal });
      outgoing.on("error", (error) => {
        connection.destroy();
        reject(error);
      });
      outgoing.on("response", resolve);
      // Without either of the two, as after an upgrade that nobody asked for.
      outgoing.on("close", () => reject(new Error("the connection has ended")));
      outgoing.end();
    });
    // Whoever reads it is told; nobody may be reading yet.
    response.on("error", () => {});
    response.once("close", () => connection.destroy());
    const { statusCode: status = 0 } = response;
    if (status >= 200 && status < 300) return response;
    const body = await readBody(response, MAX_ERROR);
    throw new EngineError(errorMessage(body) || `the engine answers with status ${status}`, status);
  }

  #connect(signal: AbortSignal): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const aborted = () => reject(signal.reason);
      if (signal.aborted) {
        aborted();
        return;
      }
      signal.addEventListener("abort", aborted, { once: true });
      this.#dial().then((connection) => {
        signal.removeEventListener("abort", aborted);
        // Its errors are those of the request, but it may have one when that is over.
        connection.on("error", () => {});
        if (signal.aborted) connection.destroy();
        else resolve(connection);
      }, reject);
    });
  }
}

async function* readEvents(response: IncomingMessage, ended: () => void): AsyncIterable<EngineEvent> {
  const lines = new JsonLines();
  try {
    for await (const bytes of response) {
      for (const value of lines.push(bytes as Buffer)) {
        const event = readEngineEvent(value);
        if (event !== null) yield event;
      }
    }
  } finally {
    response.destroy();
    ended();
  }
}

async function readBody(response: IncomingMessage, limit: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const bytes of response) {
    const part = bytes as Buffer;
    length += part.length;
    if (length > limit) {
      response.destroy();
      throw new EngineError(`an answer is longer than ${limit} bytes`, null);
    }
    parts.push(part);
  }
  return Buffer.concat(parts, length);
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new EngineError("an answer is no JSON text", null);
  }
}

function errorMessage(body: Buffer): string {
  try {
    return textAt(JSON.parse(body.toString()), "message");
  } catch {
    return "";
  }
}

/** The version of the API that an engine is asked in. */
function chooseVersion(lowest: string, highest: string): string {
  const isBelow = (one: string, other: string) => versionNumber(one) < versionNumber(other);
  if (versionNumber(highest) > 0 && isBelow(highest, API_VERSION)) return highest;
  return isBelow(API_VERSION, lowest) ? lowest : API_VERSION;
}

/** A number by which versions can be compared; 0 for what is none. */
function versionNumber(version: string): number {
  const match = /^(\d{1,3})\.(\d{1,3})$/.exec(version);
  return match === null ? 0 : Number(match[1]) * 1000 + Number(match[2]);
}
