import type { Socket } from "node:net";
import { type Framing, StreamPort } from "@hostd/frontends";
import type { Control } from "../control/control.ts";
import { splitTarget } from "./go-http-target.ts";
import { readRequestHead } from "./request-head.ts";
import { openTunnel, readTunnelTarget, type TunnelTarget } from "./tunnel.ts";

/** How long the head of the first request may take, in milliseconds. */
const HEAD_TIME = 10_000;

/** How VMs attach by `/connect`. */
export interface ConnectOptions {
  /** hyperkit's unless given, as gvproxy has it unless it is told to listen for QEMU too. */
  readonly framing?: Framing;
  /** What the VMs are called that attach there. */
  readonly name?: string;
}

/** What a connection becomes: the link of a VM, or a stream into one. */
type Purpose = "connect" | TunnelTarget;

/**
 * Takes over a connection whose first request is one of gvproxy's that turn it into something else: `/connect` attaches a
 * VM, `/tunnel` is a stream to an address of the guest's network. There is no answer in HTTP; what came behind the head is
 * the first of what follows.
 *
 * @param socket - paused and not read from.
 * @returns false when it is any other request; what was read has been put back.
 */
export function takeOver(
  socket: Socket,
  control: Control,
  canConnect: boolean,
  { framing = "hyperkit", name = "/connect" }: ConnectOptions = {},
): Promise<boolean> {
  return new Promise((resolve) => {
    let received: Buffer = Buffer.alloc(0);
    const stop = () => {
      clearTimeout(timer);
      socket.off("data", read).off("end", gone).off("close", gone);
    };
    const gone = () => {
      stop();
      socket.destroy();
      resolve(true);
    };
    const timer = setTimeout(gone, HEAD_TIME);
    const read = (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      const found = findPurpose(received, canConnect);
      if (found === "incomplete") return;
      stop();
      socket.pause();
      if (found === "other") {
        socket.unshift(received);
        resolve(false);
        return;
      }
      resolve(true);
      const early = received.subarray(found.length);
      if (found.purpose === "connect") control.attach(new StreamPort(socket, name, { framing, early }));
      else openTunnel(socket, early, found.purpose, control);
    };
    socket.on("data", read).once("end", gone).once("close", gone);
    socket.resume();
  });
}

/** What the first request is for. One that is wrong is another one: whoever answers requests says so. */
function findPurpose(
  received: Buffer,
  canConnect: boolean,
): { purpose: Purpose; length: number } | "incomplete" | "other" {
  const pathOf = (target: string) => splitTarget(target).path;
  const isWanted = (target: string) => pathOf(target) === "/tunnel" || (canConnect && pathOf(target) === "/connect");
  const head = readRequestHead(received, isWanted);
  if (typeof head === "string") return head;
  if (head.hasBody) return "other";
  const { target, length } = head;
  if (pathOf(target) === "/connect") return { purpose: "connect", length };
  const tunnel = readTunnelTarget(target);
  return typeof tunnel === "string" ? "other" : { purpose: tunnel, length };
}
