import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { Lan } from "../testing/lan.ts";
import { Peer } from "../testing/trace.ts";

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

const CONNECTIONS = 2000;

function heapUsed(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

test("a connection in TIME-WAIT lets go of a kilobyte that only data needs", () => {
  const lan = new Lan();
  const peers = Array.from({ length: CONNECTIONS }, (_, port) => new Peer(lan, { port: port + 1 }).established());
  lan.all();
  const open = heapUsed();
  for (const peer of peers) {
    peer.flow.shutdown();
    lan.flush();
    peer.send({ flags: "FA", seq: 1, ack: 2 });
    expect(peer.stateName).toBe("TIME-WAIT");
  }
  lan.all();
  expect((open - heapUsed()) / CONNECTIONS).toBeGreaterThan(900);
});
