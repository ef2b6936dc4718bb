import type { StackOptions } from "../../stack.ts";
import { LEFT, LEFT_MAC, type Pair, PORT, RIGHT, RIGHT_MAC } from "./joined-stacks.ts";
import { type LinkOptions, SimulatedLink } from "./link.ts";
import { ModelPeer, type ModelPeerOptions } from "./model-peer.ts";
import { expectNothingLeft } from "./nothing-left.ts";
import { SegmentChecker } from "./segment-checker.ts";
import { Simulation } from "./simulation.ts";
import { type FrameObserver, Station } from "./station.ts";
import { Transfer, type TransferOptions } from "./transfer.ts";

/** What happens between a stack and a {@link ModelPeer}. */
export interface ModelScenario {
  readonly seed: number;
  readonly startAt?: number;
  readonly mtu: number;
  /** The first sequence numbers of the stack and of the peer. */
  readonly firstSequences: Pair<number>;
  /** The link from the stack to the peer, and back. */
  readonly link: Pair<LinkOptions>;
  readonly lateness?: number;
  readonly pollsEarly?: boolean;
  readonly stack?: Partial<StackOptions>;
  readonly owner: TransferOptions;
  readonly peer: Omit<ModelPeerOptions, "local" | "remote" | "firstSequence">;
}

/** The port that the peer uses. */
const PEER_PORT = 40_000;

/**
 * Runs a scenario to its end, which has to be a good one.
 *
 * @returns the simulation and the stack's station, for a look at what was counted.
 * @throws {Error} when the connection does not come to be or to its end, a byte is wrong, missing or twice, something
 *   is left in the stack, or the stack sends what it may not.
 */
export function runModelScenario(scenario: ModelScenario, observers: readonly FrameObserver[] = []): Station {
  const { seed, startAt, mtu, firstSequences, link, lateness, pollsEarly, stack = {}, owner, peer } = scenario;
  const simulation = new Simulation(seed, startAt);
  const [out, back] = link.map((each) => new SimulatedLink(simulation, each));
  const station = new Station(simulation, back, out, {
    mac: LEFT_MAC,
    address: LEFT,
    mtu,
    firstSequence: firstSequences[0],
    stack,
    observers: [...observers, new SegmentChecker(mtu)],
    ...(lateness === undefined ? {} : { lateness }),
    ...(pollsEarly === undefined ? {} : { pollsEarly }),
  });
  const transfer = new Transfer(simulation, owner);
  const model = new ModelPeer(simulation, out, back, {
    ...peer,
    local: { mac: RIGHT_MAC, address: RIGHT, port: PEER_PORT },
    remote: { mac: LEFT_MAC, address: LEFT, port: PORT },
    firstSequence: firstSequences[1],
  });
  if (peer.opens) {
    station.stack.tcpListen(LEFT, PORT, (request) => {
      transfer.flow = request.accept(transfer.log);
    });
  } else {
    const tuple = { localAddress: LEFT, localPort: PORT, remoteAddress: RIGHT, remotePort: PEER_PORT };
    transfer.flow = station.stack.tcpDial(tuple, transfer.log);
  }
  simulation.run(() => transfer.closed !== null && model.closed !== null);
  const { receivedBytes } = transfer.log;
  const lost = model.receiver.next - 2 !== owner.length || receivedBytes !== peer.length;
  // A peer that hears nothing of the end of TIME-WAIT, or sends an old segment after it, may still be reset.
  if (transfer.closed !== "finished" || lost) {
    throw new Error(
      `the stack ended ${transfer.closed} with ${receivedBytes} of ${peer.length} bytes, ` +
        `the peer ${model.closed} with ${model.receiver.next} of ${owner.length + 2} sequence numbers`,
    );
  }
  expectNothingLeft(simulation, [station]);
  return station;
}
