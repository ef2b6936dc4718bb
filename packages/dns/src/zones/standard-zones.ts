import type { Ipv4 } from "@hostd/stack";
import type { Zone, ZoneRecord } from "./zone.ts";

/** The addresses that the names of {@link standardZones} stand for. */
export interface StandardAddresses {
  /** The address that stands for the loopback address of the host. */
  readonly host: Ipv4;
  readonly gateway: Ipv4;
}

/** Programs whose names for the host may be answered too. */
export const NAME_ALIASES = ["docker-legacy", "lima", "orbstack", "rancher-desktop"] as const;

export type NameAlias = (typeof NAME_ALIASES)[number];

/**
 * The names that Docker Desktop and Podman machines answer for the host, the gateway, the VM that asks and the HTTP
 * proxy on the gateway, and those of other programs.
 */
export function standardZones({ host, gateway }: StandardAddresses, aliases: readonly NameAlias[] = []): Zone[] {
  const a = (name: string, address: Ipv4): ZoneRecord => ({ name, type: "A", address });
  const shared = [a("host", host), a("gateway", gateway)];
  const vm: ZoneRecord = { name: "vm", type: "A", address: (context) => context.vmAddress };
  const ofAlias: Record<NameAlias, () => Zone[]> = {
    "docker-legacy": () =>
      ["mac", "win"].flatMap((system) => [
        { name: `docker.for.${system}.localhost`, records: [a("@", host)] },
        { name: `docker.for.${system}.host.internal`, records: [a("@", host)] },
        { name: `docker.for.${system}.gateway.internal`, records: [a("@", gateway)] },
      ]),
    lima: () => [{ name: "lima.internal", records: [a("host", host)] }],
    orbstack: () => [{ name: "orb.internal", records: [a("host", host)] }],
    "rancher-desktop": () => [{ name: "rancher-desktop.internal", records: shared }],
  };
  return [
    { name: "docker.internal", records: [...shared, vm, a("http", gateway), a("kubernetes", host)] },
    { name: "containers.internal", records: shared },
    ...aliases.flatMap((alias) => ofAlias[alias]()),
  ];
}
