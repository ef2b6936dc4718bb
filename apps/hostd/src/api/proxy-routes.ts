import { ExclusionList, ProxyUrlError, parseUpstreamSetting } from "@hostd/httpproxy";
import * as z from "zod";
import type { HostdConfig } from "../config/resolve.ts";
import {
  type ProxyReport,
  proxyReport,
  proxyReportSchema,
  proxyRouteSchema,
  proxyTrialSchema,
  routeReport,
} from "../control/proxy-report.ts";
import type { ProxyService, RunTimeChoice } from "../proxy/proxy-service.ts";
import { readDestination } from "../proxy/read-destination.ts";
import type { VmSession } from "../vm-session.ts";
import { RequestError } from "./problem.ts";
import type { Route } from "./route.ts";

const choiceSchema = z.strictObject({
  upstream: z.string().describe("As proxy.upstream in the configuration"),
  noProxy: z
    .string()
    .optional()
    .describe("As proxy.noProxy in the configuration, whose value holds unless this one is given"),
});
const trialRequest = z.strictObject({ url: z.string().describe("http://, https:// or host:port") });

/** What the routes need of {@link Control}. */
export interface ProxyControl {
  readonly proxy: Pick<ProxyService, "report" | "set" | "decide" | "try">;
  config(): Pick<HostdConfig, "proxy">;
  vms(): readonly Pick<VmSession, "name" | "proxyCounts">[];
}

/** The HTTP proxy: which way requests of guests take. */
export function proxyRoutes(control: ProxyControl): Route[] {
  const { proxy } = control;
  const report = (): Promise<ProxyReport> => proxyReport(proxy, control.config(), control.vms());
  return [
    {
      method: "GET",
      path: "/v1/proxy",
      name: "getProxy",
      summary: "The HTTP proxy: the settings in force, what each source of them says, and how the upstream proxies do",
      answer: proxyReportSchema,
      handle: report,
    },
    {
      method: "PUT",
      path: "/v1/proxy",
      name: "setProxy",
      summary: "Has requests take another way from the next one on, until hostd ends",
      body: choiceSchema,
      answer: proxyReportSchema,
      handle: async ({ body }) => {
        proxy.set(readChoice(body));
        return await report();
      },
    },
    {
      method: "DELETE",
      path: "/v1/proxy",
      name: "unsetProxy",
      summary: "Has the configuration hold again",
      answer: proxyReportSchema,
      handle: async () => {
        proxy.set(null);
        return await report();
      },
    },
    {
      method: "GET",
      path: "/v1/proxy/route",
      name: "getProxyRoute",
      summary: "Which way a request would take, and why",
      query: {
        url: { description: "http://, https:// or host:port", required: true, example: "https://www.example.com" },
      },
      answer: proxyRouteSchema,
      handle: async ({ query }) => {
        const destination = readDestination(query.get("url") ?? "");
        return routeReport(destination, await proxy.decide(destination));
      },
    },
    {
      method: "POST",
      path: "/v1/proxy/test",
      name: "testProxy",
      summary:
        "Makes a request as a guest would make it: a tunnel is opened and closed, plain HTTP is asked for a head",
      body: trialRequest,
      answer: proxyTrialSchema,
      handle: async ({ body }) => {
        const parsed = trialRequest.safeParse(body);
        if (!parsed.success)
          throw new RequestError('a request is an object such as {"url": "https://www.example.com"}');
        const destination = readDestination(parsed.data.url);
        const route = routeReport(destination, await proxy.decide(destination));
        return { ...route, ...(await proxy.try(destination)) };
      },
    },
  ];
}

/** @throws {RequestError} without a password in it. */
function readChoice(body: unknown): RunTimeChoice {
  const parsed = choiceSchema.safeParse(body);
  if (!parsed.success) {
    throw new RequestError(
      'the proxies are set with an object such as {"upstream": "http://proxy.example:3128", "noProxy": ".corp.example"}; ' +
        "both are texts, and noProxy may be left out",
    );
  }
  const { upstream, noProxy } = parsed.data;
  const problems = noProxy === undefined ? [] : ExclusionList.parse(noProxy).problems;
  if (problems.length > 0) {
    const reasons = problems.map(({ entry, reason }) => `${JSON.stringify(entry)}: ${reason}`);
    throw new RequestError(`noProxy: ${reasons.join("; ")}`);
  }
  try {
    return { upstream: parseUpstreamSetting(upstream), noProxy };
  } catch (error) {
    if (error instanceof ProxyUrlError) throw new RequestError(`upstream: ${error.message}`);
    throw error;
  }
}
