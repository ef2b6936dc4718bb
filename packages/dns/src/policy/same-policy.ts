import { isDeepStrictEqual } from "node:util";
import type { Policy } from "./policy.ts";

/** The earlier of two policies when both say the same, so that it is no change. */
export function unlessChanged(earlier: Policy | null, later: Policy): Policy {
  const isSame =
    earlier !== null &&
    isDeepStrictEqual(earlier.search, later.search) &&
    isDeepStrictEqual(earlier.routes.routes, later.routes.routes);
  return isSame ? earlier : later;
}
