import { createHash, randomBytes } from "node:crypto";
import { chmod, chown, mkdir, readFile, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { JsonTextError, textAt } from "@hostd/docker";
import type { HostEnvironment } from "../config/environment.ts";
import { withMember } from "./json-member.ts";

/** In the metadata of a context, by which hostd knows its own; the docker command keeps what it does not know. */
const MARKER = { CreatedBy: "hostd" } as const;
const DESCRIPTION = "The Docker engine in the VM, served by hostd";
/** The context that is there without being stored. */
export const DEFAULT_CONTEXT = "default";

/** A context as the docker command has stored it. */
export interface StoredContext {
  readonly name: string;
  /** Where its engine is, such as `unix:///run/user/1000/docker.sock`; empty when it does not say. */
  readonly host: string;
  /** Whether hostd has written it. */
  readonly isOurs: boolean;
}

/** The folder of the docker command's configuration: `$DOCKER_CONFIG`, else `~/.docker`. */
export function dockerConfigFolder({ variables, homeFolder }: HostEnvironment): string {
  const { DOCKER_CONFIG: folder = "" } = variables;
  return folder === "" ? join(homeFolder, ".docker") : resolve(folder);
}

/** Whether the docker command takes it as the name of a context to be stored. */
export function isContextName(name: string): boolean {
  return name !== DEFAULT_CONTEXT && /^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$/.test(name);
}

/**
 * The contexts of the docker command, and which it uses: `contexts/meta/ID/meta.json`, where ID is the SHA-256 of the name, and
 * `currentContext` in `config.json`.
 */
export class ContextStore {
  readonly #folder: string;

  /** @param folder - that of the docker command's configuration. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** @returns null when there is none of that name. */
  async find(name: string): Promise<StoredContext | null> {
    const bytes = await readIfThere(this.#metaFile(name));
    if (bytes === null) return null;
    const meta = parse(bytes);
    return {
      name,
      host: textAt(meta, "Endpoints", "docker", "Host"),
      isOurs: textAt(meta, "Metadata", "CreatedBy") === MARKER.CreatedBy,
    };
  }

  /**
   * Stores a context in the place of whatever there is of that name.
   *
   * @param host - where its engine is, as a URL.
   */
  async write(name: string, host: string): Promise<void> {
    const meta = {
      Name: name,
      Metadata: { Description: DESCRIPTION, ...MARKER },
      Endpoints: { docker: { Host: host, SkipTLSVerify: false } },
    };
    const path = this.#metaFile(name);
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await mkdir(dirname(path), { recursive: true });
    await replaceFile(path, JSON.stringify(meta), 0o644);
    // Keys of whatever was there before.
    await rm(this.#tlsFolder(name), { recursive: true, force: true });
  }

  /** Takes a context out of the store. */
  async remove(name: string): Promise<void> {
    await rm(dirname(this.#metaFile(name)), { recursive: true, force: true });
    await rm(this.#tlsFolder(name), { recursive: true, force: true });
  }

  /** The name of the context that the docker command uses, unless its environment says otherwise. */
  async current(): Promise<string> {
    const bytes = await readIfThere(this.#configFile);
    const name = bytes === null ? "" : textAt(parse(bytes), "currentContext");
    return name === "" ? DEFAULT_CONTEXT : name;
  }

  /**
   * Has the docker command use a context from now on. All else in its configuration stays as it is.
   *
   * @throws when its configuration is nothing that can be changed.
   */
  async use(name: string): Promise<void> {
    const value = name === DEFAULT_CONTEXT ? null : name;
    const before = await readIfThere(this.#configFile);
    if (before === null && value === null) return;
    let after: Buffer;
    try {
      // The docker command takes an empty file for none.
      after = withMember(before === null || before.length === 0 ? Buffer.from("{}") : before, "currentContext", value);
    } catch (error) {
      if (!(error instanceof JsonTextError)) throw error;
      throw new Error(`${this.#configFile} cannot be changed: ${error.message}`, { cause: error });
    }
    if (before !== null && after.equals(before)) return;
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await replaceFile(this.#configFile, after, 0o600);
  }

  get #configFile(): string {
    return join(this.#folder, "config.json");
  }

  #metaFile(name: string): string {
    return join(this.#folder, "contexts", "meta", idOf(name), "meta.json");
  }

  #tlsFolder(name: string): string {
    return join(this.#folder, "contexts", "tls", idOf(name));
  }
}

function idOf(name: string): string {
  return createHash("sha256").update(name).digest("hex");
}

/** @returns undefined for what is no JSON text. */
function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
}

async function readIfThere(path: string): Promise<Buffer | null> {
  return await unlessMissing(readFile(path));
}

async function unlessMissing<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}

/**
 * Writes a file that is there whole or not at all, for the docker command may be reading it. What it replaces keeps its mode, its
 * owner, and the symbolic link that leads to it.
 */
async function replaceFile(path: string, content: string | Buffer, mode: number): Promise<void> {
  const target = (await unlessMissing(realpath(path))) ?? path;
  const before = await unlessMissing(stat(target));
  const temporary = `${target}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    await writeFile(temporary, content, { mode: 0o600, flag: "wx" });
    // Only for root is it possible that it is somebody else's.
    if (before !== null && process.getuid?.() === 0) await chown(temporary, before.uid, before.gid);
    await chmod(temporary, before === null ? mode : before.mode & 0o777);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
