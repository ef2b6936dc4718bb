import { parseIpv4, parseMac } from "../../address.ts";
import type { Stack, StackOptions } from "../../stack.ts";
import type { FourTuple, TcpRequest } from "../../tcp/flow.ts";
import { type LinkOptions, SimulatedLink } from "./link.ts";
import { Simulation } from "./simulation.ts";
import { type FrameObserver, Station } from "./station.ts";
import type { Transfer } from "./transfer.ts";

export const LEFT = parseIpv4("10.0.0.1");
export const RIGHT = parseIpv4("10.0.0.2");
export const LEFT_MAC = parseMac("02:00:00:00:00:01");
export const RIGHT_MAC = parseMac("02:00:00:00:00:02");
/** Where the right side listens. */
export const PORT = 80;

/** A value for the left side and one for the right. */
export type Pair<Value> = readonly [left: Value, right: Value];

export interface JoinedOptions {
  readonly seed: number;
  /** The simulation's clock at first, in milliseconds. */
  readonly startAt?: number;
  readonly mtu?: number | Pair<number>;
  /** The first sequence numbers of each side. */
  readonly firstSequences?: Pair<number>;
  /** The link in both directions, or from the left to the right and back. */
  readonly link?: LinkOptions | Pair<LinkOptions>;
  /** Further options of both stacks. */
  readonly stack?: Partial<StackOptions>;
  readonly lateness?: number;
  readonly pollsEarly?: boolean;
  readonly observers?: Pair<readonly FrameObserver[]>;
}

/** A link without faults, and with a short delay. */
const CLEAN_LINK: LinkOptions = { delay: 0.25 };

/** Two stacks at the ends of one link. The left side opens connections, and the right side answers on {@link PORT}. */
export class JoinedStacks extends Simulation {
  readonly stations: Pair<Station>;
  readonly left: Stack;
  readonly right: Stack;

  /** @param answer - takes each connection that the left side opens. */
  constructor(options: JoinedOptions, answer: (request: TcpRequest) => void) {
    super(options.seed, options.startAt);
    const { link = CLEAN_LINK, mtu = 1500, firstSequences = [-1000, -1000] } = options;
    const links = [new SimulatedLink(this, side(link, 0)), new SimulatedLink(this, side(link, 1))];
    const station = (index: 0 | 1) => {
      const { lateness, pollsEarly, stack = {} } = options;
      return new Station(this, links[1 - index], links[index], {
        mac: index === 0 ? LEFT_MAC : RIGHT_MAC,
        address: index === 0 ? LEFT : RIGHT,
        mtu: side(mtu, index),
        firstSequence: firstSequences[index],
        stack,
        observers: options.observers?.[index] ?? [],
        ...(lateness === undefined ? {} : { lateness }),
        ...(pollsEarly === undefined ? {} : { pollsEarly }),
      });
    };
    this.stations = [station(0), station(1)];
    this.left = this.stations[0].stack;
    this.right = this.stations[1].stack;
    this.right.tcpListen(RIGHT, PORT, answer);
  }

  /** Opens a connection from the left to the right. */
  connect(transfer: Transfer): void {
    const tuple: FourTuple = { localAddress: LEFT, localPort: 0, remoteAddress: RIGHT, remotePort: PORT };
    transfer.flow = this.left.tcpDial(tuple, transfer.log);
  }
}

function side<Value extends object | number>(value: Value | Pair<Value>, index: 0 | 1): Value {
  return Array.isArray(value) ? value[index] : (value as Value);
}
