import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import {
  type BodyScanner,
  HeadReader,
  MessageError,
  makeBodyScanner,
  type RequestHead,
  type ResponseHead,
  readRequestHead,
  requestFraming,
} from "@hostd/http1";
import { after, type Clock, HeldReader, rescueUnread } from "@hostd/streams";
import { BodyCollector } from "./body-collector.ts";
import {
  type EngineAnswer,
  type EngineExchange,
  type JudgedRequest,
  type LocalExchange,
  readAnswer,
  type SentRequest,
} from "./exchange.ts";
import { writeHttp2Refusal } from "./http2-refusal.ts";
import type { Answered, Interceptor, Verdict } from "./intercept.ts";
import {
  CONTINUE,
  expectsContinue,
  isLastRequest,
  type LocalAnswer,
  withLength,
  withoutExpect,
  writeAnswer,
} from "./local-answer.ts";

/** How the preface of HTTP/2 with prior knowledge begins, which has the form of a head (RFC 9113, 3.4). */
const HTTP2_HEAD = Buffer.from("PRI * HTTP/2.0\r\n\r\n");
/** Requests of one client that wait for their answers, beyond which no more are read. */
const MAX_PIPELINED = 64;
/** How long a client that has its last answer may go on sending, in milliseconds. */
const LINGER_TIME = 5_000;
const EMPTY = Buffer.alloc(0);

export interface ProxiedConnectionOptions {
  readonly intercept: Interceptor;
  /** Says why HTTP/2 with prior knowledge does not pass; null when it does. */
  readonly refuseHttp2: () => string | null;
  /** Whether a request without `Upgrade` may still turn its connection into a stream, as attaching does. */
  readonly mayHijack: (head: RequestHead) => boolean;
  /** Opens a connection to the engine, both ends of which may close alone. */
  readonly dial: () => Promise<Duplex>;
  /** What a client is answered when there is no engine. */
  readonly unreachable: (error: unknown) => LocalAnswer;
  readonly clock: Clock;
  /** Both connections are closed. Called once. */
  readonly closed: () => void;
}

/**
 * A client's connection and one of its own to the engine. Bytes pass as they came. Heads are read as they pass, so that it
 * is known which request is which, and where a body ends; a request that is looked at waits for its verdict.
 */
export class ProxiedConnection {
  readonly #options: ProxiedConnectionOptions;
  readonly #client: Socket;
  readonly #fromClient: HeldReader<"next request" | "verdict" | "dialling" | "engine full" | "client full">;
  #engine: Duplex | null = null;
  #fromEngine: HeldReader<"telling" | "client full"> | null = null;
  #isDialling = false;
  /** What goes to the engine once it is dialled. */
  #unsent: Buffer[] = [];

  readonly #requestHead = new HeadReader();
  #isFirstHead = true;
  /** The request that is looked at, while its body comes. */
  #judged: JudgedRequest | null = null;
  /** The request whose body passes. */
  #sending: SentRequest | null = null;
  /** The request whose answer decides whether what follows is a request too. */
  #upgrading: EngineExchange | null = null;
  /** The client's last answer is decided, so what it sends is not looked at any more. */
  #isRefused = false;

  /** In the order of the answers. */
  readonly #exchanges: (EngineExchange | LocalExchange)[] = [];
  readonly #responseHead = new HeadReader();
  #responseBody: BodyScanner | null = null;
  #hasEngineAnswered = false;
  #hasEngineEnded = false;
  #hasEngineClosed = false;

  /** HTTP is over: bytes pass as they are. */
  #isRaw = false;
  /** Nothing passes any more, and the connections end. */
  #isOver = false;
  #isClosed = false;
  #stopLinger: (() => void) | null = null;

  constructor(client: Socket, options: ProxiedConnectionOptions) {
    this.#client = client;
    this.#options = options;
    this.#fromClient = new HeldReader(client, {
      take: (bytes, start) => this.#takeFromClient(bytes, start),
      finished: (by) => {
        if (by === "end") this.#clientEnded();
      },
    });
    client.on("error", () => {});
    client.on("end", () => {
      // A Unix socket that its peer has closed reads like one that is half closed, but takes no byte any more.
      if (client.writable) client.write(EMPTY);
    });
    client.on("drain", () => {
      this.#fromEngine?.release("client full");
      this.#fromClient.release("client full");
    });
    client.on("close", () => this.#clientClosed());
  }

  /** Ends both connections at once. */
  destroy(): void {
    this.#stop();
    this.#client.destroy();
    this.#engine?.destroy();
  }

  #takeFromClient(bytes: Buffer, start: number): number {
    let at = start;
    try {
      while (at < bytes.length && !this.#fromClient.isHeld && !this.#isRefused && !this.#isOver) {
        at = this.#advanceRequest(bytes, at);
      }
    } catch (error) {
      this.#refuse(error instanceof MessageError ? error : new MessageError(messageOf(error), 500));
    }
    return this.#isRefused || this.#isOver ? bytes.length : at;
  }

  /** @returns up to where the bytes were taken. */
  #advanceRequest(bytes: Buffer, start: number): number {
    if (this.#isRaw) {
      this.#toEngine(bytes.subarray(start));
      return bytes.length;
    }
    if (this.#judged?.body) {
      const end = this.#judged.body.take(bytes, start);
      if (this.#judged.body.isOver) void this.#judge(this.#judged);
      return end;
    }
    if (this.#sending !== null) {
      const { body } = this.#sending;
      const end = body.scan(bytes, start);
      if (body.isOver) this.#sending = null;
      this.#toEngine(bytes.subarray(start, end));
      return end;
    }
    if (this.#upgrading !== null || this.#exchanges.length >= MAX_PIPELINED) {
      this.#fromClient.hold("next request");
      return start;
    }
    const end = this.#requestHead.read(bytes, start);
    if (this.#requestHead.isTooLong) throw new MessageError("the head of the request is too long", 431);
    if (this.#requestHead.isComplete) this.#takeRequest(this.#requestHead.take());
    return end;
  }

  #takeRequest(bytes: Buffer): void {
    const isHttp2 = this.#isFirstHead && bytes.equals(HTTP2_HEAD);
    this.#isFirstHead = false;
    if (isHttp2) {
      const reason = this.#options.refuseHttp2();
      if (reason !== null) {
        this.#answer(writeHttp2Refusal(reason), true);
        return;
      }
      this.#isRaw = true;
      this.#toEngine(bytes);
      return;
    }
    const head = readRequestHead(bytes);
    const framing = requestFraming(head);
    const interception = this.#options.intercept(head);
    if (interception === null) {
      this.#send(head, bytes, makeBodyScanner(framing));
      return;
    }
    const { bodyLimit } = interception;
    const body = bodyLimit > 0 ? new BodyCollector(framing, bodyLimit) : null;
    const isRead = body === null || body.isOver;
    const isContinued = !isRead && expectsContinue(head);
    this.#judged = { head, bytes, interception, body, isContinued };
    if (isContinued) this.#answer(CONTINUE);
    if (isRead) void this.#judge(this.#judged);
  }

  /** Sends a request's head to the engine, and has its body follow as it comes. */
  #send(head: RequestHead, bytes: Buffer, body: BodyScanner | null, answered: Answered | null = null): void {
    const mayUpgrade =
      head.method === "CONNECT" ||
      head.fields.all("upgrade").length > 0 ||
      head.fields.lists("connection", "upgrade") ||
      this.#options.mayHijack(head);
    const exchange: EngineExchange = { kind: "engine", head, mayUpgrade, answered };
    this.#exchanges.push(exchange);
    if (mayUpgrade) this.#upgrading = exchange;
    if (body !== null && !body.isOver) this.#sending = { exchange, body };
    this.#toEngine(bytes);
  }

  /** Has a request wait for its verdict, and goes on by it. */
  async #judge(judged: JudgedRequest): Promise<void> {
    this.#fromClient.hold("verdict");
    const verdict = await decide(judged);
    this.#judged = null;
    if (!this.#isOver) this.#follow(verdict, judged);
    else if (verdict.kind !== "answer") void tell(verdict.answered, null);
    this.#fromClient.release("verdict");
  }

  #follow(verdict: Verdict, { head, bytes, body, isContinued }: JudgedRequest): void {
    if (verdict.kind === "answer") {
      const bodyIsRead = body !== null || makeBodyScanner(requestFraming(head)).isOver;
      const isLast = !bodyIsRead || isLastRequest(head);
      this.#answer(writeAnswer(verdict, head, isLast), isLast);
      return;
    }
    const { answered = null } = verdict;
    if (verdict.kind === "rewrite") {
      this.#send(head, withLength(bytes, verdict.body.length), null, answered);
      this.#toEngine(verdict.body);
    } else if (body === null) {
      this.#send(head, bytes, makeBodyScanner(requestFraming(head)), answered);
    } else {
      this.#send(head, isContinued ? withoutExpect(bytes) : bytes, null, answered);
      this.#toEngine(body.raw);
    }
  }

  /** Ends a connection whose requests cannot be understood any more. */
  #refuse(error: MessageError): void {
    const sent = this.#sending?.exchange;
    this.#judged = null;
    if (sent !== undefined) {
      // The engine has a part of the request, which nothing may follow. It is not answered twice.
      const hasBegun = sent === this.#exchanges[0] && this.#isAnswering;
      if (hasBegun || !this.#exchanges.includes(sent)) {
        this.#finish();
        return;
      }
      this.#exchanges.pop();
      void this.#tell(sent, null);
    }
    this.#answer(writeAnswer(error, null, true), true);
  }

  /** Answers the client when it is this request's turn. */
  #answer(bytes: Buffer, isLast = false): void {
    if (isLast) this.#isRefused = true;
    this.#exchanges.push({ kind: "local", bytes, isLast });
    this.#sendLocalAnswers();
  }

  #sendLocalAnswers(): void {
    for (let next = this.#exchanges[0]; next?.kind === "local"; next = this.#exchanges[0]) {
      this.#exchanges.shift();
      // Who does not read such answers may not cause more of them.
      if (this.#client.writable && !this.#client.write(next.bytes)) this.#fromClient.hold("client full");
      if (next.isLast) this.#finish();
    }
  }

  #toEngine(bytes: Buffer): void {
    if (bytes.length === 0) return;
    const engine = this.#engine;
    if (engine === null) {
      // The client is not heard until there is a connection, so this is little.
      this.#unsent.push(bytes);
      if (!this.#isDialling) void this.#dial();
    } else if (engine.writable && !engine.write(bytes)) {
      this.#fromClient.hold("engine full");
    }
  }

  async #dial(): Promise<void> {
    this.#isDialling = true;
    this.#fromClient.hold("dialling");
    try {
      const engine = await this.#options.dial();
      engine.on("error", () => {});
      if (engine.destroyed) throw engine.errored ?? new Error("the connection was closed at once");
      if (this.#isOver) engine.destroy();
      else this.#attach(engine);
    } catch (error) {
      if (!this.#isOver) this.#answerUnreachable(error);
    }
    this.#isDialling = false;
    this.#fromClient.release("dialling");
  }

  #answerUnreachable(error: unknown): void {
    const request = this.#exchanges.find((exchange) => exchange.kind === "engine");
    if (this.#isRaw || request === undefined) {
      this.#finish();
      return;
    }
    this.#abandonExchanges();
    this.#answer(writeAnswer(this.#options.unreachable(error), request.head, true), true);
  }

  #attach(engine: Duplex): void {
    this.#engine = engine;
    const reader = new HeldReader<"telling" | "client full">(engine, {
      take: (bytes, start) => this.#takeFromEngine(bytes, start),
      finished: (by) => (by === "end" ? this.#engineEnded() : this.#engineClosed()),
    });
    this.#fromEngine = reader;
    rescueUnread(engine, (bytes) => reader.add(bytes));
    engine.on("drain", () => this.#fromClient.release("engine full"));
    engine.on("close", () => {
      this.#hasEngineClosed = true;
      this.#checkClosed();
    });
    for (const bytes of this.#unsent.splice(0)) this.#toEngine(bytes);
  }

  #takeFromEngine(bytes: Buffer, start: number): number {
    let at = start;
    this.#hasEngineAnswered = true;
    while (at < bytes.length && !this.#fromEngine?.isHeld && !this.#isOver) {
      at = this.#advanceResponse(bytes, at);
    }
    return this.#isOver ? bytes.length : at;
  }

  /** @returns up to where the bytes were taken. */
  #advanceResponse(bytes: Buffer, start: number): number {
    if (this.#isRaw) {
      this.#toClient(bytes.subarray(start));
      return bytes.length;
    }
    try {
      if (this.#responseBody !== null) {
        const end = this.#responseBody.scan(bytes, start);
        this.#toClient(bytes.subarray(start, end));
        if (this.#responseBody.isOver) this.#finishResponse();
        return end;
      }
    } catch {
      this.#passWhatComes(EMPTY);
      return start;
    }
    const end = this.#responseHead.read(bytes, start);
    if (this.#responseHead.isTooLong) this.#passWhatComes(this.#responseHead.take());
    else if (this.#responseHead.isComplete) this.#takeResponse(this.#responseHead.take());
    return end;
  }

  /** An answer is not as HTTP has it. The client gets it and what follows, and makes of it what it can. */
  #passWhatComes(bytes: Buffer): void {
    this.#toClient(bytes);
    this.#responseBody = makeBodyScanner({ kind: "close" });
  }

  #takeResponse(bytes: Buffer): void {
    const exchange = this.#exchanges[0];
    let answer: EngineAnswer;
    try {
      if (exchange?.kind !== "engine") throw new MessageError("an answer to nothing");
      answer = readAnswer(bytes, exchange);
    } catch {
      this.#passWhatComes(bytes);
      return;
    }
    const told = answer.follows === "answer" ? null : this.#tell(exchange, answer.head);
    if (told === null) {
      this.#passResponse(exchange, answer, bytes);
      return;
    }
    this.#fromEngine?.hold("telling");
    void told.then(() => {
      if (!this.#isOver) this.#passResponse(exchange, answer, bytes);
      this.#fromEngine?.release("telling");
    });
  }

  #passResponse(exchange: EngineExchange, answer: EngineAnswer, bytes: Buffer): void {
    this.#toClient(bytes);
    if (answer.follows === "answer") return;
    if (answer.follows === "stream") {
      this.#isRaw = true;
      this.#exchanges.length = 0;
    } else {
      this.#responseBody = makeBodyScanner(answer.follows);
      if (this.#responseBody.isOver) this.#finishResponse();
    }
    if (this.#upgrading !== exchange) return;
    this.#upgrading = null;
    this.#fromClient.release("next request");
  }

  #finishResponse(): void {
    this.#responseBody = null;
    this.#exchanges.shift();
    this.#sendLocalAnswers();
    this.#fromClient.release("next request");
  }

  #toClient(bytes: Buffer): void {
    if (bytes.length > 0 && this.#client.writable && !this.#client.write(bytes)) this.#fromEngine?.hold("client full");
  }

  /** Whether a part of the engine's answer to the first request was read. */
  get #isAnswering(): boolean {
    return (
      this.#responseBody !== null || this.#responseHead.hasBegun || this.#fromEngine?.isHeldFor("telling") === true
    );
  }

  #clientEnded(): void {
    if (this.#isOver || this.#isRefused) return;
    if (this.#judged !== null || this.#requestHead.hasBegun) {
      this.#refuse(new MessageError("the request is cut off"));
    } else if (this.#engine !== null) {
      this.#engine.end();
    } else {
      this.#client.end();
    }
  }

  #clientClosed(): void {
    this.#stopLinger?.();
    // After both ends in their order the engine may still have to take what came before.
    if (!this.#client.readableEnded || !this.#client.writableFinished) this.#stop();
    this.#checkClosed();
  }

  #engineEnded(): void {
    this.#hasEngineEnded = true;
    this.#toClient(this.#responseHead.take());
    this.#abandonExchanges();
    // The answer that was to be the last has no turn any more.
    if (this.#isRefused) this.#finish();
    else this.#client.end();
  }

  #engineClosed(): void {
    if (this.#hasEngineEnded) {
      this.#finish();
    } else if (!this.#hasEngineAnswered) {
      this.#answerUnreachable(this.#engine?.errored ?? new Error("the connection was closed without an answer"));
    } else {
      // A reset is passed on, except behind a whole answer, which may come before the end of its request.
      const isCutOff = this.#isRaw || this.#isAnswering;
      this.#toClient(this.#responseHead.take());
      this.#finish(isCutOff ? 0 : LINGER_TIME);
    }
  }

  /**
   * Ends the connection to the engine, and that of the client when it has all that was written. What a client sends that
   * has not read its last answer yet would have the kernel drop that (RFC 9112, 9.6), so it is taken a while longer.
   */
  #finish(lingerTime = LINGER_TIME): void {
    if (this.#isOver) return;
    this.#stop();
    const client = this.#client;
    const linger = () => {
      if (lingerTime === 0) client.destroy();
      else if (!client.closed) this.#stopLinger = after(this.#options.clock, lingerTime, () => client.destroy());
    };
    if (client.writableFinished) linger();
    else client.once("finish", linger);
    client.end();
  }

  /** Has nothing pass any more, and ends the connection to the engine. */
  #stop(): void {
    this.#isOver = true;
    this.#abandonExchanges();
    this.#fromClient.discard();
    this.#fromEngine?.discard();
    const engine = this.#engine;
    if (engine === null || engine.destroyed) return;
    // What it does not take is not waited for. What it takes is sent before the end, which may drop what is on its way.
    if (engine.writableEnded || engine.writableLength > 0) engine.destroy();
    else engine.end(() => setImmediate(() => engine.destroy()));
  }

  #abandonExchanges(): void {
    for (const exchange of this.#exchanges.splice(0)) {
      if (exchange.kind === "engine") void this.#tell(exchange, null);
    }
  }

  /** @returns null when nobody is told. */
  #tell(exchange: EngineExchange, head: ResponseHead | null): Promise<void> | null {
    const { answered } = exchange;
    exchange.answered = null;
    return answered === null ? null : tell(answered, head);
  }

  #checkClosed(): void {
    if (this.#isClosed || !this.#client.closed || (this.#engine !== null && !this.#hasEngineClosed)) return;
    this.#isClosed = true;
    this.#options.closed();
  }
}

async function decide({ interception, body }: JudgedRequest): Promise<Verdict> {
  try {
    const verdict = await interception.decide(body?.content ?? EMPTY);
    if (verdict.kind === "rewrite" && body === null) throw new TypeError("the body that is replaced was not read");
    return verdict;
  } catch (error) {
    return { kind: "answer", status: 500, message: messageOf(error) };
  }
}

async function tell(answered: Answered | undefined, head: ResponseHead | null): Promise<void> {
  try {
    await answered?.(head);
  } catch {
    // The client gets the engine's answer whatever becomes of what follows from it.
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
