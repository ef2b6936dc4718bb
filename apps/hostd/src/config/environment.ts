/** What the defaults take from the machine: the folders of the XDG base directory specification. */
import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";

/** The surroundings a configuration is resolved in. */
export interface HostEnvironment {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly homeFolder: string;
  /** The numeric user, or undefined where the system has none. */
  readonly userId: number | undefined;
}

/** The surroundings of this process. */
export function processEnvironment(): HostEnvironment {
  return { variables: process.env, homeFolder: homedir(), userId: process.getuid?.() };
}

/** The folder for state that outlives a restart: `$XDG_STATE_HOME/hostd`, else `~/.local/state/hostd`. */
export function defaultStateFolder(environment: HostEnvironment): string {
  return join(xdg(environment, "XDG_STATE_HOME") ?? join(environment.homeFolder, ".local", "state"), "hostd");
}

/** The folder for sockets: `$XDG_RUNTIME_DIR/hostd`, else a folder of the user in /tmp. */
export function runtimeFolder(environment: HostEnvironment): string {
  const runtime = xdg(environment, "XDG_RUNTIME_DIR");
  return runtime === undefined ? `/tmp/hostd-${environment.userId ?? "user"}` : join(runtime, "hostd");
}

/** The socket a VM attaches to when no other is configured. */
export function defaultSocket(environment: HostEnvironment): string {
  return join(runtimeFolder(environment), "vm.sock");
}

/** Where the control API listens when the default endpoint is used and no other is configured. */
export function defaultApiSocket(environment: HostEnvironment): string {
  return join(runtimeFolder(environment), "api.sock");
}

/** Makes a path absolute: `~/` is the user's folder, anything else relative is relative to `base`. */
export function absolutePath(path: string, base: string, environment: HostEnvironment): string {
  if (path === "~" || path.startsWith("~/")) return join(environment.homeFolder, path.slice(1));
  return resolve(base, path);
}

/** A base directory variable; the specification has relative ones ignored. */
function xdg(environment: HostEnvironment, name: string): string | undefined {
  const value = environment.variables[name];
  return value !== undefined && isAbsolute(value) ? value : undefined;
}
