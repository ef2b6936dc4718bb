/** Every route of the control API. Loaded with the first request. */
import type { Control } from "../control/control.ts";
import { dnsRoutes } from "../dns/api.ts";
import { captureRoutes } from "./capture-routes.ts";
import { configRoutes } from "./config-routes.ts";
import { containerRoutes } from "./container-routes.ts";
import { daemonRoutes } from "./daemon-routes.ts";
import { eventRoutes } from "./event-routes.ts";
import { flowRoutes } from "./flow-routes.ts";
import { forwardRoutes } from "./forward-routes.ts";
import { leaseRoutes } from "./lease-routes.ts";
import { metricsRoute } from "./metrics-route.ts";
import { openApiRoute } from "./openapi.ts";
import { proxyRoutes } from "./proxy-routes.ts";
import type { Route } from "./route.ts";
import { statsRoutes } from "./stats-routes.ts";
import { vmRoutes } from "./vm-routes.ts";

export function makeRoutes(control: Control): Route[] {
  const routes: Route[] = [
    ...daemonRoutes(control),
    ...vmRoutes(control),
    ...leaseRoutes(control),
    ...flowRoutes(control),
    ...statsRoutes(control),
    metricsRoute(control),
    ...forwardRoutes(control),
    ...containerRoutes(control),
    ...dnsRoutes(control),
    ...proxyRoutes(control),
    ...configRoutes(control),
    ...eventRoutes(control),
    ...captureRoutes(control),
  ];
  return [...routes, openApiRoute(routes)];
}
