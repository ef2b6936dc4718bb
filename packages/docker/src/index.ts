export type { Fields, RequestHead, ResponseHead } from "@hostd/http1";
export { type ApiCall, type ApiPath, mayHijack, parseApiPath, readApiCall } from "./api-path.ts";
export { DockerProxy, type DockerProxyOptions } from "./docker-proxy.ts";
export { EngineClient, type EngineClientOptions, EngineError } from "./engine/engine-client.ts";
export type { EngineEvent } from "./engine/engine-event.ts";
export { EngineWatch, type EngineWatcher, type EngineWatchOptions } from "./engine/engine-watch.ts";
export { elementsAt, textAt } from "./engine/json-value.ts";
export type { Answered, Interception, Interceptor, Verdict } from "./http/intercept.ts";
export { ContainerDirectory, type ContainerDirectoryOptions } from "./names/container-directory.ts";
export type { ContainerNetwork, RunningContainer } from "./names/running-container.ts";
export { CreatePolicy, type CreatePolicyOptions, type ProxyEnvironment } from "./policy/create-policy.ts";
export { JsonText, JsonTextError } from "./policy/json-text.ts";
export type { AskedPort } from "./ports/container-ports.ts";
export type { PortReport } from "./ports/host-ports.ts";
export { PortKeeper, type PortKeeperOptions } from "./ports/port-keeper.ts";
export {
  type ContainerPort,
  type HostPort,
  type PortPublisher,
  PortUnavailableError,
  type PublishedPort,
} from "./ports/port-publisher.ts";
export { PortReservations, type Reservation } from "./ports/port-reservations.ts";
