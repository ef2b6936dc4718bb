import { type JoinedOptions, JoinedStacks, LEFT, PORT, RIGHT } from "./joined-stacks.ts";

/** A connection over which the left side sends as fast as it can. */
export interface BulkFlow {
  /** Bytes that have arrived. */
  received: number;
  /** When everything had arrived, in milliseconds of the simulation; null before. */
  finishedAt: number | null;
}

const BYTES = new Uint8Array(256 * 1024);
const IGNORE = () => {};

/**
 * Two stacks for measurements: data goes from the left to the right. What the bytes are is not looked at, which costs
 * more than the stacks do.
 */
export class BulkStacks extends JoinedStacks {
  readonly #flows: Map<number, BulkFlow>;

  constructor(options: JoinedOptions) {
    const flows = new Map<number, BulkFlow>();
    super(options, (request) => {
      const flow = flows.get(request.remotePort);
      if (flow === undefined) throw new Error(`a request from the port ${request.remotePort}, which nobody dialled`);
      request.accept({
        established: IGNORE,
        data: (connection, _bytes, _offset, length) => {
          flow.received += length;
          connection.consumed(length);
        },
        end: (connection) => {
          flow.finishedAt = this.now;
          connection.shutdown();
        },
        writable: IGNORE,
        closed: IGNORE,
      });
    });
    this.#flows = flows;
  }

  /** Opens a connection and sends `length` bytes. */
  open(length: number): BulkFlow {
    let left = length;
    const flow: BulkFlow = { received: 0, finishedAt: null };
    const write = () => {
      while (left > 0) {
        const part = Math.min(left, BYTES.length);
        const taken = connection?.send(BYTES, 0, part) ?? 0;
        left -= taken;
        if (taken < part) return;
      }
      connection?.shutdown();
    };
    const tuple = { localAddress: LEFT, localPort: 0, remoteAddress: RIGHT, remotePort: PORT };
    const connection = this.left.tcpDial(tuple, {
      established: write,
      data: IGNORE,
      end: IGNORE,
      writable: write,
      closed: IGNORE,
    });
    if (connection === null) throw new Error("the stack does not dial");
    this.#flows.set(connection.localPort, flow);
    return flow;
  }
}
