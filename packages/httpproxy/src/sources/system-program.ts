import { GNOME_PROGRAM, hasSessionBus } from "./gnome.ts";
import { SCUTIL_PROGRAM } from "./scutil.ts";
import type { SystemProgram } from "./system-settings.ts";
import { WINDOWS_PROGRAM } from "./windows-registry.ts";

/** How the settings of this host are read and followed; null when it has none. */
export function systemProgram(
  platform: NodeJS.Platform = process.platform,
  env: NodeJS.ProcessEnv = process.env,
): SystemProgram | null {
  if (platform === "darwin") return SCUTIL_PROGRAM;
  if (platform === "win32") return WINDOWS_PROGRAM;
  return hasSessionBus(env) ? GNOME_PROGRAM : null;
}
