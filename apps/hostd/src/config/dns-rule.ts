/** Rules for which servers a domain is asked of, as text. */
import { readDomainName, readServer, ValueError } from "./values.ts";

/** How a rule is written on the command line, for messages. */
export const DNS_RULE_FORM = "domain=server[,server]";

/**
 * Reads a rule as it is written on the command line.
 *
 * @returns what the configuration file says for it.
 * @throws {ValueError} with the reason.
 */
export function readDnsRule(text: string): { readonly domain: string; readonly servers: readonly string[] } {
  const equals = text.indexOf("=");
  if (equals < 0) throw new ValueError('the "=" is missing');
  const domain = readDomainName(text.slice(0, equals));
  const servers = text.slice(equals + 1).split(",");
  for (const server of servers) {
    try {
      readServer(server);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw new ValueError(`${JSON.stringify(server)} is not the address of a name server`);
    }
  }
  return { domain, servers };
}
