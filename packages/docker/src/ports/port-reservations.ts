import type { Logger } from "@hostd/streams";
import type { AskedPort, ContainerPorts } from "./container-ports.ts";
import { Hold, PortHoldError } from "./host-ports.ts";
import type { PortKeeper } from "./port-keeper.ts";
import type { HostPort } from "./port-publisher.ts";
import { portRefusal, UNSUPPORTED_PROTOCOL } from "./port-refusal.ts";

/** What becomes of a request to start a container. */
export type Reservation =
  /** It goes to the engine. */
  | {
      readonly kind: "reserved";
      /**
       * Has to be called once with the status of the engine's answer, null when there is none. When it is fulfilled the
       * ports are those that the container has.
       */
      after(status: number | null): Promise<void>;
    }
  /** The engine is not to be asked. */
  | { readonly kind: "refused"; readonly status: number; readonly message: string };

const NOTHING: Reservation = { kind: "reserved", after: async () => {} };

/**
 * Has the ports of the host before the engine starts a container, so that one that cannot be had is an error of that request.
 */
export class PortReservations {
  readonly #keeper: PortKeeper;
  readonly #logger: Logger;

  constructor(keeper: PortKeeper, logger: Logger) {
    this.#keeper = keeper;
    this.#logger = logger;
  }

  /**
   * Is called before a request goes to the engine. Does not throw.
   *
   * @param container - its name, or its id or the beginning of it, as the request has it.
   * @param request - of which of the two requests it is.
   */
  async before(container: string, request: "start" | "restart"): Promise<Reservation> {
    let ports: ContainerPorts | null;
    try {
      ports = await this.#keeper.inspect(container);
    } catch (error) {
      // The engine may still do what it is asked, and its events tell then.
      this.#logger.debug(
        { container, reason: String(error) },
        "the ports of a container are not known before it starts",
      );
      return NOTHING;
    }
    // The engine has its own words for what does not exist, and does nothing about what runs.
    if (ports === null || (request === "start" && ports.isStarted)) return NOTHING;
    return await this.#reserve(ports);
  }

  async #reserve(container: ContainerPorts): Promise<Reservation> {
    for (const { protocol, address, first } of container.asked) {
      if (protocol === "tcp" || protocol === "udp") continue;
      return refusal(portRefusal(protocol, address, first, UNSUPPORTED_PROTOCOL));
    }
    const hold = new Hold(container.asked.flatMap(fixedPort));
    try {
      await this.#keeper.hold(container, hold);
    } catch (error) {
      if (!(error instanceof PortHoldError)) throw error;
      const { protocol, address, port } = error.host;
      return refusal(portRefusal(protocol, address, port, error.cause));
    }
    return { kind: "reserved", after: (status) => this.#keeper.unhold(container, hold, status === 204) };
  }
}

function refusal(message: string): Reservation {
  return { kind: "refused", status: 500, message };
}

/** The port of the host, unless it is of the engine's choice. */
function fixedPort({ protocol, address, first, last }: AskedPort): HostPort[] {
  const isFixed = first === last && first > 0;
  return isFixed && (protocol === "tcp" || protocol === "udp") ? [{ protocol, address, port: first }] : [];
}
