/** The target of a request to the engine, taken apart. It is for looking at only: what is forwarded stays as it came. */
export interface ApiPath {
  /** The API's version that the path begins with, such as `1.44`; null when it has none. */
  readonly version: string | null;
  /** Whether it is Podman's own API (`/v5.0.0/libpod/...`). */
  readonly isLibpod: boolean;
  /** What follows, decoded, without empty segments. */
  readonly segments: readonly string[];
  readonly query: URLSearchParams;
}

/** A call that hostd acts on, with the name or id that it is about, as the client wrote it. */
export type ApiCall =
  | { readonly kind: "create"; readonly path: ApiPath }
  | { readonly kind: "start" | "restart" | "attach"; readonly container: string; readonly path: ApiPath }
  | { readonly kind: "execStart"; readonly exec: string; readonly path: ApiPath };

/**
 * Takes a request's target apart as the engine's router does: after decoding, and with `//`, `.` and `..` resolved, since
 * the router answers those by a redirect to the path without them.
 *
 * @param target - in origin form or absolute form (RFC 9112, 3.2).
 * @returns null when it has no path, or a malformed one, which no engine accepts.
 */
export function parseApiPath(target: string): ApiPath | null {
  const origin = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/?]*/.exec(target)?.[0] ?? "";
  const [, encodedPath, query = ""] = /^([^?]*)(?:\?(.*))?$/s.exec(target.slice(origin.length)) ?? [];
  if (!encodedPath?.startsWith("/")) return null;
  const path = decodePercent(encodedPath);
  if (path === null) return null;
  const segments: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  const version = /^v([0-9][0-9A-Za-z.+-]*)$/.exec(segments[0] ?? "")?.[1] ?? null;
  if (version !== null) segments.shift();
  const isLibpod = segments[0] === "libpod";
  if (isLibpod) segments.shift();
  return { version, isLibpod, segments, query: new URLSearchParams(query) };
}

/** Reads which call a request is; null when it is none that hostd acts on. */
export function readApiCall(method: string, target: string): ApiCall | null {
  if (method !== "POST") return null;
  const path = parseApiPath(target);
  if (path === null) return null;
  const { segments } = path;
  const action = segments.at(-1);
  // The engine takes names with slashes: those of links, as in `/containers/web/db/start`.
  const name = segments.slice(1, -1).join("/");
  if (segments[0] === "containers") {
    if (segments.length === 2 && action === "create") return { kind: "create", path };
    if (name === "") return null;
    if (action === "start" || action === "restart" || action === "attach") {
      return { kind: action, container: name, path };
    }
  } else if (segments[0] === "exec" && action === "start" && name !== "") {
    return { kind: "execStart", exec: name, path };
  }
  return null;
}

/** Whether the answer to a request may turn its connection into a stream of bytes, even without `Upgrade`. */
export function mayHijack(method: string, target: string): boolean {
  const call = readApiCall(method, target);
  if (call !== null) return call.kind === "attach" || call.kind === "execStart";
  const segments = parseApiPath(target)?.segments ?? [];
  if (method === "POST") return segments.length === 1 && (segments[0] === "session" || segments[0] === "grpc");
  return (
    method === "GET" &&
    segments.length >= 4 &&
    segments[0] === "containers" &&
    segments.at(-2) === "attach" &&
    segments.at(-1) === "ws"
  );
}

/** @returns null when a percent sign is not followed by two digits. */
function decodePercent(text: string): string | null {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return null;
  const bytes = text.replace(/%(..)/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
  // A target is read as Latin-1, byte by byte; names are in UTF-8.
  return Buffer.from(bytes, "latin1").toString();
}
