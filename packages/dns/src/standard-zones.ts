import type { Ipv4 } from "@hostd/stack";
import type { Zone } from "./zones.ts";

/** The addresses that the names of {@link standardZones} stand for. */
export interface StandardAddresses {
  /** The address that stands for the loopback address of the host. */
  readonly host: Ipv4;
  readonly gateway: Ipv4;
}

/** The names that Docker Desktop and Podman machines answer for the host, the gateway and the VM that asks. */
export function standardZones({ host, gateway }: StandardAddresses): Zone[] {
  const shared = [
    { name: "host", type: "A", address: host },
    { name: "gateway", type: "A", address: gateway },
  ] as const;
  return [
    {
      name: "docker.internal",
      records: [...shared, { name: "vm", type: "A", address: (context) => context.vmAddress }],
    },
    { name: "containers.internal", records: shared },
  ];
}
