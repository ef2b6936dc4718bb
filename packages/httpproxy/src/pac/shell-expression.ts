/**
 * Whether a text matches a pattern in which `*` stands for any characters and `?` for one. Takes at most as many steps as
 * the product of both lengths.
 */
export function matchesShellExpression(text: string, pattern: string): boolean {
  let at = 0;
  let wanted = 0;
  /** Where the last star is, and up to where it has taken the text. */
  let star = -1;
  let taken = 0;
  while (at < text.length) {
    if (pattern[wanted] === "*") {
      star = wanted++;
      taken = at;
    } else if (wanted < pattern.length && (pattern[wanted] === "?" || pattern[wanted] === text[at])) {
      at++;
      wanted++;
    } else if (star !== -1) {
      wanted = star + 1;
      at = ++taken;
    } else {
      return false;
    }
  }
  while (pattern[wanted] === "*") wanted++;
  return wanted === pattern.length;
}
