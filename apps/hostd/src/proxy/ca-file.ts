import { readFileSync } from "node:fs";
import { ConfigError } from "../config/problems.ts";

const KEY = "proxy.ca";
const CERTIFICATE = "-----BEGIN CERTIFICATE-----";

/**
 * The certificates of a file, as PEM; undefined when there is no file.
 *
 * @throws {ConfigError} when it cannot be read, or has none.
 */
export function readCaFile(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw problem(path, error instanceof Error ? error.message : String(error));
  }
  if (!text.includes(CERTIFICATE)) throw problem(path, `there is no line ${CERTIFICATE} in it: it has to be PEM`);
  return text;
}

function problem(path: string, reason: string): ConfigError {
  return new ConfigError([{ key: KEY, value: path, message: `${KEY}: ${path} has no certificates: ${reason}` }]);
}
