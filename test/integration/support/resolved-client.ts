/**
 * The program of a ResolvedClient: for each line of names it writes a line of JSON with the policy of the host that it
 * runs on, and what the names resolve to when the servers of that policy are asked.
 */
import { createInterface } from "node:readline";
import { Forwarder } from "@hostd/dns";
import { Type } from "../../../packages/dns/src/message.ts";
import { hostPolicy } from "../../../packages/dns/src/policy/host-policy.ts";
import { newQuery } from "../../../packages/dns/src/query.ts";
import { formatServerAddress } from "../../../packages/dns/src/server-address.ts";
import { decoded } from "../../../packages/dns/src/testing/messages.ts";
import type { InsideReport } from "./resolved-host.ts";

let chosen = "";
const logger = {
  debug: () => {},
  info: (fields: object) => {
    if ("source" in fields) chosen = String(fields.source);
  },
  warn: (fields: object, message: string) => console.error(message, fields),
};

const policy = hostPolicy({ logger });
await policy.ready();
const forwarder = new Forwarder({ source: policy, logger });

async function addressesOf(name: string): Promise<string[]> {
  const answer = await forwarder.forward(newQuery(name, Type.A), "udp");
  if (answer === null) return ["no answer"];
  return (decoded(answer.message).answers ?? []).flatMap((record) => (record.type === "A" ? [record.data] : []));
}

for await (const line of createInterface(process.stdin)) {
  const answers: Record<string, string[]> = {};
  for (const name of line.split(" ").filter((word) => word !== "")) answers[name] = await addressesOf(name);
  const { routes, search } = policy.current();
  const report: InsideReport = {
    routes: Object.fromEntries(routes.routes.map(({ domain, set }) => [domain, set.servers.map(formatServerAddress)])),
    search,
    source: chosen,
    answers,
  };
  console.log(JSON.stringify(report));
  // A caller that asks again and again leaves time for what is read meanwhile.
  await new Promise((resolve) => setTimeout(resolve, 20));
}
forwarder.close();
policy.close();
