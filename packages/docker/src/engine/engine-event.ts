import { textAt } from "./json-value.ts";

/** Something that happened in an engine. */
export interface EngineEvent {
  /** What it happened to: `container`, `network`, `service` and so on. */
  readonly type: string;
  /** `start`, `die`, `connect` and so on, as Docker spells it. */
  readonly action: string;
  /** Of the container, network or service. */
  readonly id: string;
  /** Of the container that it happened to, or that a network was connected to or disconnected from; else empty. */
  readonly container: string;
}

/** What Podman calls otherwise than Docker. */
const DOCKER_ACTIONS: ReadonlyMap<string, string> = new Map([
  ["died", "die"],
  ["remove", "destroy"],
]);

/**
 * Reads an event of the stream. Before API version 1.52 Docker also tells it in the members `status` and `id`, Podman may
 * have `Status` for `Action`.
 *
 * @returns null when it is none.
 */
export function readEngineEvent(value: unknown): EngineEvent | null {
  const action = textAt(value, "Action") || textAt(value, "Status") || textAt(value, "status");
  const id = textAt(value, "Actor", "ID") || textAt(value, "id");
  if (action === "" || id === "") return null;
  const type = textAt(value, "Type") || "container";
  if (type === "container") return { type, action: DOCKER_ACTIONS.get(action) ?? action, id, container: id };
  // In Podman's events of networks the actor is the container.
  const container = type === "network" ? textAt(value, "Actor", "Attributes", "container") || id : "";
  return { type, action, id, container };
}
