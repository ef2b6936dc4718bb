/**
 * Measures TCP's fast path alone: two stacks joined in memory, without sockets, in processor time. For comparing two
 * checkouts, run it by turns in both, as the machine is noisy:
 *
 *   node bench/tcp-transfer.ts [--checkout FOLDER] [--mtu BYTES] [--bytes COUNT] [--flows COUNT]
 *
 * Prints one line of JSON: Gbit/s per core, and nanoseconds per data segment for both stacks together.
 */

import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    checkout: { type: "string", default: join(import.meta.dirname, "..") },
    mtu: { type: "string", default: "1500" },
    bytes: { type: "string", default: "2000000000" },
    flows: { type: "string", default: "1" },
  },
});
const mtu = Number(values.mtu);
const bytes = Number(values.bytes);
const flows = Number(values.flows);
if (!Number.isInteger(mtu) || mtu < 576 || mtu > 65_520) throw new Error(`--mtu ${values.mtu} is not 576 to 65520`);
if (!Number.isInteger(flows) || flows < 1 || flows > 10_000)
  throw new Error(`--flows ${values.flows} is not 1 to 10000`);
if (!Number.isInteger(bytes) || bytes < 1) throw new Error(`--bytes ${values.bytes} is not a whole number above 0`);

type StackModule = typeof import("../packages/stack/src/index.ts");
const entry = pathToFileURL(join(resolve(values.checkout), "packages/stack/src/index.ts")).href;
const { parseIpv4, parseMac, Stack, takeRegion }: StackModule = await import(entry);

let now = performance.now();

/** One stack and the frames on their way from it. */
class End {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly stack: InstanceType<StackModule["Stack"]>;
  readonly #frames: number[] = [];
  readonly #start: number;
  readonly #end: number;
  #at: number;

  constructor(number: number) {
    // As frontends do, where the checkout has it.
    const size = 1 << 20;
    const region = takeRegion === undefined ? null : takeRegion(size);
    this.bytes = region?.bytes ?? new Uint8Array(size);
    this.view = region?.view ?? new DataView(this.bytes.buffer);
    this.#start = region?.offset ?? 0;
    this.#end = this.#start + size;
    this.#at = this.#start;
    this.stack = new Stack({
      mac: parseMac(`02:00:00:00:00:0${number}`),
      addresses: [parseIpv4(`10.0.0.${number}`)],
      network: { address: parseIpv4("10.0.0.0"), prefixLength: 24 },
      mtu,
      now: () => now,
      randomBytes: (random) => {
        crypto.getRandomValues(random as Uint8Array<ArrayBuffer>);
      },
      handlers: { tcpRequest: () => {}, udpDatagram: () => {}, echoRequest: () => {} },
      wake: () => {},
    });
    this.stack.attach(this);
  }

  // As a transport does: frames one after the other, with room for a length in front of each.
  reserve(length: number): number {
    return this.#at + length + 6 > this.#end ? -1 : this.#at + 2;
  }

  commit(length: number): void {
    this.#frames.push(this.#at + 2, length);
    this.#at = (this.#at + 2 + length + 3) & ~3;
  }

  /** Hands what was sent to the other stack, as one batch. */
  deliverTo(other: End): void {
    for (let index = 0; index < this.#frames.length; index += 2) {
      other.stack.receiveFrame(this.bytes, this.view, this.#frames[index], this.#frames[index + 1]);
    }
    this.#frames.length = 0;
    this.#at = this.#start;
  }

  turn(): void {
    now = performance.now();
    if (this.stack.nextDeadline <= now) this.stack.poll();
    this.stack.flush();
  }
}

const sender = new End(1);
const receiver = new End(2);
const chunk = new Uint8Array(65_536);
const nothing = () => {};
let received = 0;
receiver.stack.tcpListen(parseIpv4("10.0.0.2"), 80, (request) => {
  request.accept({
    established: nothing,
    data: (flow, _bytes, _offset, length) => {
      received += length;
      flow.consumed(length);
    },
    end: nothing,
    writable: nothing,
    closed: nothing,
  });
});
const tuple = {
  localAddress: parseIpv4("10.0.0.1"),
  localPort: 0,
  remoteAddress: parseIpv4("10.0.0.2"),
  remotePort: 80,
};
for (let count = 0; count < flows; count++) {
  const write = () => {
    while (flow !== null && flow.send(chunk, 0, chunk.length) === chunk.length);
  };
  const flow = sender.stack.tcpDial(tuple, {
    established: write,
    data: nothing,
    end: nothing,
    writable: write,
    closed: (_flow, reason) => {
      throw new Error(`the connection ended: ${reason}`);
    },
  });
}

function transfer(until: number): void {
  while (received < until) {
    sender.turn();
    sender.deliverTo(receiver);
    receiver.turn();
    receiver.deliverTo(sender);
  }
}

// The engine's compilers settle first.
transfer(bytes / 4);
const before = { cpu: process.cpuUsage(), received, segments: sender.stack.statistics.framesSent };
transfer(received + bytes);
const { user, system } = process.cpuUsage(before.cpu);
const seconds = (user + system) / 1e6;
const segments = sender.stack.statistics.framesSent - before.segments;
console.log(
  JSON.stringify({
    mtu,
    flows,
    gbitPerSecondAndCore: Number((((received - before.received) * 8) / 1e9 / seconds).toFixed(2)),
    nanosecondsPerSegment: Math.round((seconds * 1e9) / segments),
    retransmissions: sender.stack.statistics.tcpRetransmissions,
  }),
);
