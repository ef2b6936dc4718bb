import type { Credentials } from "../route.ts";

/**
 * Why credentials cannot be sent in Basic authentication: it has no way to write a colon in the user's name, and control
 * characters are out (RFC 7617, 2). Null when they can. The reason has nothing of them in it.
 */
export function whyNotBasic({ user, password }: Credentials): string | null {
  if (hasControls(user) || hasControls(password)) return "the user or the password has a control character in it";
  return user.includes(":") ? "the user has a colon in it, which Basic authentication cannot write" : null;
}

/** Why credentials cannot be sent to a SOCKS server, which takes 1 to 255 bytes of each (RFC 1929, 2); null when they can. */
export function whyNotSocks({ user, password }: Credentials): string | null {
  const fits = (text: string) => text !== "" && Buffer.byteLength(text) <= 255;
  return fits(user) && fits(password) ? null : "with SOCKS the user and the password have 1 to 255 bytes each";
}

function hasControls(text: string): boolean {
  return /\p{Cc}/u.test(text);
}
