/** Checks of the sockets and folders of hostd. */
import { dirname } from "node:path";
import { type Endpoint, formatEndpoint, formatSocketAddress } from "@hostd/frontends";
import { versionInfo } from "../cli/version.ts";
import { runtimeFolder } from "../config/environment.ts";
import { configWarnings } from "../config/resolve.ts";
import { codeOf, type Finding, failure, messageOf, ok, warning } from "./finding.ts";
import type { Host, Subject } from "./host.ts";

export function checkConfiguration(_: Host, { config, configFile }: Subject): Finding[] {
  const warnings = configWarnings(config);
  if (warnings.length === 0) return [ok("configuration", configFile ?? "the defaults, as no file was named")];
  return warnings.map((text) => {
    // The key is in front; what to do is behind another colon, where it is said.
    const at = text.lastIndexOf(": ");
    if (at === text.indexOf(": ")) return warning("configuration", text, "see docs/configuration.md");
    return warning("configuration", text.slice(0, at), text.slice(at + 2));
  });
}

/** Whether a hostd runs, and whether it is of this version. */
export async function checkDaemon(_: Host, { hostd }: Subject): Promise<Finding[]> {
  const { api, isNamed } = hostd;
  if (api === undefined) {
    return [ok("hostd", "the configuration has no control API, so a running hostd cannot be asked")];
  }
  const url = formatSocketAddress(api);
  const state = await hostd.state();
  switch (state.kind) {
    case "running": {
      const { version } = versionInfo();
      if (state.version === version) return [ok("hostd", `hostd ${version} answers at ${url}`)];
      const seen = `hostd ${state.version} answers at ${url}, and this is ${version}`;
      return [warning("hostd", seen, "restart hostd to have it run this version")];
    }
    case "absent": {
      const seen = `no hostd runs at ${url}${state.isStale ? ", one that is gone has left its socket" : ""}`;
      const advice = 'start it with "hostd up", or name another socket with --api';
      return [isNamed ? failure("hostd", seen, advice) : warning("hostd", seen, advice)];
    }
    case "denied":
      return [failure("hostd", `${url} may not be opened`, "run this as the user that runs hostd")];
    case "foreign": {
      const advice = `stop the program that listens there, or have hostd listen elsewhere with --api`;
      return [failure("hostd", `another program is at ${url}: ${state.reason}`, advice)];
    }
  }
}

/** The folder of the default sockets: in /tmp, anybody could have made it. */
export async function checkRuntimeFolder(host: Host, { config }: Subject): Promise<Finding[]> {
  const folder = runtimeFolder(host);
  const sockets = config.qemu.flatMap((endpoint) => {
    return endpoint.mode === "listen" && endpoint.transport === "unix" ? [endpoint.path] : [];
  });
  for (const address of [config.api, config.vpnkitApi]) if (address !== undefined) sockets.push(address.path);
  if (!sockets.some((path) => dirname(path) === folder)) return [];
  const status = await host.lookAt(folder);
  if (status === null) return [ok("runtime folder", `${folder} is not there yet; "hostd up" makes it`)];
  const advice = "remove it, or name other sockets with --qemu and --api";
  if (status.kind !== "folder") return [failure("runtime folder", `${folder} is no folder`, advice)];
  if (host.userId !== undefined && status.userId !== host.userId) {
    return [failure("runtime folder", `${folder} belongs to user ${status.userId}, not to ${host.userId}`, advice)];
  }
  const mode = status.mode.toString(8).padStart(4, "0");
  if ((status.mode & 0o022) !== 0) {
    return [failure("runtime folder", `${folder} (${mode}) can be written to by other users`, `chmod 700 ${folder}`)];
  }
  return [ok("runtime folder", `${folder} is this user's own (${mode})`)];
}

/** Where VMs attach: whether hostd can listen there, or somebody listens where hostd connects. */
export async function checkEndpoints(host: Host, subject: Subject): Promise<Finding[]> {
  return await Promise.all(subject.config.qemu.map((endpoint) => checkEndpoint(host, subject, endpoint)));
}

async function checkEndpoint(host: Host, { config, hostd }: Subject, endpoint: Endpoint): Promise<Finding> {
  const name = "endpoint";
  const url = formatEndpoint(endpoint);
  const isRunning = await hostd.isRunning();
  if (endpoint.transport === "tcp") {
    if (endpoint.mode === "dial") return ok(name, `${url} was not tried, as a VM takes one connection only`);
    const rule = {
      protocol: "tcp",
      listen: { host: endpoint.host, port: endpoint.port },
      to: { address: null, port: 1 },
    } as const;
    const taken = await host.tryForward(config, rule).then(
      () => null,
      (error: unknown) => error,
    );
    if (taken === null) return ok(name, `${url} is free`);
    if (isRunning && codeOf(taken) === "EADDRINUSE") return ok(name, `${url} is listened on, and a hostd runs`);
    return failure(name, messageOf(taken), "stop what holds it, or choose another with --qemu");
  }
  const { path } = endpoint;
  const found = await lookAtSocket(host, path);
  if (endpoint.mode === "dial") {
    return found === "answers"
      ? ok(name, `${url} is listened on`)
      : warning(name, `nobody listens at ${url} yet`, "start the VM; hostd connects again until it answers");
  }
  switch (found) {
    case "free":
      return ok(name, `${url} is free`);
    case "stale":
      return ok(name, `${url} was left by a process that is gone; "hostd up" takes its place`);
    case "answers":
      if (isRunning) return ok(name, `${url} is listened on, and a hostd runs`);
      return warning(
        name,
        `a process listens at ${url}, and no hostd can be asked`,
        "if it is a hostd, name its control API with --api; if it is not, stop it or choose another path with --qemu",
      );
    case "in the way":
      return failure(name, `${path} is there and is no socket`, "remove it, or choose another path with --qemu");
    default:
      return failure(name, `${path} cannot be looked at: ${found.reason}`, "choose another path with --qemu");
  }
}

/** What is at the path of a Unix socket. */
export async function lookAtSocket(
  host: Host,
  path: string,
): Promise<"free" | "stale" | "answers" | "in the way" | { readonly reason: string }> {
  try {
    const status = await host.lookAt(path);
    if (status === null) return "free";
    if (status.kind !== "socket") return "in the way";
    // A connection would be a VM to hostd, for a moment.
    if (host.listeningSockets()?.has(path)) return "answers";
    await host.connect(path);
    return "answers";
  } catch (error) {
    return codeOf(error) === "ECONNREFUSED" ? "stale" : { reason: messageOf(error) };
  }
}

/** Whether the folder for what outlives a restart can be written to, or be made. */
export async function checkStateFolder(host: Host, { config }: Subject): Promise<Finding[]> {
  const { state } = config;
  // The folder that it would be made in, as long as it is not there.
  let folder = state;
  while ((await host.lookAt(folder)) === null && dirname(folder) !== folder) folder = dirname(folder);
  const isThere = folder === state;
  if (await host.canWriteIn(folder)) {
    return [ok("state folder", isThere ? `${state} can be written to` : `${state} is made when it is needed`)];
  }
  const seen = isThere ? `${state} is no folder that can be written to` : `${state} cannot be made in ${folder}`;
  const advice = "make it writable for this user, or choose another with --state";
  return [failure("state folder", `${seen}, so hostd cannot start`, advice)];
}
