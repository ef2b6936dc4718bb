import { MAX_SNAP_LENGTH } from "@hostd/frontends";
import * as z from "zod";
import { FilterError } from "../capture/filter-error.ts";
import { compileFilter, type FrameFilter } from "../capture/frame-filter.ts";
import { CAPTURE_ID_HEADER } from "../capture/id-header.ts";
import type { CaptureWish, LiveCapture } from "../capture/live-capture.ts";
import type { Control } from "../control/control.ts";
import { count, type Reported, time } from "../control/report-schema.ts";
import { RequestError } from "./problem.ts";
import type { Route } from "./route.ts";
import { noSuchVm } from "./vm-routes.ts";

export const captureReportSchema = z.strictObject({
  id: z.int().positive().describe(`What the header ${CAPTURE_ID_HEADER} of its answer says`),
  vm: z.string().nullable().describe("The VM whose frames it has; null for all"),
  filter: z.string().describe("As it was given; empty for every frame"),
  snaplen: count("Bytes of a frame that are kept at most"),
  startedAt: time("When it was begun"),
  packets: count("Packets that were captured"),
  dropped: count("Packets that were not, because the reader was too slow"),
  waitingBytes: count("Bytes that the reader has not taken yet"),
});

export type CaptureReport = Reported<typeof captureReportSchema>;

/** What the routes need of a VM. */
interface NamedVm {
  readonly name: string;
}

/** What the routes need of {@link Control}. */
export interface CaptureControl extends Pick<Control, "captures"> {
  readonly logger: Pick<Control["logger"], "info" | "warn">;
  vms(): readonly NamedVm[];
}

/** Frames as they pass, for Wireshark and tcpdump. */
export function captureRoutes(control: CaptureControl): Route[] {
  const { captures, logger } = control;
  return [
    {
      method: "GET",
      path: "/v1/capture",
      name: "capture",
      summary: "The frames that pass from now on, of VMs that attach later too, as a pcap file",
      query: {
        vm: { description: "Only those of this VM", example: "unix:///run/vm.sock" },
        filter: { description: "Only those that this filter wants, in tcpdump's language", example: "tcp port 80" },
        snaplen: { description: `Bytes of a frame that are kept, up to ${MAX_SNAP_LENGTH}`, example: "128" },
      },
      contentType: "application/vnd.tcpdump.pcap",
      answerDescription:
        "The classic pcap format with times in microseconds, for as long as the client reads. A client that is too " +
        `slow loses packets. The header ${CAPTURE_ID_HEADER} has the id by which /v1/captures tells how many.`,
      stream: ({ query }, response) => {
        const wish = readWish(query, control.vms());
        response.setHeader("content-type", "application/vnd.tcpdump.pcap").setHeader("cache-control", "no-store");
        if (response.req.method === "HEAD") {
          response.end();
          return;
        }
        const capture = captures.begin(wish, {
          write: (bytes, taken) => response.write(bytes, taken),
          end: () => response.end(),
        });
        // A client may go at any time.
        response.on("error", () => {});
        response.setHeader(CAPTURE_ID_HEADER, capture.id);
        // The head of the file at once: the reader shows then that it is listening.
        capture.flush();
        logger.info(captureFields(capture), "a capture has begun");
        response.once("close", () => {
          capture.end();
          const { packets, dropped } = capture;
          const text = `a capture has ended: ${packets} packets captured, ${dropped} packets dropped`;
          logger[dropped > 0 ? "warn" : "info"](captureFields(capture), text);
        });
      },
    },
    {
      method: "GET",
      path: "/v1/captures",
      name: "listCaptures",
      summary: "The captures that are going on, without that of the configuration",
      answer: z.array(captureReportSchema),
      handle: () => captures.list().map(captureReport),
    },
    {
      method: "DELETE",
      path: "/v1/captures",
      name: "endCapture",
      summary: "Ends a capture: its answer ends with what was captured until now",
      query: { id: { description: "The capture's id", required: true, example: "1" } },
      answer: captureReportSchema,
      handle: ({ query }) => {
        const id = query.get("id") ?? "";
        const capture = captures.list().find((candidate) => String(candidate.id) === id);
        if (capture === undefined) {
          const ids = captures.list().map((candidate) => candidate.id);
          const there = ids.length === 0 ? "there is none" : `there are ${ids.join(", ")}`;
          throw new RequestError(`there is no capture ${id}; ${there}`, 404);
        }
        capture.end();
        return captureReport(capture);
      },
    },
  ];
}

function captureReport({ id, wish, startedAt, packets, dropped, waiting }: LiveCapture): CaptureReport {
  return {
    id,
    vm: wish.vm ?? null,
    filter: wish.expression,
    snaplen: wish.snapLength,
    startedAt: new Date(startedAt).toISOString(),
    packets,
    dropped,
    waitingBytes: waiting,
  };
}

/** What the log tells of a capture. */
function captureFields({ id, wish }: LiveCapture) {
  return { capture: id, ...(wish.vm === undefined ? {} : { vm: wish.vm }), filter: wish.expression };
}

/** @throws {RequestError} when something of it is not understood. */
function readWish(query: URLSearchParams, vms: readonly NamedVm[]): CaptureWish {
  const vm = query.get("vm") ?? undefined;
  if (vm !== undefined && !vms.some(({ name }) => name === vm)) {
    throw new RequestError(noSuchVm(vm, vms), 404);
  }
  const expression = query.get("filter") ?? "";
  return {
    ...(vm === undefined ? {} : { vm }),
    expression,
    filter: readFilter(expression),
    snapLength: readSnapLength(query.get("snaplen")),
  };
}

function readFilter(expression: string): FrameFilter {
  try {
    return compileFilter(expression);
  } catch (error) {
    if (error instanceof FilterError) throw new RequestError(error.message);
    throw error;
  }
}

function readSnapLength(text: string | null): number {
  if (text === null) return MAX_SNAP_LENGTH;
  const length = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (length >= 1 && length <= MAX_SNAP_LENGTH) return length;
  throw new RequestError(`snaplen is ${JSON.stringify(text)}; allowed: a number of bytes from 1 to ${MAX_SNAP_LENGTH}`);
}
