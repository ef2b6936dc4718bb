/** The file with which vpnkit is told its proxies (`vpnkit --http FILE`). */
import type { ProxyServer } from "../route.ts";
import { ProblemList } from "./problem-list.ts";
import type { AllowList, SourceReading } from "./proxy-settings.ts";

/** Ports to which flows are looked into, though the guest knows of no proxy. */
export interface TransparentPorts {
  /** Where plain HTTP is expected. */
  readonly http: readonly number[];
  /** Where TLS is expected. */
  readonly https: readonly number[];
}

/** What the file says. It always says something: without a proxy in it, that everything goes direct. */
export interface VpnkitProxies extends SourceReading {
  readonly transparentPorts: TransparentPorts;
}

export const DEFAULT_TRANSPARENT_PORTS: TransparentPorts = { http: [80], https: [443] };
const DEFAULT_MESSAGE = "Connections to %s are forbidden by policy.";

/**
 * Reads `{"http": URL, "https": URL, "exclude": LIST, "transparent_http_ports": [80], "transparent_https_ports": [443],
 * "allow_enabled": false, "allow": [PATTERN], "allow_error_msg": TEXT}`. Everything may be missing, and other keys are not
 * looked at. A proxy without a scheme is an HTTP proxy.
 *
 * @param from - where it is from, for people.
 * @throws {Error} when it is no JSON, or a key has a value of another type; the message begins with what is wrong.
 */
export function parseVpnkitProxies(text: string, from: string): VpnkitProxies {
  const file = parseObject(text);
  const problems = new ProblemList(from);
  const exclude = stringsOf(file, "exclude");
  return {
    settings: {
      http: proxyOf(file, "http", problems),
      https: proxyOf(file, "https", problems),
      pac: null,
      exclusions: exclude.length === 0 ? [] : [problems.exclusions(exclude)],
      allowed: allowListOf(file, problems),
      from,
    },
    problems: problems.lines,
    transparentPorts: {
      http: portsOf(file, "transparent_http_ports") ?? DEFAULT_TRANSPARENT_PORTS.http,
      https: portsOf(file, "transparent_https_ports") ?? DEFAULT_TRANSPARENT_PORTS.https,
    },
  };
}

type JsonObject = ReadonlyMap<string, unknown>;

function parseObject(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The message of JSON.parse may quote credentials.
    throw new Error("it is no JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("it is no JSON object");
  // A key without a value is as one that is missing.
  return new Map(Object.entries(value).filter(([, member]) => member !== null));
}

function proxyOf(file: JsonObject, key: string, problems: ProblemList): readonly ProxyServer[] {
  const url = stringOf(file, key)?.trim() ?? "";
  return url === "" ? [] : problems.proxyUrl(key, url.includes("://") ? url : `http://${url}`);
}

function allowListOf(file: JsonObject, problems: ProblemList): AllowList | null {
  const isEnabled = file.get("allow_enabled") ?? false;
  if (typeof isEnabled !== "boolean") throw new Error('"allow_enabled" has to be true or false');
  if (!isEnabled) return null;
  // What cannot be read allows nothing.
  return {
    ...problems.exclusions(stringsOf(file, "allow")),
    message: stringOf(file, "allow_error_msg") ?? DEFAULT_MESSAGE,
  };
}

function portsOf(file: JsonObject, key: string): readonly number[] | null {
  const ports = file.get(key);
  if (ports === undefined) return null;
  if (!Array.isArray(ports) || !ports.every(isPort)) throw new Error(`"${key}" has to be a list of ports, 1 to 65535`);
  return ports;
}

function isPort(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 0xffff;
}

function stringOf(file: JsonObject, key: string): string | null {
  const value = file.get(key);
  if (value === undefined) return null;
  if (typeof value !== "string") throw new Error(`"${key}" has to be a string`);
  return value;
}

/** The entries of a list, which is an array or a string with commas or spaces. */
function stringsOf(file: JsonObject, key: string): string[] {
  const value = file.get(key) ?? [];
  const entries = typeof value === "string" ? value.split(/[,\s]+/) : value;
  if (!Array.isArray(entries) || !entries.every((entry) => typeof entry === "string")) {
    throw new Error(`"${key}" has to be a list of strings`);
  }
  return entries.filter((entry) => entry !== "");
}
