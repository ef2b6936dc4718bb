import { BindError, BindRefusedError } from "@hostd/portfwd";
import * as z from "zod";
import { ConfigError } from "../config/problems.ts";
import type { Control } from "../control/control.ts";
import type { BookedForward } from "../forwards/forward-book.ts";
import { readForwardData } from "../forwards/forward-data.ts";
import { forwardReport, forwardReportSchema } from "../forwards/forward-report.ts";
import { RequestError } from "./problem.ts";
import type { Route } from "./route.ts";

/** The members of a request that are not those of a forward in the configuration. */
const requestMembers = z.object({ persist: z.boolean().optional() });

const forwardRequest = z.strictObject({
  listen: z
    .union([z.string(), z.int()])
    .describe("As in the configuration: 8080, 0.0.0.0:8080, [::1]:8080, *:8080, 8000-8010 or unix:///PATH"),
  to: z
    .union([z.string(), z.int()])
    .describe("As in the configuration: 80, 172.17.0.2:80, 8000-8010 or ssh://USER@vm/PATH"),
  protocol: z.enum(["tcp", "udp"]).optional().describe("tcp unless given"),
  identity: z.string().optional().describe("With ssh://: the file of the private key"),
  passphrase: z.string().optional().describe("With ssh://: what the key is encrypted with"),
  knownHosts: z.string().optional().describe("With ssh://: the file of known hosts"),
  persist: z.boolean().optional().describe("Whether it is opened again after a restart; false unless given"),
});

type ForwardControl = Pick<Control, "forwards" | "forwarder" | "config">;

/** The forwards: what of this host leads into VMs. */
export function forwardRoutes(control: ForwardControl): Route[] {
  const { forwards, forwarder } = control;
  const report = (entries: readonly BookedForward[]) => {
    const statistics = forwarder.stats();
    return entries.map((entry) => forwardReport(entry, statistics));
  };
  return [
    {
      method: "GET",
      path: "/v1/forwards",
      name: "listForwards",
      summary: "What of this host leads into VMs",
      answer: z.array(forwardReportSchema),
      handle: () => report(forwards.list()),
    },
    {
      method: "POST",
      path: "/v1/forwards",
      name: "addForwards",
      summary: "Publishes a port, a range of ports or a socket; answers with what was opened, when all of it listens",
      body: forwardRequest,
      answer: z.array(forwardReportSchema),
      handle: async ({ body }) => report(await addForwards(control, body)),
    },
    {
      method: "DELETE",
      path: "/v1/forwards",
      name: "removeForward",
      summary: "Has a forward listen no longer",
      query: {
        id: { description: "The forward's id", required: true, example: "tcp/127.0.0.1:8080" },
        connections: {
          description: "What becomes of open connections: keep, or reset. keep if not given",
          example: "reset",
        },
      },
      answer: z.strictObject({ removed: z.string() }),
      handle: async ({ query }) => {
        const id = query.get("id") ?? "";
        const connections = query.get("connections") ?? "keep";
        if (connections !== "keep" && connections !== "reset") {
          throw new RequestError(`connections is ${JSON.stringify(connections)}; allowed: keep, reset`);
        }
        if (await forwards.remove(id, connections === "keep")) return { removed: id };
        const ids = forwards.list().map((entry) => entry.id);
        const there = ids.length === 0 ? "there is none" : `there are ${ids.join(", ")}`;
        throw new RequestError(`there is no forward ${id}; ${there}`, 404);
      },
    },
  ];
}

async function addForwards({ forwards, config }: ForwardControl, body: unknown): Promise<BookedForward[]> {
  const members = requestMembers.safeParse(body);
  if (!members.success || typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new RequestError(
      'a forward is an object such as {"listen": "127.0.0.1:8080", "to": 80}, persist being a boolean',
    );
  }
  const { persist: _, ...data } = { persist: false, ...body };
  const { persist = false } = members.data;
  try {
    return await forwards.openAll(readForwardData(data, config()), { origin: "api", persist });
  } catch (error) {
    throw refusal(error);
  }
}

/** What a client is told of a forward that cannot be opened. */
function refusal(error: unknown): unknown {
  if (error instanceof ConfigError) return new RequestError(error.message);
  if (error instanceof BindRefusedError) return new RequestError(error.message, 403);
  if (error instanceof BindError) return new RequestError(error.message, 409);
  return error;
}
