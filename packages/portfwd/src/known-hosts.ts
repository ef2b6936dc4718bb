import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { ServerHostKeyAlgorithm } from "ssh2";
import { TunnelError } from "./tunnel-error.ts";

const DEFAULT_PORT = 22;

/** The signatures that are made with the keys of each type; for RSA those of RFC 8332. */
const ALGORITHMS: Readonly<Record<string, readonly ServerHostKeyAlgorithm[]>> = {
  "ssh-ed25519": ["ssh-ed25519"],
  "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
  "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
  "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
  "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"],
};

interface Entry {
  readonly isRevoked: boolean;
  readonly hosts: string;
  readonly type: string;
  readonly key: Buffer;
}

/** The keys that a server may show. */
export interface HostKeys {
  /** What to offer the server, so that it shows a key that is known. */
  readonly algorithms: readonly ServerHostKeyAlgorithm[];
  /** Says why a key is not accepted; null when it is. */
  refusal(key: Buffer): string | null;
}

/**
 * Reads the keys of a server from a file of known hosts as OpenSSH writes it (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT):
 * names, patterns, `[host]:port` and hashed names, and `@revoked` keys. Lines of certificate authorities and those that
 * are not understood are passed over.
 *
 * @param address - the server's, as it is written in the file.
 * @throws {TunnelError} when the file cannot be read or has no key of the server.
 */
export async function readKnownHosts(path: string, address: string, port: number): Promise<HostKeys> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const { message } = error as NodeJS.ErrnoException;
    throw new TunnelError("refused", `the file of known hosts ${path} cannot be read: ${message}`);
  }
  const entries = text.split("\n").flatMap((line) => parseLine(line));
  // OpenSSH looks for a server on another port under its address alone when it has no entry of its own.
  const names = port === DEFAULT_PORT ? [address] : [`[${address}]:${port}`, address];
  const revoked = entries.filter((entry) => entry.isRevoked && names.some((name) => isOf(entry, name)));
  const accepted = names
    .map((name) => entries.filter((entry) => !entry.isRevoked && isOf(entry, name)))
    .find((found) => found.length > 0);
  const algorithms = [...new Set(accepted?.flatMap(({ type }) => ALGORITHMS[type] ?? []))];
  if (accepted === undefined || algorithms.length === 0) {
    const advice = `add it, such as with "ssh-keyscan -p ${port} ${address}" in a network that is trusted`;
    throw new TunnelError("refused", `the file of known hosts ${path} has no key of ${names[0]}; ${advice}`);
  }
  return {
    algorithms,
    refusal: (key) => {
      const shown = `the key SHA256:${fingerprint(key)} that the SSH server shows`;
      if (revoked.some((entry) => entry.key.equals(key))) return `${shown} is revoked in ${path}`;
      if (accepted.some((entry) => entry.key.equals(key))) return null;
      return `${shown} is none of those that ${path} has for ${names[0]}; correct the file if the server's key was changed`;
    },
  };
}

function parseLine(line: string): Entry[] {
  const fields = line.trim().split(/[ \t]+/);
  const marker = fields[0].startsWith("@") ? fields.shift() : undefined;
  const [hosts, type, key] = fields;
  if (key === undefined || hosts.startsWith("#")) return [];
  if (marker !== undefined && marker !== "@revoked") return [];
  return [{ isRevoked: marker !== undefined, hosts, type, key: Buffer.from(key, "base64") }];
}

function isOf({ hosts }: Entry, name: string): boolean {
  if (hosts.startsWith("|")) return isHashOf(hosts, name);
  let matches = false;
  for (const pattern of hosts.toLowerCase().split(",")) {
    if (pattern.startsWith("!")) {
      if (isLike(pattern.slice(1), name)) return false;
    } else {
      matches ||= isLike(pattern, name);
    }
  }
  return matches;
}

/** `|1|salt|hash`, both in base64, of which the hash is HMAC-SHA1 of the name with the salt as its key. */
function isHashOf(field: string, name: string): boolean {
  const [, version, salt, hash] = field.split("|");
  if (version !== "1" || hash === undefined) return false;
  const expected = Buffer.from(hash, "base64");
  const actual = createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest();
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

/** Whether a name is like a pattern, in which `*` stands for any characters and `?` for one. */
function isLike(pattern: string, name: string): boolean {
  let at = 0;
  let position = 0;
  // Where to go on when the last star has to take one character more.
  let star = -1;
  let taken = 0;
  while (position < name.length) {
    if (pattern[at] === "*") {
      star = at++;
      taken = position;
    } else if (pattern[at] === "?" || pattern[at] === name[position]) {
      at++;
      position++;
    } else if (star >= 0) {
      at = star + 1;
      position = ++taken;
    } else {
      return false;
    }
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}

/** As OpenSSH shows it. */
function fingerprint(key: Buffer): string {
  return createHash("sha256").update(key).digest("base64").replace(/=+$/, "");
}
