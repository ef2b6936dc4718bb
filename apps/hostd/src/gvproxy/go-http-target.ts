/** The path of a request's target, which may be a whole URL, and the query with its question mark. */
export function splitTarget(target: string): { path: string; query: string } {
  const [, written, query = ""] = /^([^?]*)(\?.*)?$/s.exec(target) ?? [];
  return { path: written.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, ""), query };
}
