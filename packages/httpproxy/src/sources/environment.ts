/** The proxies that the environment of the daemon names, by the variables that curl, wget, Go and others read. */
import type { ProxyServer } from "../route.ts";
import { ProblemList } from "./problem-list.ts";
import { NOTHING, type SourceReading } from "./proxy-settings.ts";

const NAME = "the environment";

/**
 * Reads `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, each in lower or upper case. Where tools differ:
 *
 * - Lower case comes first, as with curl, wget and undici (Go has it the other way round). An empty variable is as one
 *   that is not set.
 * - `HTTP_PROXY` is read. Tools that do not read it guard against the header `Proxy` of a CGI request; a daemon has none.
 * - `all_proxy` is for each scheme without a variable of its own, as with curl. `https` does not fall back to
 *   `http_proxy`, as with curl and Go (undici does).
 * - A value without a scheme is an HTTP proxy, as with curl and Go.
 *
 * A value that is no URL is a problem and counts as not set. `no_proxy` alone says nothing.
 */
export function readEnvironment(env: NodeJS.ProcessEnv): SourceReading {
  const problems = new ProblemList(NAME);
  const used: string[] = [];
  const all = readProxy(env, "all_proxy", problems);
  const proxyFor = (name: string): readonly ProxyServer[] => {
    const own = readProxy(env, name, problems);
    const { variable, servers } = own.servers.length > 0 ? own : all;
    if (servers.length > 0 && !used.includes(variable)) used.push(variable);
    return servers;
  };
  const http = proxyFor("http_proxy");
  const https = proxyFor("https_proxy");
  if (used.length === 0) return problems.lines.length === 0 ? NOTHING : { ...NOTHING, problems: problems.lines };
  const excluded = find(env, "no_proxy");
  const exclusions = excluded === null ? [] : [problems.exclusions(excluded.value, `${NAME} (${excluded.variable})`)];
  return {
    settings: {
      http,
      https,
      pac: null,
      exclusions,
      allowed: null,
      from: `${NAME} (${used.join(", ")})`,
    },
    problems: problems.lines,
  };
}

function readProxy(
  env: NodeJS.ProcessEnv,
  name: string,
  problems: ProblemList,
): { readonly variable: string; readonly servers: readonly ProxyServer[] } {
  const found = find(env, name);
  if (found === null) return { variable: name, servers: [] };
  const { variable, value } = found;
  return { variable, servers: problems.proxyUrl(variable, value.includes("://") ? value : `http://${value}`) };
}

function find(env: NodeJS.ProcessEnv, name: string): { readonly variable: string; readonly value: string } | null {
  for (const variable of [name, name.toUpperCase()]) {
    const value = env[variable]?.trim() ?? "";
    if (value !== "") return { variable, value };
  }
  return null;
}
