import * as z from "zod";
import type { Control } from "../control/control.ts";
import type { EventType, HostdEvent } from "../control/event-hub.ts";
import type { Route } from "./route.ts";

/** Bytes that may wait for a client that does not read; beyond, it is let go. */
const MAX_UNREAD = 1024 * 1024;
/** How often a client without events is sent an empty line, so that one that is gone is noticed, in milliseconds. */
const HEARTBEAT_TIME = 30_000;

const fields = {
  "vm.attached": { vm: z.string() },
  "vm.detached": { vm: z.string(), fault: z.string().optional() },
  "vm.address": { vm: z.string(), mac: z.string(), address: z.string() },
  "lease.granted": { mac: z.string(), address: z.string(), host: z.string().optional() },
  "lease.released": { mac: z.string(), address: z.string() },
  "forward.added": { id: z.string(), to: z.string(), origin: z.string() },
  "forward.removed": { id: z.string(), origin: z.string() },
  "forward.failed": { id: z.string(), origin: z.string(), error: z.string() },
  "zone.added": { zone: z.string() },
  "zone.removed": { zone: z.string() },
  "proxy.changed": {
    http: z.array(z.string()),
    https: z.array(z.string()),
    pac: z.string().nullable(),
    exclusions: z.array(z.string()),
    from: z.string(),
  },
  "config.reloaded": { changed: z.array(z.string()) },
} as const satisfies Record<EventType, z.core.$ZodLooseShape>;

/** One line of the events. */
export const eventSchema = z.union(
  Object.entries(fields).map(([type, shape]) => {
    return z.strictObject({ type: z.literal(type), time: z.iso.datetime(), ...shape });
  }),
);

/** What happens, as it happens. */
export function eventRoutes({ events }: Pick<Control, "events">): Route[] {
  return [
    {
      method: "GET",
      path: "/v1/events",
      name: "followEvents",
      summary:
        "What happens from now on, a line of JSON each; an empty line now and then says that hostd is still there",
      contentType: "application/x-ndjson",
      answerDescription: "Lines of JSON, for as long as the client reads",
      line: eventSchema,
      stream: (_, response) => {
        response.writeHead(200, { "content-type": "application/x-ndjson", "cache-control": "no-store" });
        response.flushHeaders();
        const write = (line: string) => {
          if (response.writableLength > MAX_UNREAD) response.destroy();
          else response.write(line);
        };
        const heartbeat = setInterval(() => write("\n"), HEARTBEAT_TIME).unref();
        const stop = events.listen((event: HostdEvent) => write(`${JSON.stringify(event)}\n`));
        response.on("close", () => {
          clearInterval(heartbeat);
          stop();
        });
      },
    },
  ];
}
