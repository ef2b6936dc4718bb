import { describe, expect, test } from "vitest";
import { Random } from "../../../stack/src/testing/random.ts";
import { type Peer, settle, startServer } from "../../../streams/src/testing/peer.ts";
import { CONVERSATIONS, type Turn } from "../testing/conversations.ts";
import { idle, startProxy } from "../testing/proxy-harness.ts";

const ROUNDS = 60;

/** Writes bytes in random pieces, now and then with a pause between two. */
async function writeCut(peer: Peer, bytes: string, random: Random): Promise<void> {
  const most = random.pick([1, 7, 50, 1000, 100_000]);
  for (let at = 0; at < bytes.length; ) {
    const next = Math.min(bytes.length, at + 1 + random.below(most));
    peer.write(bytes.slice(at, next));
    at = next;
    if (random.oneIn(most === 1 ? 20 : 3)) await settle(random.below(4));
  }
}

/** Says what one side has to say. It waits for what it answers, unless it is a client that is in a hurry. */
async function play(
  side: Turn["from"],
  peer: Peer,
  turns: readonly Turn[],
  random: Random,
  isHasty: boolean,
): Promise<void> {
  let heard = 0;
  for (const { from, bytes } of turns) {
    if (from !== side) {
      heard += bytes.length;
      continue;
    }
    if (!isHasty) await peer.getsBytes(heard);
    await writeCut(peer, bytes, random);
  }
}

const said = (turns: readonly Turn[], side: Turn["from"]) =>
  turns.flatMap(({ from, bytes }) => (from === side ? [bytes] : [])).join("");

describe("a conversation reaches the other side byte for byte, however it is cut:", () => {
  test.each(Object.entries(CONVERSATIONS))("%s", async (name, turns) => {
    const engine = await startServer();
    const { connect, proxy } = await startProxy({
      dial: engine.dial,
      // What is looked at and let pass is not told from what is not looked at.
      intercept: ({ target }) => {
        const bodyLimit = target.includes("/create") || target.includes("/build") ? 8192 : 0;
        const isJudged = bodyLimit > 0 || target.endsWith("/start");
        return isJudged ? { bodyLimit, decide: async () => ({ kind: "pass", answered: () => settle(2) }) } : null;
      },
    });
    for (let round = 0; round < ROUNDS; round++) {
      const random = new Random(round * 1000 + name.length);
      const client = await connect();
      // Who waits for 100 does not send its body before.
      const isHasty = random.oneIn(2) && name !== "copy";
      const clientSaid = play("client", client, turns, random, isHasty);
      const server = await engine.next();
      await Promise.all([clientSaid, play("engine", server, turns, random, false)]);
      await server.getsBytes(said(turns, "client").length);
      await client.getsBytes(said(turns, "engine").length);
      expect(server.text).toBe(said(turns, "client"));
      expect(client.text).toBe(said(turns, "engine"));
      const [first, second] = random.oneIn(2) ? [client, server] : [server, client];
      first.end();
      await second.ends();
      second.end();
      await first.ends();
      expect(client.text).toBe(said(turns, "engine"));
    }
    await idle(proxy);
  });
});

test("nonsense ends in an answer or passes, and never in anything else", async () => {
  const engine = await startServer();
  const { connect, proxy } = await startProxy({ dial: engine.dial });
  const all = Object.values(CONVERSATIONS).flat();
  for (let round = 0; round < 300; round++) {
    const random = new Random(round);
    const client = await connect();
    const isFromClient = random.oneIn(2);
    // One byte of what is said is another one.
    const garbled = (bytes: string) => {
      const at = random.below(bytes.length);
      return bytes.slice(0, at) + String.fromCharCode(random.below(256)) + bytes.slice(at + 1);
    };
    const request = random.pick(all.filter(({ from }) => from === "client")).bytes;
    const reply = random.pick(all.filter(({ from }) => from === "engine")).bytes;
    client.end(isFromClient ? garbled(request) : request);
    const before = engine.peers.length;
    for (let turn = 0; turn < 50 && engine.peers.length === before && !client.hasEnded; turn++) await settle(1);
    engine.peers.at(before)?.end(isFromClient ? reply : garbled(reply));
    await client.ends();
    engine.peers.at(before)?.destroy();
    client.destroy();
    await idle(proxy);
  }
});
