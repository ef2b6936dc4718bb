import { readFile, stat } from "node:fs/promises";
import type { ParsedKey, utils } from "ssh2";
import { TunnelError } from "./tunnel-error.ts";

/** A private key takes some kilobytes. */
const MAX_LENGTH = 64 * 1024;

const READ_FAULTS: Partial<Record<string, string>> = {
  ENOENT: "does not exist; name the file of a private key",
  EACCES: "may not be read; make it readable for the user that hostd runs as",
};

/**
 * Reads the file of a private key.
 *
 * @throws {TunnelError} that says what is wrong with it and what to do.
 */
export async function readIdentity(path: string): Promise<Buffer> {
  try {
    const status = await stat(path);
    // What is read from others may never end.
    if (!status.isFile()) throw fault(path, "is no regular file; name the file of a private key");
    if (status.size > MAX_LENGTH) throw fault(path, `is no private key: it has more than ${MAX_LENGTH} bytes`);
    return await readFile(path);
  } catch (error) {
    if (error instanceof TunnelError) throw error;
    const { code = "", message } = error as NodeJS.ErrnoException;
    throw fault(path, READ_FAULTS[code] ?? `cannot be read: ${message}`);
  }
}

/**
 * Makes a key of the file's content. That of an encrypted one takes some tenths of a second, in which nothing else is
 * done.
 *
 * @param parseKey - the SSH library's.
 * @throws {TunnelError} that says what is wrong with it and what to do.
 */
export function parseIdentity(
  parseKey: typeof utils.parseKey,
  path: string,
  bytes: Buffer,
  passphrase: string | undefined,
): ParsedKey {
  let key = parseKey(bytes);
  if (key instanceof Error && key.message.includes("no passphrase")) {
    if (passphrase === undefined) {
      throw fault(path, `is encrypted; give its passphrase, or take that off it with "ssh-keygen -p -f ${path}"`);
    }
    try {
      key = parseKey(bytes, passphrase);
    } catch (error) {
      key = error as Error;
    }
    if (key instanceof Error) throw fault(path, `is not opened by the passphrase that is given: ${key.message}`);
  }
  if (key instanceof Error) {
    const advice = `convert it with "ssh-keygen -p -f ${path}", or make a new key with "ssh-keygen -t ed25519"`;
    throw fault(path, `holds no private key in a format that is known (${key.message}); ${advice}`);
  }
  if (!key.isPrivateKey()) throw fault(path, "holds a public key; name the file of the private one");
  return key;
}

function fault(path: string, what: string): TunnelError {
  return new TunnelError("refused", `the SSH identity ${path} ${what}`);
}
