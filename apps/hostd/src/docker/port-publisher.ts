import { isIPv6 } from "node:net";
import { type HostPort, type PortPublisher, PortUnavailableError, type PublishedPort } from "@hostd/docker";
import { BindError, BindRefusedError, type ForwardRule, formatListen, type GuestTarget } from "@hostd/portfwd";
import { parseIpv4 } from "@hostd/stack";
import type { Reach } from "../config/docker-schema.ts";
import type { ForwardBook } from "../forwards/forward-book.ts";
import { whyUnreachable } from "./port-rules.ts";

/** What a forward leads to before it is told: nowhere, by {@link PublishedPort.lead}. */
const NOWHERE: GuestTarget = { address: null, port: 1 };

/** Publishes the ports of containers as forwards. */
export class ForwardPublisher implements PortPublisher {
  readonly #forwards: ForwardBook;
  readonly #defaultAddress: () => string;
  readonly #reach: Reach;

  /**
   * @param defaultAddress - where a port without an address listens; empty for every address.
   * @param reach - where the ports lead.
   */
  constructor(forwards: ForwardBook, defaultAddress: () => string, reach: Reach) {
    this.#forwards = forwards;
    this.#defaultAddress = defaultAddress;
    this.#reach = reach;
  }

  async publish(host: HostPort, owner: string): Promise<PublishedPort> {
    const { protocol, port } = host;
    const unreachable = this.#reach === "vm" ? whyUnreachable(host.address) : null;
    if (unreachable !== null) throw new PortUnavailableError(unreachable, unreachable);
    const address = host.address === "" ? this.#defaultAddress() : host.address;
    const rule: ForwardRule = { protocol, listen: { host: address, port }, to: NOWHERE };
    try {
      const entry = await this.#forwards.open(rule, { origin: "docker", owner, isHeld: true });
      const { forward, id } = entry;
      if (forward === null) throw new Error(`${id} does not listen`);
      const { listening } = forward;
      return {
        host: { ...host, port: "port" in listening ? listening.port : port },
        lead: (to) =>
          forward.retarget(
            to === null ? null : { address: to.address === null ? null : parseIpv4(to.address), port: to.port },
          ),
        release: async () => void (await this.#forwards.remove(id)),
      };
    } catch (error) {
      throw unavailable({ ...host, address }, error);
    }
  }
}

/** The words of Docker Desktop for a port that cannot be had. */
function unavailable({ protocol, address, port }: HostPort, error: unknown): unknown {
  if (error instanceof BindRefusedError) return new PortUnavailableError(error.message, error.message);
  if (!(error instanceof BindError)) return error;
  // Every address is `0.0.0.0` in Docker's words.
  const network = `${protocol}${isIPv6(address) ? 6 : 4}`;
  const where = formatListen({ host: address === "" ? "0.0.0.0" : address, port });
  return new PortUnavailableError(error.message, `listen ${network} ${where}: bind: ${error.reason}`);
}
