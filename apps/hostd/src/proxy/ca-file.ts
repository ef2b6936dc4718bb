import { readFileSync } from "node:fs";
import { ConfigError } from "../config/problems.ts";

const KEY = "proxy.ca";
const BEGIN = "-----BEGIN CERTIFICATE-----";
const END = "-----END CERTIFICATE-----";

/**
 * The certificates of a file, as PEM; undefined when there is no file.
 *
 * Every one of them is read, since TLS would leave out without a word what it cannot read, and then say of the proxy that its
 * issuer is not known.
 *
 * @throws {ConfigError} when it cannot be read, has no certificates, or one that is not whole.
 */
export function readCaFile(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw problem(path, `has no certificates: ${messageOf(error)}`);
  }
  const [, ...blocks] = text.split(BEGIN);
  if (blocks.length === 0) {
    throw problem(path, `has no certificates: there is no line ${BEGIN} in it: it has to be PEM`);
  }
  let lines = text.slice(0, text.indexOf(BEGIN)).split("\n").length;
  for (const block of blocks) {
    const reason = defectOf(block);
    if (reason !== null) throw problem(path, `has a certificate in line ${lines} that cannot be read: ${reason}`);
    lines += block.split("\n").length - 1;
  }
  return text;
}

/** What is wrong with a certificate of which this is what follows its first line; null when nothing is. */
function defectOf(block: string): string | null {
  const end = block.indexOf(END);
  if (end < 0) return `there is no line ${END} after it`;
  // Few have a file of certificates, and the module takes memory.
  const { X509Certificate } = process.getBuiltinModule("node:crypto");
  try {
    new X509Certificate(BEGIN + block.slice(0, end) + END);
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

function problem(path: string, reason: string): ConfigError {
  return new ConfigError([{ key: KEY, value: path, message: `${KEY}: ${path} ${reason}` }]);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
