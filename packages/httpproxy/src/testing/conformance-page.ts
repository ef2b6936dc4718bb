import { REQUESTS, type Refusal, type RequestCase } from "./conformance-requests.ts";
import { RESPONSES, type ResponseCase } from "./conformance-responses.ts";

/** The page that lists them. */
export function conformancePage(): string {
  const requests = REQUESTS.map(({ title, cases }) =>
    table(title, "what the client gets", "what the origin gets", cases.map(requestRow)),
  );
  const responses = RESPONSES.map(({ title, cases }) =>
    table(title, "what the client gets", "the client's connection then", cases.map(responseRow)),
  );
  return `${INTRODUCTION}\n${[...requests, ...responses].join("\n")}`;
}

const INTRODUCTION = `# What the HTTP proxy does with doubtful messages

<!-- Written by packages/httpproxy/src/explicit/conformance.test.ts from the table that it tests:
     \`npm run test:unit -- packages/httpproxy/src/explicit/conformance.test.ts -u\`. -->

Two readers that take a message for different things can be used to slip a request past one of them (RFC 9112, 11). The
proxy reads strictly: what two readers may take for different things is refused, and nothing of it is sent. What it passes
on it writes anew as far as it says where a message goes and where it ends: the request line, Host, and one Content-Length
or one \`Transfer-Encoding: chunked\`. A connection to an origin on which anything came that was not asked for is not used
again, and a response of which a part has passed when it breaks is cut off by a reset.

Each row is a test: what is sent is what is written here. \`\\r\` and \`\\n\` are CR and LF, \`\\xNN\` is a byte, and \`…\` stands for
more of the same. \`400\` and the like are answers of the proxy, with their reasons, behind which it closes the connection.
`;

function requestRow({ form, sent, origin, refusal }: RequestCase): string[] {
  const passedOn = origin === null ? "nothing" : code(origin);
  return refusal === null
    ? [form, code(sent), "the response", passedOn]
    : [form, code(sent), describe(refusal), origin === null ? "nothing" : `${passedOn}, then the end`];
}

function responseRow({ form, method, sent, client, refusal, after }: ResponseCase): string[] {
  const gets = [...(client === "" ? [] : [code(client)]), ...(refusal === null ? [] : [describe(refusal)])].join(
    ", then ",
  );
  return [
    method === "GET" ? form : `${form} (${method})`,
    code(sent),
    gets,
    after === "next request" ? "goes on" : after,
  ];
}

function describe({ status, reason }: Refusal): string {
  return `${status}: ${reason}`;
}

function table(title: string, third: string, fourth: string, rows: readonly string[][]): string {
  const lines = rows.map((cells) => `| ${cells.join(" | ")} |\n`).join("");
  return `## ${title}\n\n| form | sent | ${third} | ${fourth} |\n|---|---|---|---|\n${lines}`;
}

/** Bytes as they are written in a table. */
function code(bytes: string): string {
  const shown = bytes
    .replace(/(.)\1{80,}/gs, "$1$1$1…")
    .replace(/((?:.{4,40}?\n){1,2}?)\1{8,}/gs, "$1…")
    .replaceAll("\\", "\\\\")
    .replaceAll("\r", "\\r")
    .replaceAll("\n", "\\n")
    .replaceAll("\t", "\\t")
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is to be seen.
    .replace(/[\0-\x1f\x7f-\xff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, "0")}`)
    .replaceAll("|", "\\|");
  return `\`${shown}\``;
}
