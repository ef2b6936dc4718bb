import type { RejectReason, TcpRequest } from "../../tcp/flow.ts";
import { type JoinedOptions, JoinedStacks, type Pair } from "./joined-stacks.ts";
import { expectNothingLeft } from "./nothing-left.ts";
import { SegmentChecker } from "./segment-checker.ts";
import type { FrameObserver } from "./station.ts";
import { Transfer, type TransferOptions } from "./transfer.ts";

/** One connection: what its two owners do, and what the right one answers the request with. */
export interface FlowPlan {
  readonly owners: Pair<TransferOptions>;
  /** Milliseconds for which the request waits. */
  readonly answersAfter: number;
  readonly rejects?: RejectReason;
}

/** What happens between two stacks. */
export interface JoinedScenario extends Omit<JoinedOptions, "observers"> {
  readonly mtu: Pair<number>;
  readonly flows: readonly FlowPlan[];
  /** A side that disappears without a word, and when, in milliseconds since the beginning. */
  readonly vanishes?: { readonly side: 0 | 1; readonly at: number };
}

/** Both ends of a connection: the right one more than once when a late duplicate of the SYN asked again. */
interface Flow {
  readonly plan: FlowPlan;
  readonly left: Transfer;
  readonly right: Transfer[];
}

/** How a connection ended. */
export interface Outcome {
  /** On the left and on the right, where there may have been none. */
  readonly reasons: readonly (string | null)[];
  /** Whether both sides got everything, and its end. */
  readonly isComplete: boolean;
}

/**
 * Runs a scenario to its end.
 *
 * @returns how each connection ended.
 * @throws {Error} when a byte is wrong, missing or twice, a side ends well that may not, something is left at the end,
 *   or a stack sends what it may not.
 */
export function runJoinedScenario(
  scenario: JoinedScenario,
  observers: Pair<readonly FrameObserver[]> = [[], []],
): Outcome[] {
  const { flows: plans, vanishes, mtu, ...options } = scenario;
  const checkers = mtu.map((each) => new SegmentChecker(each));
  let unanswered = 0;
  const joined = new JoinedStacks(
    {
      ...options,
      mtu,
      observers: [
        [...observers[0], checkers[0]],
        [...observers[1], checkers[1]],
      ],
    },
    (request) => {
      const flow = flows.find(({ left }) => left.flow?.localPort === request.remotePort);
      if (flow === undefined) throw new Error(`a request from the port ${request.remotePort}, which nobody dialled`);
      unanswered++;
      joined.after(flow.plan.answersAfter, () => {
        unanswered--;
        answer(joined, flow, request);
      });
    },
  );
  const flows: Flow[] = plans.map((plan) => ({ plan, left: new Transfer(joined, plan.owners[0]), right: [] }));
  for (const { left } of flows) joined.connect(left);
  if (vanishes !== undefined) joined.after(vanishes.at, () => joined.stations[vanishes.side].vanish());
  const ends = () => flows.flatMap(({ left, right }) => [left, ...right]);
  // A SYN may still be under way when all the connections that there are have ended.
  const isQuiet = () => joined.stations.every((each) => each.isQuiet);
  joined.run(() => unanswered === 0 && ends().every(({ closed }) => closed !== null) && isQuiet());
  expectNothingLeft(joined, joined.stations);
  return flows.map(checkOutcome);
}

function answer(joined: JoinedStacks, { plan, right }: Flow, request: TcpRequest): void {
  if (plan.rejects !== undefined) {
    request.reject(plan.rejects);
    return;
  }
  const transfer = new Transfer(joined, plan.owners[1]);
  transfer.flow = request.accept(transfer.log);
  if (transfer.flow !== null) right.push(transfer);
}

/**
 * Whoever ended well has everything, and so has the other, even if that one ended badly: the acknowledgment of its FIN
 * may never have reached it. Nobody has more than was written.
 */
function checkOutcome({ plan, left, right }: Flow): Outcome {
  const [leftPlan, rightPlan] = plan.owners;
  const leftHasAll = left.log.receivedBytes === rightPlan.length;
  const rightHasAll = ({ log }: Transfer) => log.receivedBytes === leftPlan.length;
  const isRight =
    (left.closed !== "finished" || (leftHasAll && hasEnd(left) && right.some(rightHasAll))) &&
    right.every((end) => end.closed !== "finished" || (rightHasAll(end) && hasEnd(end) && leftHasAll)) &&
    right.every(({ log }) => log.receivedBytes <= left.written) &&
    left.log.receivedBytes <= Math.max(0, ...right.map(({ written }) => written));
  const reasons = [left, ...right].map(({ closed }) => closed);
  if (!isRight) {
    const got = [left, ...right].map(({ closed, log }) => `${closed} with ${log.receivedBytes}`);
    throw new Error(`of ${rightPlan.length} and ${leftPlan.length} bytes, the ends have: ${got.join(", ")}`);
  }
  const isComplete = leftHasAll && hasEnd(left) && right.some((end) => rightHasAll(end) && hasEnd(end));
  return { reasons, isComplete };
}

function hasEnd({ log }: Transfer): boolean {
  return log.events.includes("end");
}
