import { at, elementsAt, numberAt, textAt } from "../engine/json-value.ts";

/** A port that the nodes of a swarm have for a service, whichever of them its containers are on. */
export interface IngressPort {
  readonly protocol: string;
  readonly servicePort: number;
  readonly port: number;
}

export interface ServicePorts {
  readonly id: string;
  readonly name: string;
  readonly ports: readonly IngressPort[];
}

/**
 * Reads the list of a swarm's services. Ports of the mode `host` are those of containers, and not among these. `Endpoint` has
 * the ports that were given to the service, `Spec` those that it asked for, of which some may be of the swarm's choice.
 */
export function readServices(value: unknown): ServicePorts[] {
  return elementsAt(value).flatMap((service) => {
    const id = textAt(service, "ID");
    if (!/^[0-9a-z]{1,64}$/.test(id)) return [];
    const ports = elementsAt(service, "Endpoint", "Ports").flatMap((row) => {
      const port = numberAt(row, "PublishedPort");
      const isIngress = at(row, "PublishMode") !== "host";
      if (!isIngress || !Number.isInteger(port) || port < 1 || port > 65_535) return [];
      const protocol = textAt(row, "Protocol").toLowerCase() || "tcp";
      return [{ protocol, servicePort: numberAt(row, "TargetPort"), port }];
    });
    return [{ id, name: textAt(service, "Spec", "Name"), ports }];
  });
}
