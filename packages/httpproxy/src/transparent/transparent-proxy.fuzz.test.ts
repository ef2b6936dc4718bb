import { expect, test } from "vitest";
import { Random } from "../../../stack/src/testing/random.ts";
import { Peer, settle } from "../../../streams/src/testing/peer.ts";
import { DIRECT, REFUSE } from "../route.ts";
import { chromeHello, firefoxHello, helloMessage, messageOf, records, serverName } from "../testing/client-hellos.ts";
import { guestPair } from "../testing/stream-pairs.ts";
import { ORIGINAL, startTransparent } from "../testing/transparent-harness.ts";
import { UpstreamError } from "../upstream/upstream-error.ts";

const HELLO = firefoxHello("www.example.com");
const BEGINNINGS = [
  HELLO,
  chromeHello("other.example"),
  records(messageOf(HELLO), 9),
  records(helloMessage({ extensions: [serverName("192.0.2.1")] })),
  Buffer.from("GET / HTTP/1.1\r\n\r\n"),
  Buffer.from("SSH-2.0-x y\r\n"),
  HELLO.subarray(0, 700),
  Buffer.of(),
];

test("whatever guests, routers and origins do, bytes arrive as they were sent, and nothing is left", async () => {
  const harness = await startTransparent();
  const { proxy, routes, origin, http, clock } = harness;
  const outcomes = { passed: 0, served: 0, ended: 0 };
  for (let round = 0; round < 300; round++) {
    const random = new Random(round);
    const fails = random.oneIn(5);
    const pause = random.below(20);
    routes.decision = { routes: [random.pick([DIRECT, REFUSE])], reason: "the test" };
    routes.open = async () => {
      await settle(pause);
      if (fails) throw new UpstreamError("no way", 502, random.pick([DIRECT, REFUSE, null]));
      return origin.dial();
    };
    const bytes = Buffer.concat([random.pick(BEGINNINGS), random.bytes(random.pick([0, 3, 3000, 50_000]))]);
    if (bytes.length > 0 && random.oneIn(4)) bytes[random.below(Math.min(60, bytes.length))] = random.below(256);
    const dials = origin.peers.length;
    const serves = http.length;

    const [stream, served] = await guestPair();
    const guest = new Peer(stream);
    proxy.handle(served, ORIGINAL);
    const most = random.pick([30, 1000, 60_000]);
    const goesAt = random.oneIn(4) ? random.below(bytes.length + 1) : Number.POSITIVE_INFINITY;
    for (let at = 0; at < bytes.length && at <= goesAt; ) {
      const end = Math.min(bytes.length, at + 1 + random.below(most), goesAt + 1);
      guest.write(bytes.subarray(at, end));
      at = end;
      if (random.oneIn(3)) await settle(random.below(3));
      if (random.oneIn(30)) clock.advance(random.pick([300, 10_000]));
    }
    if (goesAt < bytes.length) {
      await settle(random.below(10));
      guest.destroy();
    } else {
      guest.end();
      const isPassed = () => origin.peers.length > dials || http.length > serves || guest.isClosed;
      while (!isPassed()) await settle(1);
      const far = http.length > serves ? new Peer(http[serves].stream) : origin.peers.at(dials);
      if (far === undefined) {
        expect(fails).toBe(true);
        outcomes.ended++;
      } else {
        await far.ends();
        if (!far.received.equals(bytes)) throw new Error(`round ${round}: other bytes arrived`);
        far.end("an answer");
        await guest.ends();
        expect(guest.text).toBe("an answer");
        outcomes[http.length > serves ? "served" : "passed"]++;
      }
    }
    origin.peers.at(dials)?.destroy();
    http.at(serves)?.stream.destroy();
    while (proxy.counts().sniffed + proxy.counts().tunnels > 0) await settle(1);
    // A dial that comes too late is taken back.
    await settle(pause);
    expect(clock.timers).toBe(0);
  }
  expect(Math.min(...Object.values(outcomes))).toBeGreaterThan(10);
});
