import type { Verdict } from "../http/intercept.ts";
import { type AskedPort, isWithoutPorts, readPortBindings } from "../ports/container-ports.ts";
import { portRefusal, UNSUPPORTED_PROTOCOL } from "../ports/port-refusal.ts";
import { ForbiddenPaths } from "./forbidden-paths.ts";
import { elementsOf, entriesOf, type Field, fieldOf, rawFieldOf, textOf } from "./json-fields.ts";
import { type JsonEdit, JsonText, JsonTextError } from "./json-text.ts";

export interface CreatePolicyOptions {
  /** Absolute paths of the VM that no container may have, with all that is in them and the folders that they are in. */
  readonly forbiddenMounts?: readonly string[];
  /** The address that `host-gateway` means; the engine's own unless given. */
  readonly hostGateway?: string;
  /** What containers are told of a proxy. A variable that they set themselves, in any case, stays as it is. */
  readonly proxyEnvironment?: ProxyEnvironment;
  /** Says why containers may have none of the ports of the host that they ask for; null when they may have one. */
  readonly refusePort?: (asked: AskedPort) => string | null;
}

/** The values of the variables by which programs find a proxy. */
export interface ProxyEnvironment {
  /** The URL of the proxy: `HTTP_PROXY` and `HTTPS_PROXY`. */
  readonly proxy: string;
  /** What is reached without it: `NO_PROXY`. */
  readonly noProxy: string;
}

/** Kinds of mounts that are known to have nothing of the VM's files, or that are looked into. */
const KNOWN_MOUNTS: ReadonlySet<string> = new Set(["bind", "volume", "tmpfs", "npipe", "cluster", "image"]);
/** File systems whose `device` is on another machine. */
const REMOTE_FILE_SYSTEM = /^(?:nfs4?|cifs|smb3)$/;

/** What keeps a request from the engine. */
class Refusal extends Error {}

/** Judges what is asked of an engine to be made, before it is. What need not change reaches it as it came. */
export class CreatePolicy {
  readonly #forbidden: ForbiddenPaths;
  readonly #options: CreatePolicyOptions;

  constructor(options: CreatePolicyOptions) {
    this.#options = options;
    this.#forbidden = new ForbiddenPaths(options.forbiddenMounts ?? []);
  }

  /** Judges the body of `POST /containers/create`. */
  judgeContainer(body: Buffer): Verdict {
    return this.#judge(body, (root) => {
      // Docker 20.10 takes the fields of HostConfig from beside it when it is not there.
      const hosts = [root, fieldOf(root, "HostConfig")].filter((host) => host !== null);
      for (const host of hosts) {
        this.#checkBinds(host);
        this.#checkMounts(fieldOf(host, "Mounts"));
        this.#checkPorts(host);
      }
      return [...hosts.flatMap((host) => this.#hostGatewayEdits(host)), ...this.#environmentEdits(root)];
    });
  }

  /** Judges the body of `POST /volumes/create`: a volume can be a folder of the VM under another name. */
  judgeVolume(body: Buffer): Verdict {
    return this.#judge(body, (root) => {
      this.#checkVolume(fieldOf(root, "DriverOpts"));
      return [];
    });
  }

  /** Judges the body of `POST /services/create` and `/services/ID/update`. */
  judgeService(body: Buffer): Verdict {
    return this.#judge(body, (root) => {
      const container = fieldOf(fieldOf(root, "TaskTemplate"), "ContainerSpec");
      this.#checkMounts(fieldOf(container, "Mounts"));
      return container === null ? [] : this.#environmentEdits(container);
    });
  }

  #judge(body: Buffer, check: (root: Field) => JsonEdit[]): Verdict {
    try {
      const text = new JsonText(body);
      const edits = check({ node: text.root, path: "" });
      return edits.length === 0 ? { kind: "pass" } : { kind: "rewrite", body: text.edit(edits) };
    } catch (error) {
      if (error instanceof JsonTextError) {
        return { kind: "answer", status: 400, message: `the request cannot be understood: ${error.message}` };
      }
      if (error instanceof Refusal) return { kind: "answer", status: 403, message: error.message };
      throw error;
    }
  }

  #checkBinds(host: Field): void {
    for (const bind of elementsOf(fieldOf(host, "Binds"))) {
      // Without a colon it is a path in the container, and what does not begin with a slash is the name of a volume.
      const [source, target] = textOf(bind).split(":");
      if (target !== undefined && source.startsWith("/")) this.#checkPath(source);
    }
  }

  #checkMounts(mounts: Field | null): void {
    for (const mount of elementsOf(mounts)) {
      const type = textOf(fieldOf(mount, "Type"));
      if (!KNOWN_MOUNTS.has(type) && !this.#forbidden.isEmpty) {
        throw new Refusal(`mounts denied: a mount of the type ${JSON.stringify(type)} is not known`);
      }
      if (type === "bind") this.#checkPath(textOf(fieldOf(mount, "Source")));
      this.#checkVolume(fieldOf(fieldOf(fieldOf(mount, "VolumeOptions"), "DriverConfig"), "Options"));
    }
  }

  /** Options of the driver `local` are those of mount(8), in which a path may be the device, or part of another option. */
  #checkVolume(options: Field | null): void {
    const entries = entriesOf(options).map(([name, field]): [string, string] => [name, textOf(field)]);
    const type = entries.find(([name]) => name === "type")?.[1] ?? "";
    if (REMOTE_FILE_SYSTEM.test(type)) return;
    for (const [, value] of entries) {
      for (const part of value.split(/[,:=]/)) if (part.startsWith("/")) this.#checkPath(part);
    }
  }

  #checkPath(path: string): void {
    const forbidden = this.#forbidden.findIn(path);
    if (forbidden === null) return;
    throw new Refusal(`mounts denied: ${path} may not be mounted, since ${forbidden} is not for containers`);
  }

  #checkPorts(host: Field): void {
    if (isWithoutPorts(textOf(fieldOf(host, "NetworkMode")))) return;
    const bindings = entriesOf(fieldOf(host, "PortBindings")).map(([key, rows]) => [
      key,
      elementsOf(rows).map((row) => ({
        HostIp: textOf(fieldOf(row, "HostIp")),
        HostPort: textOf(fieldOf(row, "HostPort")),
      })),
    ]);
    for (const asked of readPortBindings(Object.fromEntries(bindings))) {
      const { protocol, address, first } = asked;
      if (protocol !== "tcp" && protocol !== "udp") {
        throw new Refusal(portRefusal(protocol, address, first, UNSUPPORTED_PROTOCOL));
      }
      const reason = this.#options.refusePort?.(asked) ?? null;
      if (reason !== null) throw new Refusal(portRefusal(protocol, address, first, new Error(reason)));
    }
  }

  #hostGatewayEdits(host: Field): JsonEdit[] {
    const { hostGateway } = this.#options;
    if (hostGateway === undefined) return [];
    return elementsOf(fieldOf(host, "ExtraHosts")).flatMap((entry) => {
      const name = /^([^:=]*)[:=]host-gateway$/.exec(textOf(entry))?.[1];
      if (name === undefined) return [];
      const { start, end } = entry.node;
      return [{ start, end, text: JSON.stringify(`${name}:${hostGateway}`) }];
    });
  }

  #environmentEdits(container: Field): JsonEdit[] {
    const { proxyEnvironment } = this.#options;
    if (proxyEnvironment === undefined) return [];
    const environment = rawFieldOf(container, "Env");
    const values = elementsOf(fieldOf(container, "Env")).map(textOf);
    const set = new Set(values.map((value) => value.split("=", 1)[0].toLowerCase()));
    const { proxy, noProxy } = proxyEnvironment;
    // Programs know them in lower case, in upper case, or in both.
    const added = Object.entries({ http_proxy: proxy, https_proxy: proxy, no_proxy: noProxy })
      .filter(([name]) => !set.has(name))
      .flatMap(([name, value]) => [`${name.toUpperCase()}=${value}`, `${name}=${value}`])
      .map((entry) => JSON.stringify(entry))
      .join(",");
    if (added === "") return [];
    const { node } = environment ?? container;
    if (environment === null) {
      const comma = node.kind === "object" && node.members.length > 0 ? "," : "";
      return [{ start: node.start + 1, end: node.start + 1, text: `"Env":[${added}]${comma}` }];
    }
    if (node.kind !== "array") return [{ start: node.start, end: node.end, text: `[${added}]` }];
    const comma = node.elements.length > 0 ? "," : "";
    return [{ start: node.end - 1, end: node.end - 1, text: `${comma}${added}` }];
  }
}
