/** gvproxy's notifications: what happens is told to a Unix socket on which somebody else listens. */
import { connect } from "node:net";
import type { EventHub } from "../control/event-hub.ts";
import type { Logger } from "../logging.ts";

/** A message, as it is written in JSON. */
export type Notification =
  | { readonly notification_type: "ready" | "hypervisor_error" }
  | { readonly notification_type: "connection_established" | "connection_closed"; readonly mac_address: string };

/** Messages that wait for the socket; further ones are dropped. */
const QUEUE_LENGTH = 100;
/** How long one message may take, in milliseconds. */
const SEND_TIME = 5000;
/** How long the end may wait for what is not sent yet, in milliseconds. */
const CLOSE_TIME = 1000;

/** Sends one message after the other, each over a connection of its own: a line of JSON. */
export class NotificationSender {
  readonly #path: string;
  readonly #logger: Logger;
  readonly #queue: Notification[] = [];
  #sending: Promise<void> | null = null;

  constructor(path: string, logger: Logger) {
    this.#path = path;
    this.#logger = logger;
  }

  /** Sends a message, some time. One that cannot be sent is logged. */
  send(notification: Notification): void {
    if (this.#queue.length >= QUEUE_LENGTH) {
      this.#logger.warn(
        { notification: notification.notification_type, limit: QUEUE_LENGTH },
        "a notification was dropped: too many wait",
      );
      return;
    }
    this.#queue.push(notification);
    this.#sending ??= this.#sendAll();
  }

  /** Tells of the VMs: that one is there once it is known by its MAC address, and that it is gone. */
  follow(events: EventHub): void {
    const macs = new Map<string, string>();
    events.listen((event) => {
      if (event.type === "vm.address" && !macs.has(event.vm)) {
        macs.set(event.vm, event.mac);
        this.send({ notification_type: "connection_established", mac_address: event.mac });
      }
      if (event.type !== "vm.detached") return;
      const mac = macs.get(event.vm);
      macs.delete(event.vm);
      if (mac !== undefined) this.send({ notification_type: "connection_closed", mac_address: mac });
    });
  }

  /** Waits until everything is sent, but not for long. */
  async close(): Promise<void> {
    if (this.#sending === null) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, CLOSE_TIME);
    await Promise.race([this.#sending, promise]);
    clearTimeout(timer);
  }

  async #sendAll(): Promise<void> {
    for (;;) {
      const notification = this.#queue.shift();
      if (notification === undefined) break;
      try {
        await sendLine(this.#path, JSON.stringify(notification));
      } catch (error) {
        const { message } = error as Error;
        this.#logger.warn(
          { notification: notification.notification_type },
          `a notification could not be sent: ${message}`,
        );
      }
    }
    this.#sending = null;
  }
}

/** @throws when nobody takes it. */
async function sendLine(path: string, line: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = connect(path);
    socket.setTimeout(SEND_TIME, () => socket.destroy(new Error(`${path} took nothing within 5 seconds`)));
    socket.once("error", reject);
    socket.once("close", () => resolve());
    // Nothing is to come back, so its end is not waited for.
    socket.end(`${line}\n`, () => socket.destroy());
  });
}
