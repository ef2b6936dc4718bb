import { containersReport, containersSchema } from "../control/container-report.ts";
import type { Control } from "../control/control.ts";
import type { Route } from "./route.ts";

/** What the containers' routes need of {@link Control}. */
export interface ContainerControl {
  readonly containers: Pick<Control["containers"], "engine">;
  readonly dns: Pick<Control["dns"], "hasContainer">;
}

/** The containers of the engine in a VM. */
export function containerRoutes({ containers, dns }: ContainerControl): Route[] {
  return [
    {
      method: "GET",
      path: "/v1/containers",
      name: "listContainers",
      summary: "The containers that run, with their names and addresses; none without docker.listen",
      query: {
        name: {
          description:
            "Only those of this name, in any case, or of this id or the first 12 digits or more of it; all if not given",
          example: "web",
        },
      },
      answer: containersSchema,
      handle: ({ query }) => containersReport(containers.engine, dns, query.get("name")),
    },
  ];
}
