export { canonicalHost } from "./canonical-host.ts";
export { HttpProxy, type HttpProxyCounts, type HttpProxyOptions } from "./explicit/http-proxy.ts";
export { Pac, type PacOptions } from "./pac/pac.ts";
export type { PacResolver } from "./pac/pac-resolver.ts";
export {
  type Credentials,
  type Decision,
  type Destination,
  DIRECT,
  formatHostPort,
  formatProxy,
  formatRoute,
  type HostPort,
  type ProxyServer,
  REFUSE,
  type Route,
  type Router,
} from "./route.ts";
export { SettingsRouter, type SettingsRouterOptions } from "./router.ts";
export { CredentialsFile, CredentialsFileError } from "./settings/credentials-file.ts";
export { ExclusionList } from "./settings/exclusion-list.ts";
export {
  maskProxyUrl,
  ProxyUrlError,
  parseProxy,
  parseUpstreamSetting,
  type UpstreamSetting,
} from "./settings/proxy-url.ts";
export type { ProxySettings } from "./sources/proxy-settings.ts";
export {
  type ProxyChoice,
  type SettingsReport,
  SettingsStack,
  type SettingsSummary,
  type SourceReport,
  summarize,
} from "./sources/settings-stack.ts";
export { systemProgram } from "./sources/system-program.ts";
export type { SystemProgram } from "./sources/system-settings.ts";
export { VpnkitProxyFile } from "./sources/vpnkit-proxy-file.ts";
export { isLookedInto, type TransparentPorts } from "./transparent/transparent-ports.ts";
export { TransparentProxy, type TransparentProxyCounts } from "./transparent/transparent-proxy.ts";
export { type Trial, tryRequest } from "./trial.ts";
export type { Connector, DialOrigin, Upstream } from "./upstream/connector.ts";
export { UpstreamConnector, type UpstreamConnectorOptions } from "./upstream/upstream-connector.ts";
export { UpstreamError } from "./upstream/upstream-error.ts";
export { UpstreamHealth, type UpstreamReport } from "./upstream/upstream-health.ts";
