/** The proxies of a macOS host, as `scutil --proxy` lists them (scutil(8)). */
import type { ProxyServer } from "../route.ts";
import { ProblemList, SYSTEM_EXCLUSIONS } from "./problem-list.ts";
import { NOTHING, type SourceReading } from "./proxy-settings.ts";
import type { SystemProgram } from "./system-settings.ts";

const SCUTIL = "/usr/sbin/scutil";
const FROM = "the settings of macOS";

/** Lists of dictionaries are nested this deep at most. */
const MAX_DEPTH = 16;

type Value = string | Value[] | Map<string, Value>;

/** How the settings of macOS are read and followed. */
export const SCUTIL_PROGRAM: SystemProgram = {
  name: FROM,
  read: { program: SCUTIL, args: ["--proxy"] },
  parse: parseScutilProxy,
  // It writes when a key of the dynamic store changes, until its input ends.
  watch: [{ program: SCUTIL, args: [], input: "n.add State:/Network/Global/Proxies\nn.watch\n" }],
};

/**
 * Reads what `scutil --proxy` writes (the keys of SCSchemaDefinitions.h). `__SCOPED__` is for programs that ask for an
 * interface, and is left out.
 *
 * A SOCKS proxy is for each scheme that has no proxy of its own, as CFNetwork takes it. Names are resolved by it: those of
 * a company are often known nowhere else. A PAC script comes before proxies.
 *
 * @throws {Error} when the text is something else.
 */
export function parseScutilProxy(text: string): SourceReading {
  const settings = parseDictionary(text);
  const problems = new ProblemList(FROM);
  const textOf = (key: string) => {
    const value = settings.get(key);
    return typeof value === "string" ? value : "";
  };
  const isOn = (key: string) => textOf(key) === "1";
  const proxyOf = (key: string, kind: ProxyServer["kind"]): ProxyServer[] => {
    if (!isOn(`${key}Enable`)) return [];
    if (textOf(`${key}User`) !== "") {
      problems.add(
        `the password of ${key}User is in the keychain, which is not read: set the proxy with its credentials`,
      );
    }
    return problems.proxy(`${key}Proxy`, kind, textOf(`${key}Proxy`), textOf(`${key}Port`));
  };

  if (isOn("ProxyAutoDiscoveryEnable")) problems.add("automatic discovery (WPAD) is not supported");
  const pac = isOn("ProxyAutoConfigEnable")
    ? problems.pac("ProxyAutoConfigURLString", textOf("ProxyAutoConfigURLString"))
    : null;
  const socks = proxyOf("SOCKS", "socks5h");
  const [http, https] = ["HTTP", "HTTPS"].map((key) => {
    const own = proxyOf(key, "http");
    return own.length > 0 ? own : socks;
  });
  if (pac === null && http.length === 0 && https.length === 0) return { ...NOTHING, problems: problems.lines };

  const exceptions = settings.get("ExceptionsList");
  const entries = Array.isArray(exceptions) ? exceptions.filter((entry) => typeof entry === "string") : [];
  if (isOn("ExcludeSimpleHostnames")) entries.push("<local>");
  const exclusions = [problems.exclusions(entries, FROM, SYSTEM_EXCLUSIONS)];
  return {
    settings: {
      http: pac === null ? http : [],
      https: pac === null ? https : [],
      pac,
      exclusions,
      allowed: null,
      from: FROM,
    },
    problems: problems.lines,
  };
}

/** The outermost dictionary, in the form in which SystemConfiguration prints property lists. */
function parseDictionary(text: string): Map<string, Value> {
  const lines = text.split("\n").values();
  for (const line of lines) {
    const trimmed = line.trim();
    if (trimmed === "") continue;
    if (trimmed !== "<dictionary> {") break;
    return readDictionary(lines, 0);
  }
  throw new Error("scutil --proxy wrote no dictionary");
}

function readDictionary(lines: Iterator<string>, depth: number): Map<string, Value> {
  const dictionary = new Map<string, Value>();
  for (const [key, value] of readEntries(lines, depth)) dictionary.set(key, value);
  return dictionary;
}

function* readEntries(lines: Iterator<string>, depth: number): Generator<[string, Value]> {
  if (depth > MAX_DEPTH) throw new Error("scutil --proxy wrote dictionaries that are nested too deep");
  for (;;) {
    const { value: line, done } = lines.next();
    if (done) throw new Error("what scutil --proxy wrote has no end");
    const trimmed = line.trim();
    if (trimmed === "}") return;
    const separator = trimmed.indexOf(" : ");
    if (separator === -1) {
      // An empty string has no space after its colon once the line is trimmed.
      if (trimmed.endsWith(" :")) yield [trimmed.slice(0, -2), ""];
      continue;
    }
    const key = trimmed.slice(0, separator);
    const value = trimmed.slice(separator + 3);
    if (value === "<dictionary> {") yield [key, readDictionary(lines, depth + 1)];
    else if (value === "<array> {") yield [key, [...readEntries(lines, depth + 1)].map(([, item]) => item)];
    else yield [key, value];
  }
}
