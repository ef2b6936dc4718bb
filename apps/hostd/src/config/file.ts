/** The configuration file: YAML 1.2, in which a problem is named by line and column. */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import {
  type Document,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
  type YAMLError,
} from "yaml";
import { processEnvironment } from "./environment.ts";
import type { KeyPath } from "./keys.ts";
import { ConfigError } from "./problems.ts";
import { type ConfigLayer, type HostdConfig, resolveConfig } from "./resolve.ts";

/**
 * Reads and resolves a configuration file. Relative paths in it are relative to its folder.
 *
 * @throws {ConfigError} when the file cannot be read, is not YAML, or holds what is not allowed.
 */
export function loadConfigFile(path: string, environment = processEnvironment()): HostdConfig {
  return resolveConfig([readConfigFile(path)], environment);
}

/**
 * Reads a configuration file as a layer of settings.
 *
 * @throws {ConfigError} when the file cannot be read or is not YAML.
 */
export function readConfigFile(path: string): ConfigLayer {
  return parseConfigText(readText(path), path, dirname(resolve(path)));
}

/**
 * Reads the text of a configuration file as a layer of settings.
 *
 * @param name what messages call the file.
 * @param base the folder relative paths are relative to.
 * @throws {ConfigError} when the text is not YAML.
 */
export function parseConfigText(text: string, name: string, base: string): ConfigLayer {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${name}:${line}:${col}`;
  };
  const faults = faultsOf(document, text);
  if (faults.length > 0) {
    throw new ConfigError(
      faults.map(({ offset, reason }) => ({ key: "", value: undefined, message: `${place(offset)}: ${reason}` })),
    );
  }
  return {
    input: toData(document, name),
    base,
    label: (path, key) => {
      const offset = offsetOf(document, path);
      const where = offset === undefined ? name : place(offset);
      return key === "" ? where : `${where}: ${key}`;
    },
  };
}

function readText(path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const message = `cannot read the configuration file ${path}: ${readFailure(error)}`;
    throw new ConfigError([{ key: "", value: undefined, message }]);
  }
}

function readFailure(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EISDIR") return "it is a folder";
  if (code === "EACCES") return "permission denied";
  if (code === "ERR_ENCODING_INVALID_ENCODED_DATA") return "it is not UTF-8 text";
  return error instanceof Error ? error.message : String(error);
}

/** What is wrong with the text as YAML, by offset. */
function faultsOf(document: Document.Parsed, text: string): { offset: number; reason: string }[] {
  // A warning (an unknown tag, say) means that a value is not what its author thinks it is.
  const faults = [...document.errors, ...document.warnings].map((fault) => ({
    offset: fault.pos[0],
    reason: reasonOf(fault, text),
  }));
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document) !== undefined) return;
      faults.push({ offset: alias.range?.[0] ?? 0, reason: `the alias *${alias.source} has no anchor before it` });
    },
  });
  return faults;
}

function reasonOf(fault: YAMLError, text: string): string {
  if (fault.code === "DUPLICATE_KEY") {
    const key = /^[^\n:]*(?::[^\s:][^\n:]*)*/.exec(text.slice(fault.pos[0]))?.[0].trim() ?? "";
    return `the key ${JSON.stringify(key)} is given twice; allowed: every key once`;
  }
  if (fault.code === "MULTIPLE_DOCS") return "a second document starts here; allowed: one document";
  if (fault.code === "TAG_RESOLVE_FAILED") return `${fault.message}; allowed: plain YAML without tags`;
  return `not YAML: ${fault.message}`;
}

function toData(document: Document.Parsed, name: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    // What parses may still not resolve: aliases of aliases may multiply without end.
    const reason = error instanceof Error ? error.message : String(error);
    throw new ConfigError([{ key: "", value: undefined, message: `${name}: not YAML: ${reason}` }]);
  }
}

/** Where the value at `path` stands in the text, or as much of the path as is there. */
function offsetOf(document: Document.Parsed, path: KeyPath): number | undefined {
  let node: Node | null | undefined = document.contents;
  let offset = node?.range?.[0];
  for (const part of path) {
    if (isMap(node)) {
      const pair: { key: unknown; value: unknown } | undefined = node.items.find(
        ({ key }) => isScalar(key) && String(key.value) === part,
      );
      if (pair === undefined) break;
      offset = isScalar(pair.key) ? (pair.key.range?.[0] ?? offset) : offset;
      node = isNode(pair.value) ? pair.value : undefined;
    } else if (isSeq(node) && typeof part === "number") {
      const item: unknown = node.items[part];
      node = isNode(item) ? item : undefined;
      offset = node?.range?.[0] ?? offset;
    } else break;
  }
  return offset;
}

function isNode(value: unknown): value is Node {
  return isMap(value) || isSeq(value) || isScalar(value);
}
