import { BindPolicy, type ForwardSettings } from "@hostd/portfwd";
import type { HostdConfig } from "./config/resolve.ts";

/** How forwards behave, as the configuration says. */
export function forwarderSettings({ gateway, host, subnet, publish, guestApi }: HostdConfig): ForwardSettings {
  return {
    gateway,
    clientAddresses: publish.source === "client" ? { host, network: subnet } : null,
    // What a guest may have is never more than what anybody may.
    policy: new BindPolicy({ host: publish.allow, guest: guestApi.allow }),
    waitTime: publish.waitSeconds * 1000,
    maxConnections: publish.maxConnections,
    maxPending: publish.maxPending,
    maxDatagramFlows: publish.maxUdpFlows,
    datagramIdleTime: publish.udpIdleSeconds * 1000,
  };
}
