import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { EXCLUSION_TABLE, type ExclusionCase } from "../../packages/httpproxy/src/testing/exclusion-table.ts";
import { cleanUp } from "../../packages/streams/src/testing/peer.ts";

/** The first version that reads networks, which many of the cases have. */
const OLDEST = { major: 7, minor: 86 };
/** What curl ends with when it has connected to the host, could not, or could not from the address it was given. */
const WENT_ITSELF = [0, 7, 45];

const version = curlVersion();
const cases = EXCLUSION_TABLE.flatMap((topic) => topic.cases).filter(
  ({ curlVersion = "" }) => version?.startsWith(curlVersion) === true,
);

function curlVersion(): string | undefined {
  try {
    const [, found, major, minor] = /^curl ((\d+)\.(\d+)\.\S+)/.exec(
      execFileSync("curl", ["--version"], { encoding: "utf8" }),
    )!;
    const isNew = Number(major) > OLDEST.major || (Number(major) === OLDEST.major && Number(minor) >= OLDEST.minor);
    return isNew ? found : undefined;
  } catch {
    return undefined;
  }
}

/** An HTTP proxy that answers everything itself. */
async function startProxy(): Promise<{ readonly url: string; readonly asked: Set<string> }> {
  const asked = new Set<string>();
  const server = createServer(({ url = "" }, response) => {
    asked.add(url.slice(url.lastIndexOf("/")));
    response.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanUp(() => server.close());
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, asked };
}

/**
 * Has one curl ask for all cases. No packet leaves this host: names are an address that is for documentation, and no
 * kernel sends to such a one from 127.0.0.1.
 *
 * @returns what it ended with for each case.
 */
async function runCurl(proxy: string): Promise<Map<string, number>> {
  const transfers = cases.map(({ list, authority, port }, index) =>
    [
      "silent",
      "globoff",
      'output = "/dev/null"',
      'interface = "127.0.0.1"',
      `resolve = "*:${port}:192.0.2.1"`,
      `proxy = "${proxy}"`,
      `noproxy = "${list.replace("\t", "\\t")}"`,
      `url = "http://${authority}/${index}"`,
      `write-out = "/${index} %{exitcode}\\n"`,
    ].join("\n"),
  );
  const curl = spawn("curl", ["--disable", "--config", "-"], {
    // curl reads names that are not ASCII by its locale.
    env: { PATH: process.env.PATH, LC_ALL: "C.UTF-8" },
    stdio: ["pipe", "pipe", "ignore"],
  });
  cleanUp(() => curl.kill());
  curl.stdin.on("error", () => {});
  curl.stdin.end(transfers.join("\nnext\n"));
  const report = await text(curl.stdout);
  return new Map(Array.from(report.matchAll(/^(\/\d+) (\d+)$/gm), ([, path, code]) => [path, Number(code)]));
}

const title = ({ list, authority }: ExclusionCase) => `${JSON.stringify(list)} for ${authority}`;

describe.skipIf(version === undefined)(`curl's --noproxy (${version ?? "curl 7.86 or later is not there"})`, () => {
  test("does what the table of exclusion lists says of it", async () => {
    const { url, asked } = await startProxy();
    const ends = await runCurl(url);
    const found = cases.map((one, index) => {
      const path = `/${index}`;
      const isProxied = asked.has(path);
      const code = ends.get(path);
      // A URL that curl refused says nothing of the list.
      if (isProxied ? code !== 0 : code === undefined || !WENT_ITSELF.includes(code)) {
        throw new Error(`curl ended with ${code} for ${title(one)}`);
      }
      return `${title(one)}: ${isProxied ? "proxy" : "direct"}`;
    });
    expect(found).toEqual(cases.map((one) => `${title(one)}: ${one.direct.curl ? "direct" : "proxy"}`));
    expect(found.length).toBeGreaterThan(90);
  });
});
