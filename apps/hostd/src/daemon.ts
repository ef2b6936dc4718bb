import type { Socket } from "node:net";
import type { QueryContext } from "@hostd/dns";
import {
  type Attachment,
  attachQemu,
  type FramePort,
  formatEndpoint,
  formatSocketAddress,
  PcapWriter,
  prepareSocketPath,
} from "@hostd/frontends";
import { formatListen, PortForwarder } from "@hostd/portfwd";
import type { FlowStream } from "@hostd/streams";
import { listenForApi } from "./api/listener.ts";
import { expandForward } from "./config/forward.ts";
import type { HostdConfig } from "./config/resolve.ts";
import { CaptureHub } from "./control/capture-hub.ts";
import type { Control } from "./control/control.ts";
import { EventHub } from "./control/event-hub.ts";
import { addTraffic, noTraffic } from "./control/traffic.ts";
import type { Daemon, DaemonOptions } from "./daemon-api.ts";
import { makeDhcpServer } from "./dhcp.ts";
import { DnsService } from "./dns/service.ts";
import { ContainerNames } from "./docker/container-names.ts";
import { forwarderSettings } from "./forwarder-settings.ts";
import { ForwardBook } from "./forwards/forward-book.ts";
import { ForwardStore } from "./forwards/forward-store.ts";
import { takeOver } from "./gvproxy/take-over.ts";
import { LeaseStore } from "./leases.ts";
import type { Logger } from "./logging.ts";
import { ProxyService } from "./proxy/proxy-service.ts";
import { Reloader } from "./reload.ts";
import { type SessionServices, VmSession } from "./vm-session.ts";

/**
 * Starts hostd: opens the state, the resolver and the capture, and lets VMs attach.
 *
 * @throws when a socket cannot be listened on or a file not be opened; nothing is left running then.
 */
export async function startDaemon(config: HostdConfig, logger: Logger, options: DaemonOptions = {}): Promise<Daemon> {
  const cleanup = new AsyncDisposableStack();
  try {
    // First of all, so that one started by mistake beside another leaves that one's capture alone.
    for (const endpoint of config.qemu) {
      if (endpoint.mode === "listen" && endpoint.transport === "unix") await prepareSocketPath(endpoint.path);
    }
    const events = options.events ?? new EventHub();
    const { activated } = options;
    const forwarder = new PortForwarder({
      ...forwarderSettings(config),
      ...(activated === undefined ? {} : { activated }),
      logger,
    });
    cleanup.defer(() => forwarder.close());
    const state = options.keepsState === false ? null : config.state;
    const forwardStore = await ForwardStore.open({ ...config, state }, logger);
    cleanup.defer(() => forwardStore.close());
    const forwards = new ForwardBook({ forwarder, store: forwardStore, events, logger });
    cleanup.defer(() => forwards.close());
    const opened = await forwards.openAll(config.forwards.flatMap(expandForward), { origin: "config" });
    await forwards.restore();
    for (const unused of activated?.unused() ?? [])
      logger.warn(`nothing is published on ${unused}, which was passed on to be listened on`);
    const store = await LeaseStore.open(state, logger);
    cleanup.defer(() => store.close());
    const containers = new ContainerNames();
    const dns = new DnsService(config, logger, containers);
    cleanup.defer(() => dns.close());
    const proxy = new ProxyService({
      config,
      resolve: (name) => dns.addresses(name, hostContext(config)),
      environment: process.env,
      events,
      logger,
    });
    cleanup.defer(() => proxy.close());
    const capture =
      config.capture === undefined
        ? undefined
        : new PcapWriter(config.capture, (error) => logger.error(`the capture ends here: ${error.message}`));
    if (capture !== undefined) {
      logger.info(`capturing every frame to ${capture.path}`);
      cleanup.defer(() => capture.close());
    }
    const captures = new CaptureHub(capture);
    const sessions = new Set<VmSession>();
    let endedTraffic = noTraffic();
    cleanup.defer(() => closeSessions(sessions));
    const reloader = new Reloader(config, options.readConfig, { forwarder, forwards, dns, proxy, events, logger });
    const control: Control = {
      startedAt: Date.now(),
      logger,
      leases: store.leases,
      dns,
      containers,
      proxy,
      forwarder,
      forwards,
      events,
      captures,
      attach: (port) => attached(port),
      config: () => reloader.config,
      vms: () => [...sessions],
      vm: (name) => [...sessions].find((session) => session.name === name),
      traffic: () => [...sessions].reduce((sum, session) => addTraffic(sum, session.traffic()), endedTraffic),
      reload: () => reloader.reload(),
    };
    const services: SessionServices = {
      config,
      logger,
      leases: store.leases,
      dhcp: makeDhcpServer(config, store.leases, () => dns.searchDomains, events, logger),
      makeDnsServer: () => dns.makeServer(),
      containers,
      resolve: (name, context) => dns.addresses(name, context),
      proxy,
      forwarder,
      events,
      captures,
      serveGuestApi: config.guestApi.enabled ? lazyGuestApi(control) : undefined,
    };
    const attached = (port: FramePort) => {
      const session = new VmSession(freeName(port.name, sessions), port, services);
      sessions.add(session);
      session.ended.then(() => {
        sessions.delete(session);
        endedTraffic = addTraffic(endedTraffic, session.traffic());
      });
    };
    if (config.api !== undefined) {
      const load = async () => (await import("./api/control-server.ts")).createControlServer(control);
      const name = `${formatSocketAddress(config.api)}/connect`;
      const intercept = (socket: Socket) => takeOver(socket, control, true, { name });
      const api = await listenForApi(config.api, { load, intercept });
      cleanup.defer(() => api.close());
      logger.info(`the control API listens on unix://${config.api.path}`);
    }
    if (config.docker.listen !== undefined) {
      const { path } = config.docker.listen;
      // It brings node:http with it.
      const { DockerService } = await import("./docker/docker-service.ts");
      const docker = await DockerService.open({ config, path, forwarder, forwards, dns, containers, logger });
      cleanup.defer(() => docker.close());
    }
    if (config.vpnkitApi !== undefined) {
      const load = async () => (await import("./vpnkit/expose-api.ts")).createExposeServer(control);
      const api = await listenForApi(config.vpnkitApi, { load });
      cleanup.defer(() => api.close());
      logger.info(`vpnkit's API listens on unix://${config.vpnkitApi.path}`);
    }
    for (const { address, canConnect, framing = "hyperkit" } of options.gvproxyApis ?? []) {
      const load = async () => (await import("./gvproxy/server.ts")).createGvproxyServer(control);
      const name = `${formatSocketAddress(address)}/connect`;
      const intercept = (socket: Socket) => takeOver(socket, control, canConnect, { framing, name });
      const api = await listenForApi(address, { load, intercept });
      cleanup.defer(() => api.close());
    }
    // Last, since whoever waits for the socket of a VM takes it as the sign that all the others are there.
    const attachments: Attachment[] = [];
    for (const endpoint of config.qemu) {
      const attachment = await attachQemu(endpoint, { attached, fault: (message) => logger.warn(message) });
      cleanup.defer(() => attachment.close());
      attachments.push(attachment);
    }
    const endpoints = attachments.map(({ endpoint }) => formatEndpoint(endpoint));
    const running = cleanup.move();
    return {
      endpoints,
      forwards: opened.map(({ forward, rule }) => formatListen(forward?.listening ?? rule.listen)),
      control,
      close: () => running.disposeAsync(),
    };
  } catch (error) {
    await cleanup.disposeAsync();
    throw error;
  }
}

/** Serves the API for guests with code that is loaded for the first of them. */
function lazyGuestApi(control: Control): (stream: FlowStream, vm: VmSession) => void {
  return (stream, vm) => {
    stream.on("error", () => {});
    import("./gvproxy/guest-api.ts").then(
      ({ serveGuestApi }) => serveGuestApi(stream, vm, control),
      () => stream.destroy(),
    );
  };
}

/** As whom hostd itself asks for names. */
function hostContext({ gateway }: HostdConfig): QueryContext {
  return { link: "", client: gateway, vmAddress: null };
}

/** All VMs of one endpoint that is listened on have its name. */
function freeName(name: string, sessions: ReadonlySet<VmSession>): string {
  const taken = new Set([...sessions].map((session) => session.name));
  let free = name;
  for (let number = 2; taken.has(free); number++) free = `${name}#${number}`;
  return free;
}

async function closeSessions(sessions: ReadonlySet<VmSession>): Promise<void> {
  for (const session of sessions) session.close();
  await Promise.all([...sessions].map((session) => session.ended));
}
