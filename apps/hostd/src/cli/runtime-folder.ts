/** The folder of the default endpoint. */
import { lstatSync, mkdirSync } from "node:fs";

/**
 * Makes `folder` with access for its owner only. Where it exists already, it must be a folder of this user that
 * nobody else can write to: in /tmp anyone could have made it, and could then put a socket of theirs in our place.
 *
 * @throws {Error} when it cannot be made or is not safe to use.
 */
export function ensurePrivateFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const status = lstatSync(folder);
  const fix = "remove it, or name another endpoint with --qemu";
  if (!status.isDirectory()) throw new Error(`${folder} is not a folder: ${fix}`);
  const user = process.getuid?.();
  if (user === undefined) return;
  if (status.uid !== user) throw new Error(`${folder} belongs to user ${status.uid}, not to ${user}: ${fix}`);
  if ((status.mode & 0o022) !== 0) throw new Error(`${folder} can be written to by other users: chmod 700 it`);
}
