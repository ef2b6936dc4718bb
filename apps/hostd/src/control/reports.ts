/** What the control API answers with, as types alone: for whoever asks, without the code that answers. */
export type { ContainerReport, ContainersReport } from "./container-report.ts";
export type { FlowListReport, FlowReport } from "./flow-report.ts";
export type { LeaseReport } from "./lease-report.ts";
export type { ProxyReport, ProxyRouteReport, ProxySettingsReport, ProxyTrialReport } from "./proxy-report.ts";
export type { StatsReport } from "./stats-report.ts";
export type { VmReport } from "./vm-report.ts";
