import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { describe, expect, it } from "vitest";
import type * as z from "zod";
import { cleanUp } from "../../../../packages/streams/src/testing/peer.ts";
import { parseConfig } from "../config/resolve.ts";
import type { SettingsInput } from "../config/schema.ts";
import { EventHub } from "../control/event-hub.ts";
import { type ProxyReport, proxyReportSchema, proxyRouteSchema, proxyTrialSchema } from "../control/proxy-report.ts";
import { createLogger } from "../logging.ts";
import { ProxyService } from "../proxy/proxy-service.ts";
import { serveRoutes } from "../testing/served-routes.ts";
import { proxyRoutes } from "./proxy-routes.ts";

const VM = { name: "vm1", proxyCounts: { connections: 2, tunnels: 3 } };
const SECRETS = /s3cret|alice/;

/** The routes of a service, and what they answer by their schemas. */
async function play(proxy: SettingsInput["proxy"] = {}, environment: NodeJS.ProcessEnv = {}) {
  const config = parseConfig({ proxy }, "test");
  const log: string[] = [];
  const output = { isTerminal: false, hasColors: false, write: (line: string) => log.push(line) };
  const service = new ProxyService({
    config,
    resolve: async (name) => (name === "host.docker.internal" ? ["192.168.65.254"] : []),
    events: new EventHub(),
    environment,
    program: null,
    logger: createLogger({ level: "debug", format: "json" }, output),
  });
  cleanUp(() => service.close());
  const served = await serveRoutes(proxyRoutes({ proxy: service, config: () => config, vms: () => [VM] }));
  const ask = async <Schema extends z.ZodType>(schema: Schema, target: string, method?: string, body?: unknown) => {
    const answer = await served.askJson(target, method, body);
    expect(answer).toMatchObject({ status: 200 });
    expect(schema.parse(answer.body)).toEqual(answer.body);
    expect(JSON.stringify([answer.body, log])).not.toMatch(SECRETS);
    return answer.body as z.output<Schema>;
  };
  const refused = async (target: string, method?: string, body?: unknown) => {
    const { status, body: problem } = await served.askJson(target, method, body);
    expect(JSON.stringify(problem)).not.toMatch(SECRETS);
    return [status, (problem as { detail: string }).detail];
  };
  return { service, ask, refused, report: () => ask(proxyReportSchema, "/v1/proxy") };
}

describe("GET /v1/proxy", () => {
  it("tells what is in force, what each source says, and what goes on, without credentials", async () => {
    const { report } = await play(
      { noProxy: "lab.example" },
      { HTTPS_PROXY: "http://alice:s3cret@proxy.example:3128", NO_PROXY: ".corp.example,http://alice:s3cret@x" },
    );
    const exclusions = [
      { entries: ["lab.example"], from: "the configuration" },
      { entries: [".corp.example", "http://..."], from: "the environment (NO_PROXY)" },
    ];
    const from = "the environment (HTTPS_PROXY)";
    const https = ["http://proxy.example:3128"];
    expect(await report()).toEqual({
      ...{ enabled: true, transparentPorts: [80, 443], isSetAtRunTime: false },
      settings: { http: [], https, pac: null, exclusions, allowed: null, from },
      sources: [
        { name: "the run-time setting", says: null, isInForce: false, problems: [] },
        { name: "the configuration", says: "system", isInForce: true, problems: [] },
        {
          name: "the environment",
          says: { http: [], https, pac: null, exclusions: [exclusions[1]], allowed: null, from },
          isInForce: true,
          problems: [expect.stringContaining("the environment: the exclusion")],
        },
        { name: "the settings of the operating system", says: null, isInForce: false, problems: [] },
      ],
      upstreams: [{ server: https[0], state: "unused", sinceSeconds: null, reason: null, nextTrySeconds: null }],
      vms: [{ name: "vm1", connections: 2, tunnels: 3 }],
    } satisfies ProxyReport);
  });
});

describe("PUT and DELETE /v1/proxy", () => {
  it("have another way taken, and that of the configuration again, and answer with what holds", async () => {
    const { ask, service } = await play({ upstream: "http://file.example:1", noProxy: "lab.example" });
    const body = { upstream: "https://alice:s3cret@proxy.example, socks5h://10.0.0.1", noProxy: ".corp.example" };
    const set = await ask(proxyReportSchema, "/v1/proxy", "PUT", body);
    expect(set).toMatchObject({
      isSetAtRunTime: true,
      settings: {
        http: ["https://proxy.example:443", "socks5h://10.0.0.1:1080"],
        exclusions: [{ entries: [".corp.example"] }],
        from: "the run-time setting",
      },
      upstreams: [{ server: "https://proxy.example:443" }, { server: "socks5h://10.0.0.1:1080" }],
    });
    expect(await service.decide({ scheme: "http", host: "x.test", port: 80 })).toMatchObject({
      routes: [{ server: { credentials: { user: "alice", password: "s3cret" } } }, {}],
    });
    const kept = await ask(proxyReportSchema, "/v1/proxy", "PUT", {
      upstream: "pac+http://wpad.example/proxy.pac?s3cret",
    });
    expect(kept.settings).toMatchObject({
      ...{ http: [], https: [], pac: "http://wpad.example/proxy.pac" },
      exclusions: [{ entries: ["lab.example"] }],
    });
    expect(await ask(proxyReportSchema, "/v1/proxy", "DELETE")).toMatchObject({
      isSetAtRunTime: false,
      settings: { http: ["http://file.example:1"], from: "the configuration" },
    });
  });

  it.each<[unknown, string]>([
    [undefined, 'such as {"upstream": "http://proxy.example:3128", "noProxy": ".corp.example"}'],
    ["http://proxy.example:3128", "such as {"],
    [{ upstream: 1 }, "such as {"],
    [{ upstream: "direct", exclusions: [] }, "such as {"],
    [{ upstream: "direct", noProxy: [".corp.example"] }, "such as {"],
    [{ upstream: "" }, 'upstream: "" is no proxy: it is empty; allowed: direct, system, '],
    [{ upstream: "ftp://proxy.example" }, "its scheme is none that is known"],
    [{ upstream: "http://alice:s3cret@proxy.example:99999" }, "the port is no number from 1 to 65535"],
    [{ upstream: "http://alice:s3cret@a,http://alice:s3cret@b:x" }, "the port is no number"],
    [{ upstream: "bob:s3cret" }, "the port is no number"],
    [{ upstream: "pac+http://alice:s3cret@wpad.example/" }, "has no user and no password"],
    [
      { upstream: "direct", noProxy: "a,10.0.0.0/99,http://alice:s3cret@b" },
      'noProxy: "10.0.0.0/99": what is after the /',
    ],
  ])("refuse what is no setting, without a password, and change nothing: %j", async (body, reason) => {
    const { refused, report } = await play({ upstream: "http://file.example:1" });
    expect(await refused("/v1/proxy", "PUT", body)).toEqual([400, expect.stringContaining(reason)]);
    expect((await report()).settings.http).toEqual(["http://file.example:1"]);
  });
});

describe("GET /v1/proxy/route", () => {
  it("tells which way a request would take, in order, and why", async () => {
    const { ask, refused } = await play({
      upstream: "http://alice:s3cret@one.example:1,http://two.example:2",
      noProxy: ".corp.example",
    });
    const route = (url: string) => ask(proxyRouteSchema, `/v1/proxy/route?url=${encodeURIComponent(url)}`);
    expect(await route("https://alice:s3cret@www.example.com/s3cret?s3cret")).toEqual({
      ...{ scheme: "https", host: "www.example.com", port: 443 },
      routes: ["http://one.example:1", "http://two.example:2"],
      reason: "the configuration",
    });
    expect(await route("www.corp.example:22")).toMatchObject({
      routes: ["direct"],
      reason: 'the exclusion ".corp.example" of the configuration',
    });
    expect(await refused("/v1/proxy/route?url=www.example.com")).toEqual([400, expect.stringContaining("allowed: ")]);
    expect(await refused("/v1/proxy/route")).toEqual([400, expect.stringContaining("the parameter url is missing")]);
  });
});

describe("POST /v1/proxy/test", () => {
  async function listen(answer: string): Promise<{ port: number; received: () => string }> {
    let received = "";
    const server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (bytes) => {
        received += bytes.toString("latin1");
        if (received.includes("\r\n\r\n")) socket.write(answer);
      });
      cleanUp(() => socket.destroy());
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanUp(() => server.close());
    return { port: (server.address() as AddressInfo).port, received: () => received };
  }

  it("makes the request, through the proxy where there is one, and tells how long that took", async () => {
    const upstream = await listen("HTTP/1.1 200 OK\r\n\r\n");
    const { ask } = await play({ upstream: `http://alice:s3cret@127.0.0.1:${upstream.port}` });
    const trial = (url: string) => ask(proxyTrialSchema, "/v1/proxy/test", "POST", { url });
    const result = await trial("https://www.example.com");
    expect(result).toMatchObject({
      ...{ routes: [`http://127.0.0.1:${upstream.port}`], reason: "the configuration" },
      ...{ isReached: true, status: 200, message: "www.example.com:443 is reached" },
    });
    expect(result.milliseconds).toBeLessThan(5000);
    expect(upstream.received()).toMatch(/^CONNECT www\.example\.com:443 HTTP\/1\.1\r\n/);
    expect(upstream.received()).toContain(`Proxy-Authorization: Basic ${btoa("alice:s3cret")}\r\n`);
  });

  it("tells what a proxy wants that it has not, and who refuses", async () => {
    const upstream = await listen("HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n");
    const { ask, report } = await play({ upstream: `http://127.0.0.1:${upstream.port}` });
    const trial = (url: string) => ask(proxyTrialSchema, "/v1/proxy/test", "POST", { url });
    const wanted = expect.stringContaining("Negotiate");
    expect(await trial("http://www.example.com")).toMatchObject({ isReached: false, status: 407, message: wanted });
    expect(await trial("https://www.example.com")).toMatchObject({ isReached: false, status: 407, message: wanted });
    expect(await trial("http://127.0.0.1:1/")).toMatchObject({
      ...{ isReached: false, status: 403, routes: ["direct"] },
      message: expect.stringContaining("127.0.0.1 is a loopback address"),
    });
    const { upstreams } = await report();
    expect(upstreams).toMatchObject([{ server: `http://127.0.0.1:${upstream.port}`, state: "working" }]);
  });

  it("tells of a proxy that is not there, which is failing from then on", async () => {
    const { ask, report } = await play({ upstream: "http://127.0.0.1:1" });
    const result = await ask(proxyTrialSchema, "/v1/proxy/test", "POST", { url: "https://www.example.com" });
    expect(result).toMatchObject({
      ...{ isReached: false, status: 502 },
      message: "the proxy http://127.0.0.1:1 refused the connection",
    });
    const { upstreams } = await report();
    expect(upstreams).toMatchObject([{ state: "failing", reason: result.message }]);
    expect(upstreams[0].nextTrySeconds).toBeLessThanOrEqual(1);
  });

  it("reaches this host by its name", async () => {
    const origin = await listen("HTTP/1.1 204 No Content\r\n\r\n");
    const { ask } = await play({ upstream: "http://127.0.0.1:1" });
    const url = `http://host.docker.internal:${origin.port}/`;
    expect(await ask(proxyTrialSchema, "/v1/proxy/test", "POST", { url })).toMatchObject({
      ...{ isReached: true, status: 204, routes: ["direct"] },
      message: `host.docker.internal:${origin.port} answers with 204 No Content`,
    });
  });

  it.each([undefined, {}, { url: 1 }, { url: "ftp://x" }, { url: "http://x", other: 1 }])(
    "refuses %j",
    async (body) => {
      const { refused } = await play();
      expect((await refused("/v1/proxy/test", "POST", body))[0]).toBe(400);
    },
  );
});
