/** A zone that the control API is given. */
import type { Zone } from "@hostd/dns";
import { RequestError } from "../api/problem.ts";
import { ConfigError } from "../config/problems.ts";
import { resolveConfig } from "../config/resolve.ts";

/** How the configuration calls the zone of a request. */
const PLACE = "dns.zones[0]";

/**
 * Reads a zone as the configuration writes it, with `vm` for the VM that alone has it.
 *
 * @throws {RequestError} with everything that does not fit.
 */
export function readZoneRequest(body: unknown): Zone {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new RequestError(
      'a zone is an object such as {"name": "lab.internal", "records": [{"name": "db", "address": "192.168.65.3"}]}',
    );
  }
  const { vm, ...zone } = { vm: undefined, ...body };
  if (vm !== undefined && typeof vm !== "string") throw new RequestError("vm is the name of a VM, as text");
  try {
    const label = (_: unknown, key: string) => `zone${key.slice(PLACE.length)}`;
    const input = { dns: { zones: [zone] } };
    const [read] = resolveConfig([{ input, base: process.cwd(), label }]).dns.zones;
    return vm === undefined ? read : { ...read, link: vm };
  } catch (error) {
    if (error instanceof ConfigError) throw new RequestError(error.message);
    throw error;
  }
}
