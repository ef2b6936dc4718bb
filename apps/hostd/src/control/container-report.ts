/** What the control API tells of containers. */
import type { PortReport, RunningContainer } from "@hostd/docker";
import * as z from "zod";
import type { DnsService } from "../dns/service.ts";
import type { NamedEngine } from "../docker/container-names.ts";
import type { Reported } from "./report-schema.ts";

const port = z.int().min(0).max(65_535);

const containerPortSchema = z.strictObject({
  protocol: z.string().describe("tcp, udp, or sctp, which cannot be had"),
  address: z.string().describe("Of this host, as it was asked for; empty where none was"),
  port: port.describe("Of this host"),
  containerPort: port.nullable().describe("Of the container; null before it has started"),
  state: z
    .enum(["open", "held", "failed"])
    .describe("held: clients wait for the container; failed: it does not listen"),
  error: z.string().optional().describe("Why it does not listen; it is tried again"),
});

export const containerReportSchema = z.strictObject({
  id: z.string().describe("64 hexadecimal digits"),
  name: z.string().describe("The name that no other container has"),
  composeName: z
    .string()
    .nullable()
    .describe("SERVICE.PROJECT, which several containers may have; null where Compose has not made it for a service"),
  dnsNames: z.array(z.string()).describe("The whole names under which the VM is answered with its addresses"),
  networks: z
    .array(
      z.strictObject({
        name: z.string(),
        addresses: z.array(z.string()).describe("IPv4 before IPv6"),
      }),
    )
    .describe("Those in which it has an address"),
  ports: z.array(containerPortSchema).describe("Its ports of this host"),
});

export const containersSchema = z.strictObject({
  engine: z.string().nullable().describe("Where the Docker engine is; null without docker.listen"),
  vm: z.string().nullable().describe("The VM that it is in; null while there is none, and for a socket of this host"),
  zone: z.string().nullable().describe("The domain of dnsNames; null without docker.zone"),
  isKnown: z.boolean().describe("Whether the engine has said which containers run, and was there within 30 seconds"),
  containers: z.array(containerReportSchema).describe("Those that run, by name"),
});

export type ContainerReport = Reported<typeof containerReportSchema>;
export type ContainersReport = Reported<typeof containersSchema>;

/**
 * @param engine - null when there is none.
 * @param name - only those of this name, or of this id or the beginning of it; null for all.
 */
export function containersReport(
  engine: NamedEngine | null,
  dns: Pick<DnsService, "hasContainer">,
  name: string | null,
): ContainersReport {
  if (engine === null) return { engine: null, vm: null, zone: null, isKnown: false, containers: [] };
  const { address, zone, directory } = engine;
  const vm = engine.vm() ?? null;
  const known = directory.list();
  const ports = Map.groupBy(engine.ports(), ({ owner }) => owner);
  const containers = (name === null ? known : directory.find(name)) ?? [];
  return {
    engine: address,
    vm,
    zone: zone ?? null,
    isKnown: known !== null,
    containers: containers.map((container) => ({
      id: container.id,
      name: container.name,
      composeName: container.composeName,
      dnsNames:
        zone === undefined
          ? []
          : namesOf(container, directory)
              .map((each) => `${each}.${zone}`.toLowerCase())
              .filter((whole) => dns.hasContainer(whole, vm ?? "")),
      networks: container.networks,
      ports: (ports.get(container.name) ?? []).map(portReport),
    })),
  };
}

/** The names of a container that are not another one's alone. */
function namesOf(container: RunningContainer, { names }: NamedEngine["directory"]): string[] {
  return [container.name, container.composeName].flatMap((name) => {
    return name !== null && names.get(name.toLowerCase())?.includes(container) === true ? [name] : [];
  });
}

function portReport({ owner: _, ...port }: PortReport): ContainerReport["ports"][number] {
  return port;
}
