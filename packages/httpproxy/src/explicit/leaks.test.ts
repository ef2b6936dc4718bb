import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { Random } from "../../../stack/src/testing/random.ts";
import { type Peer, settle } from "../../../streams/src/testing/peer.ts";
import { REFUSE } from "../route.ts";
import { type ExplicitHarness, isIdle, request, response, startExplicit } from "../testing/explicit-harness.ts";
import { resetStream } from "./tunnel.ts";

const ROUNDS = 2000;
const AT_ONCE = 20;

const GET = request("GET", "http://a.test/");
const POST = request("POST", "http://a.test/", "Content-Length: 8\r\n", "half");
const UPGRADE = request("GET", "http://a.test/", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
const CONNECT = "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n";
const UPGRADED = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/** How far a connection gets: what its client sends, and what its server answers. */
const STAGES: readonly { readonly sends: string; readonly answers: string }[] = [
  { sends: "", answers: "" },
  { sends: "GET http:", answers: "" },
  { sends: "nonsense\r\n\r\n", answers: "" },
  { sends: request("GET", "http://nowhere.test/"), answers: "" },
  { sends: "CONNECT nowhere.test:80 HTTP/1.1\r\nHost: a\r\n\r\n", answers: "" },
  { sends: GET, answers: "" },
  { sends: GET, answers: "HTTP/1.1 100 Continue\r\n\r\n" },
  { sends: GET, answers: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" },
  { sends: GET, answers: "HTTP/1.1 200 OK\r\n\r\nhalf" },
  { sends: GET, answers: response("all") },
  { sends: GET, answers: response("all", "Connection: close\r\n") },
  { sends: GET, answers: `${response("all")}more` },
  { sends: GET, answers: "nonsense\r\n\r\n" },
  { sends: GET + GET, answers: response("all") },
  { sends: POST, answers: "" },
  { sends: POST, answers: response("early") },
  { sends: POST, answers: response("early", "Connection: close\r\n") },
  { sends: UPGRADE, answers: UPGRADED },
  { sends: `${CONNECT}early`, answers: "" },
  { sends: CONNECT, answers: "hello" },
];

/** How a connection ends, from either side. */
const ENDS: readonly ((peer: Peer) => void)[] = [
  (peer) => peer.end(),
  (peer) => peer.end("more"),
  (peer) => peer.destroy(),
  (peer) => resetStream(peer.stream),
  () => {},
];

async function runOne(harness: ExplicitHarness, random: Random): Promise<void> {
  const { sends, answers } = random.pick(STAGES);
  const client = await harness.connect();
  client.write(sends);
  await settle(random.below(6));
  // Whichever of the servers it is.
  const server = harness.origin.peers.at(-1);
  server?.write(answers);
  await settle(random.below(6));
  const ends = [() => random.pick(ENDS)(client), () => server !== undefined && random.pick(ENDS)(server)];
  if (random.oneIn(2)) ends.reverse();
  for (const end of ends) {
    end();
    await settle(random.below(3));
  }
  client.stream.end();
  await settle(random.below(3));
  client.destroy();
}

test(`nothing is left of ${ROUNDS} connections that ended in any way`, async () => {
  const served: Socket[] = [];
  const harness = await startExplicit({
    serve: (proxy, client) => {
      served.push(client);
      proxy.serve(client);
    },
  });
  const random = new Random(8);
  for (let round = 0; round < ROUNDS; round += AT_ONCE) {
    harness.router.routes = random.oneIn(10) ? [REFUSE] : [{ kind: "direct" }];
    harness.router.wait = random.oneIn(4) ? settle(random.below(4)) : null;
    harness.connector.wait = random.oneIn(4) ? settle(random.below(4)) : null;
    await Promise.all(Array.from({ length: AT_ONCE }, () => runOne(harness, random)));
    // A client that went in order still waits for what comes, as far as the proxy knows.
    for (let turn = 0; turn < 50; turn++) {
      for (const peer of harness.origin.peers) peer.destroy();
      await settle(2);
    }
    await isIdle(harness.proxy);
  }
  expect(served).toHaveLength(ROUNDS);
  expect(served.filter(({ destroyed }) => !destroyed)).toEqual([]);
  expect(harness.connector.sockets.length).toBeGreaterThan(ROUNDS / 4);
  expect(harness.connector.sockets.filter(({ destroyed }) => !destroyed)).toEqual([]);
  expect(harness.connector.asked.filter(({ kind }) => kind === "tunnel").length).toBeGreaterThan(100);
  expect(harness.clock.timers).toBe(0);
  expect(harness.proxy.counts()).toEqual({ connections: 0, tunnels: 0 });
});
