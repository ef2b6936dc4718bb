import type { EmbeddedGuest } from "@hostd/guest";
import { Conversation, encodeRequest } from "../../gvproxy/ask.ts";
import { GATEWAY } from "./lab.ts";

const HTTP_PORT = 80;

export interface GuestReply {
  readonly status: number;
  readonly body: string;
}

/** Asks the API on the gateway from inside of a VM; the requests go over one connection. */
export class GuestClient {
  readonly #conversation: Conversation;

  private constructor(conversation: Conversation) {
    this.#conversation = conversation;
  }

  static async connect(guest: EmbeddedGuest): Promise<GuestClient> {
    return new GuestClient(new Conversation(await guest.connect(GATEWAY, HTTP_PORT)));
  }

  async ask(method: string, path: string, body?: unknown): Promise<GuestReply> {
    const request = { method, path, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const answer = await this.#conversation.ask(encodeRequest(request));
    if (answer === "closed") throw new Error("closed without an answer");
    return { status: Number(answer.statusLine.split(" ")[1]), body: answer.body };
  }

  /** Has the VM publish a port. */
  expose(local: string, remote: string, protocol = "tcp"): Promise<GuestReply> {
    return this.ask("POST", "/services/forwarder/expose", { local, remote, protocol });
  }

  unexpose(local: string, protocol = "tcp"): Promise<GuestReply> {
    return this.ask("POST", "/services/forwarder/unexpose", { local, protocol });
  }

  close(): void {
    this.#conversation.close();
  }
}
