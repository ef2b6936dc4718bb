/** `hostd events`: what happens, as it happens. */
import type { HostdEvent } from "../control/event-hub.ts";
import { type ApiOptions, followApi } from "./api-client.ts";
import { describeEvent } from "./events-text.ts";
import { printLines } from "./print.ts";

/** Prints a line for each event until hostd ends, which is an error. */
export async function runEvents({ api, json }: ApiOptions): Promise<void> {
  for await (const line of followApi(api, "/v1/events")) {
    printLines([json === true ? line : describeEvent(JSON.parse(line) as HostdEvent)]);
  }
}
