import { formatAddress } from "./host-address.ts";
import { PortUnavailableError } from "./port-publisher.ts";

/** What every message begins with. People search for it, and programs look for it. */
const PREFIX = "ports are not available: exposing port";

/**
 * Says in the words of Docker Desktop that a port of the host cannot be had.
 *
 * @param protocol - in any case.
 * @param address - as the container asked for it.
 */
export function portRefusal(protocol: string, address: string, port: number, error: unknown): string {
  const reason = error instanceof PortUnavailableError ? error.goMessage : String((error as Error)?.message ?? error);
  // Where a port without an address would have listened, only that says.
  const listened = /^listen [a-z]+[46]? (\S+): /.exec(reason)?.[1];
  const where = listened ?? formatAddress(address === "" ? "0.0.0.0" : address, port);
  return `${PREFIX} ${protocol.toUpperCase()} ${where} -> 127.0.0.1:0: ${reason}`;
}

/** Why a port of another protocol cannot be had. */
export const UNSUPPORTED_PROTOCOL = new Error("this protocol is not supported, only TCP and UDP are");
