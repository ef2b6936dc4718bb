/** Checks of the networks of this host: name servers, routes. */
import { formatServerAddress, type Policy, type Route, type ServerAddress } from "@hostd/dns";
import { formatNetwork } from "../config/values.ts";
import { subnetClash } from "../subnet-clash.ts";
import { type Finding, failure, messageOf, ok, warning } from "./finding.ts";
import type { Host, Subject } from "./host.ts";

/** The most name servers that are asked. */
const MAX_SERVERS = 16;

/** Whether the name servers that hostd would ask answer. */
export async function checkNameServers(host: Host, { config }: Subject): Promise<Finding[]> {
  const findings: Finding[] = [];
  if (config.dns.servers.length === 0 && host.platform !== "darwin") {
    const path = config.dns.resolvConf;
    const unreadable = await host.readFile(path).then(() => null, messageOf);
    if (unreadable !== null) {
      findings.push(warning("name servers", unreadable, `make ${path} readable, or name servers with --dns-server`));
    }
  }
  const policy = await host.namePolicy(config);
  const general = policy.routes.find([])?.set.servers ?? [];
  if (general.length === 0) {
    const advice = "name one with --dns-server, or see that the host has one";
    findings.push(failure("name servers", "no name server is known for names in general", advice));
  }
  return [...findings, ...(await askServers(host, policy))];
}

async function askServers(host: Host, policy: Policy): Promise<Finding[]> {
  const routes = policy.routes.routes.flatMap((route) => route.set.servers.map((server) => ({ route, server })));
  // One that is there for several domains is asked once.
  const byAddress = new Map<string, { server: ServerAddress; routes: Route[] }>();
  for (const { route, server } of routes) {
    const address = formatServerAddress(server);
    const known = byAddress.get(address) ?? { server, routes: [] };
    known.routes.push(route);
    byAddress.set(address, known);
  }
  const asked = [...byAddress].slice(0, MAX_SERVERS);
  const results = await Promise.all(
    asked.map(async ([address, { server, routes: own }]) => ({
      seen: `${address} (for ${describeDomains(own, policy)}; from ${own[0].from})`,
      routes: own,
      outcome: await host.askNameServer(server).then(
        (rcode) => ({ rcode }),
        (error: unknown) => ({ error: messageOf(error) }),
      ),
    })),
  );
  return results.map(({ seen, routes: own, outcome }) => {
    if ("rcode" in outcome) {
      // What it says of the root does not matter: some serve their own names only.
      return ok("name server", `${seen} answers${outcome.rcode === "NOERROR" ? "" : ` (with ${outcome.rcode})`}`);
    }
    const isAlone = own.some((route) => {
      return !results.some((other) => "rcode" in other.outcome && other.routes.includes(route));
    });
    const text = `${seen} does not answer: ${outcome.error}`;
    return isAlone
      ? failure("name server", text, "see that it runs and can be reached, or name another with --dns-server")
      : warning("name server", text, "another one answers for it; leave it out, or see that it can be reached");
  });
}

function describeDomains(routes: readonly Route[], policy: Policy): string {
  const everything = policy.routes.routes.length === 1 ? "every name" : "every other name";
  const domains = routes.map(({ domain }) => (domain === "" ? everything : domain));
  const shown = domains.length > 3 ? [...domains.slice(0, 3), `${domains.length - 3} more`] : domains;
  return shown.join(", ");
}

export function checkSubnet(host: Host, { config }: Subject): Finding[] {
  const clash = subnetClash(config.subnet, host.routes());
  if (clash === undefined) return [ok("subnet", `${formatNetwork(config.subnet)} overlaps no route of this host`)];
  const [seen, advice = ""] = clash.split(": ");
  return [warning("subnet", seen, advice)];
}
