import {
  type BodyFraming,
  type BodyScanner,
  MessageError,
  type RequestHead,
  type ResponseHead,
  readResponseHead,
  responseFraming,
} from "@hostd/http1";
import type { BodyCollector } from "./body-collector.ts";
import type { Answered, Interception } from "./intercept.ts";

/** A request that the engine has not answered to its end. */
export interface EngineExchange {
  readonly kind: "engine";
  readonly head: RequestHead;
  /** Whether the answer may turn the connection into a stream of bytes. */
  readonly mayUpgrade: boolean;
  /** Who is told of the answer; null when nobody is, or not any more. */
  answered: Answered | null;
}

/** What is sent to the client when all that came before is answered. */
export interface LocalExchange {
  readonly kind: "local";
  readonly bytes: Buffer;
  /** Whether the connection ends after it. */
  readonly isLast: boolean;
}

/** A request that is looked at. */
export interface JudgedRequest {
  readonly head: RequestHead;
  readonly bytes: Buffer;
  readonly interception: Interception;
  /** Null when the body is not looked at. */
  readonly body: BodyCollector | null;
  /** Whether the client was told to send the body. */
  readonly isContinued: boolean;
}

/** A request whose body passes to the engine. */
export interface SentRequest {
  readonly exchange: EngineExchange;
  readonly body: BodyScanner;
}

/** What an answer of the engine makes of its connection. */
export interface EngineAnswer {
  readonly head: ResponseHead;
  /** An interim answer is followed by another one; a stream is no HTTP any more. */
  readonly follows: "answer" | "stream" | BodyFraming;
}

/**
 * Reads the head of the engine's answer to a request.
 *
 * @throws {MessageError} when it is none, or does not say where it ends.
 */
export function readAnswer(bytes: Buffer, { head: request, mayUpgrade }: EngineExchange): EngineAnswer {
  const head = readResponseHead(bytes);
  const { status } = head;
  if (status === 101) {
    if (!mayUpgrade) throw new MessageError("an upgrade that was not asked for");
    return { head, follows: "stream" };
  }
  if (status < 200) return { head, follows: "answer" };
  const framing = responseFraming(head, request.method);
  // RFC 9112, 6.3; and the engine's own way to attach without an upgrade.
  const isTunnel = request.method === "CONNECT" && status < 300;
  const isHijacked = mayUpgrade && status === 200 && framing.kind === "close";
  return { head, follows: isTunnel || isHijacked ? "stream" : framing };
}
