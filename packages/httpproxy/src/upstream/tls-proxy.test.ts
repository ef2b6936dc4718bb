import { TLSSocket, type TlsOptions } from "node:tls";
import { beforeAll, expect, test } from "vitest";
import { Peer, settle } from "../../../streams/src/testing/peer.ts";
import type { ProxyServer, Route } from "../route.ts";
import { type Certificate, TestAuthority } from "../testing/certificates.ts";
import {
  answering,
  decision,
  ESTABLISHED,
  neverAborted,
  ORIGIN,
  type PlayedProxy,
  playProxy,
  through,
  UpstreamHarness,
} from "../testing/upstream-harness.ts";

const CREDENTIALS = { user: "alice", password: "secret-word" };

let ca: string;
let otherCa: string;
const certificates: Record<"good" | "address" | "other" | "expired", Certificate> = Object.create(null);

beforeAll(async () => {
  const authority = await TestAuthority.make();
  ca = authority.ca;
  otherCa = (await TestAuthority.make()).ca;
  certificates.good = await authority.sign(["DNS:proxy.test"]);
  certificates.address = await authority.sign(["IP:127.0.0.1"]);
  certificates.other = await authority.sign(["DNS:other.test"]);
  certificates.expired = await authority.sign(["DNS:proxy.test"], -1);
});

function https(proxy: PlayedProxy, rest: Partial<ProxyServer> = {}): Route {
  return through("https", proxy.port, { ca, ...rest });
}

async function playTls(play?: (peer: Peer) => unknown, options: TlsOptions = {}): Promise<PlayedProxy> {
  return await playProxy(play, { ...certificates.good, ...options });
}

test.each(["TLSv1.2", "TLSv1.3"] as const)(
  "a tunnel through a proxy by %s, either end of which closes alone",
  async (version) => {
    const proxy = await playTls(answering(`${ESTABLISHED}early`), { maxVersion: version });
    const harness = new UpstreamHarness();
    const tunnel = await harness.tunnel([https(proxy, { credentials: CREDENTIALS })]);
    const other = await proxy.next();
    expect(other.text).toBe(
      "CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n" +
        "Proxy-Authorization: Basic YWxpY2U6c2VjcmV0LXdvcmQ=\r\n\r\n",
    );
    await tunnel.gets("early");
    other.clear();
    tunnel.end("request");
    await other.gets("request");
    await other.ends();
    await settle();
    expect(tunnel.hasEnded).toBe(false);
    other.end(" and late");
    await tunnel.gets("early and late");
    await tunnel.closes();
    expect(tunnel.failure).toBeNull();
    expect(harness.open).toBe(0);
    expect(harness.clock.timers).toBe(0);
  },
);

test("a proxy that ends first is still sent what comes", async () => {
  const proxy = await playTls(answering(ESTABLISHED));
  const harness = new UpstreamHarness();
  const tunnel = await harness.tunnel([https(proxy)]);
  const other = await proxy.next();
  other.clear();
  other.end("all");
  await tunnel.gets("all");
  await tunnel.ends();
  tunnel.end("late");
  await other.ends();
  expect(other.text).toBe("late");
  await tunnel.closes();
  expect(harness.open).toBe(0);
});

test("for requests of plain HTTP there is the connection to the proxy itself, by TLS", async () => {
  const proxy = await playTls();
  const harness = new UpstreamHarness();
  const upstream = await harness.connector.request(ORIGIN, decision([https(proxy)]), neverAborted());
  expect(upstream.proxy?.kind).toBe("https");
  new Peer(upstream.stream).write("GET http://origin.test/ HTTP/1.1\r\n\r\n");
  await (await proxy.next()).gets("GET http://origin.test/ HTTP/1.1\r\n\r\n");
});

test("the proxy is told its name, and HTTP/1.1 as the protocol", async () => {
  const names: string[] = [];
  const proxy = await playTls(answering(ESTABLISHED), {
    ALPNProtocols: ["h2", "http/1.1"],
    SNICallback: (name, done) => {
      names.push(name);
      done(null);
    },
  });
  const harness = new UpstreamHarness();
  const { stream } = await harness.tunnel([https(proxy)]);
  expect(names).toEqual(["proxy.test"]);
  expect(stream).toBeInstanceOf(TLSSocket);
  expect(stream).toMatchObject({ alpnProtocol: "http/1.1" });
});

test("a proxy by its address: the certificate has to be for that, and no name is told", async () => {
  const names: string[] = [];
  const proxy = await playTls(answering(ESTABLISHED), {
    ...certificates.address,
    SNICallback: (name, done) => {
      names.push(name);
      done(null);
    },
  });
  const harness = new UpstreamHarness();
  await harness.tunnel([https(proxy, { host: "127.0.0.1" })]);
  expect(names).toEqual([]);
  const error = await harness.failure([https(proxy, { host: "127.0.0.2" })]);
  expect(error.message).toMatch(/cannot be trusted: its certificate is not for 127.0.0.2;/);
});

test.each<[what: string, certificate: keyof typeof certificates, ca: () => string | undefined, text: RegExp]>([
  [
    "that nobody known has signed",
    "good",
    () => undefined,
    /cannot be trusted: nobody known here has signed its certificate; give the CA file of whoever did$/,
  ],
  [
    "that another authority has signed",
    "good",
    () => otherCa,
    /cannot be trusted: its certificate is not signed by what is in the CA file that was given for it$/,
  ],
  ["with a CA file of nonsense", "good", () => "nonsense", /is not signed by what is in the CA file/],
  [
    "for another name",
    "other",
    () => ca,
    /cannot be trusted: its certificate is not for proxy.test; give its URL with a name that is in the certificate$/,
  ],
  ["that has expired", "expired", () => ca, /cannot be trusted: its certificate has expired$/],
])("a certificate %s: 502, and nothing is sent", async (_what, certificate, givenCa, text) => {
  const proxy = await playTls(undefined, certificates[certificate]);
  const harness = new UpstreamHarness();
  const { ca: _, ...rest } = { ca, credentials: CREDENTIALS };
  const given = givenCa();
  const route = through("https", proxy.port, given === undefined ? rest : { ...rest, ca: given });
  const error = await harness.failure([route]);
  expect(error.status).toBe(502);
  expect(error.message).toMatch(new RegExp(`^the proxy https://proxy.test:${proxy.port} `));
  expect(error.message).toMatch(text);
  expect(proxy.peers.map((peer) => peer.text).join("")).toBe("");
  expect(harness.open).toBe(0);
  expect(harness.clock.timers).toBe(0);
  expect(harness.connector.health.report()).toMatchObject([{ state: "failing" }]);
});

test("a proxy without TLS", async () => {
  const proxy = await playProxy((peer) => peer.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const harness = new UpstreamHarness();
  const error = await harness.failure([https(proxy)]);
  expect(error).toMatchObject({
    status: 502,
    message: `the proxy https://proxy.test:${proxy.port} does not speak TLS: if it is a plain one, its URL begins with http://`,
  });
  expect(harness.open).toBe(0);
});

test("a proxy with other versions or protocols", async () => {
  const harness = new UpstreamHarness();
  const h2 = await playTls(undefined, { ALPNProtocols: ["h2"] });
  expect((await harness.failure([https(h2)])).message).toMatch(/could not agree on TLS \(.*no application protocol\)$/);
  const closing = await playProxy((peer) => peer.end());
  expect((await harness.failure([https(closing)])).message).toMatch(/closed the connection during the TLS handshake$/);
  expect(harness.open).toBe(0);
});

test("a proxy that does not go on with TLS is late", async () => {
  const proxy = await playProxy();
  const harness = new UpstreamHarness();
  const failure = harness.failure([https(proxy)]);
  await (await proxy.next()).getsBytes(100);
  harness.clock.advance(10_000);
  const error = await failure;
  expect(error.status).toBe(504);
  expect(error.message).toMatch(/did not answer within 10 s$/);
  expect(harness.open).toBe(0);
});
