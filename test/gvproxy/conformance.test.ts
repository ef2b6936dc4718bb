import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isContinuousIntegration } from "../vm/host-packages.ts";
import { ask, type Outcome } from "./ask.ts";
import { makeDifferences } from "./differences.ts";
import { runGuestScript } from "./guest-script.ts";
import { makeScript, type Surroundings } from "./script.ts";
import { findGvproxy, hostdCommand, type Subject, startSubject } from "./subject.ts";

const PORTS = 8;
const found = findGvproxy();
const isAvailable = typeof found !== "string";
if (!isAvailable) {
  if (isContinuousIntegration()) throw new Error(found);
  process.stderr.write(`gvproxy: the comparison is skipped: ${found}\n`);
}

describe.skipIf(!isAvailable)("hostd beside the real gvproxy", () => {
  const folder = mkdtempSync(join(tmpdir(), "hostd-gvproxy-"));
  const work = join(folder, "work");
  let taken: Server;
  let ports: number[];
  let apiPort: number;
  let surroundings: Surroundings;

  beforeAll(async () => {
    taken = await listen();
    [apiPort, ...ports] = await freePorts(PORTS);
    surroundings = { ports: ports.slice(0, 6), taken: portOf(taken), folder: work };
  });

  afterAll(() => {
    taken.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Has one program after the other do the same in the same place. */
  async function withBoth<Result>(
    run: (subject: Subject) => Promise<Result>,
    flags: readonly string[] = [],
  ): Promise<[gvproxy: Result, hostd: Result]> {
    const results: Result[] = [];
    for (const command of [typeof found === "string" ? [] : found.command, hostdCommand()]) {
      rmSync(work, { recursive: true, force: true });
      mkdirSync(work);
      writeFileSync(join(work, "file"), "a file that is to stay");
      const subject = await startSubject(command, { folder: mkdtempSync(join(folder, "run-")), port: apiPort, flags });
      try {
        results.push(await run(subject));
      } finally {
        await subject.stop();
      }
    }
    const [ofGvproxy, ofHostd] = results;
    return [ofGvproxy, ofHostd];
  }

  function compare(gvproxy: ReadonlyMap<string, Outcome | string>, hostd: ReadonlyMap<string, Outcome | string>): void {
    const differences = new Map(makeDifferences(surroundings).flatMap(({ answers }) => Object.entries(answers)));
    for (const [name, outcome] of hostd) {
      const answer = differences.get(name);
      if (answer === undefined) {
        expect(outcome, name).toEqual(gvproxy.get(name));
        continue;
      }
      expect(outcome, `${name}: no difference any more`).not.toEqual(gvproxy.get(name));
      if (typeof outcome === "string" || typeof answer === "string") expect(outcome, name).toBe(answer);
      else {
        expect(outcome.statusLine, name).toMatch(new RegExp(`^HTTP/1\\.1 ${answer.status} `));
        expect(outcome.body, name).toBe(answer.body.replace(/[<>&]/g, escapeJson(outcome)));
      }
    }
  }

  const groups = makeScript({ ports: new Array<number>(6).fill(0), taken: 0, folder: "" }).map(({ name }) => name);

  it.each(groups)("answers the same: %s", async (name) => {
    const group = makeScript(surroundings).find((each) => each.name === name);
    const [gvproxy, hostd] = await withBoth(async ({ unix, tcp }) => {
      const outcomes = new Map<string, Outcome>();
      for (const call of group?.calls ?? []) {
        outcomes.set(call.name, await ask(call.overTcp ? tcp : unix, call.request));
      }
      return outcomes;
    });
    expect(hostd.size).toBe(group?.calls.length);
    compare(gvproxy, hostd);
  });

  it.each([
    ["hyperkit", []],
    ["qemu", ["-listen-qemu", `unix://${join(work, "qemu.sock")}`]],
  ] as const)("does the same for a VM that attaches by /connect, in the framing %s", async (framing, flags) => {
    const run = (subject: Subject) => runGuestScript(subject, ports.slice(0, 2), framing);
    const [gvproxy, hostd] = await withBoth(run, flags);
    expect(hostd.size).toBeGreaterThan(20);
    compare(gvproxy, hostd);
  });

  it("leaves a file alone that is in the place of a Unix socket", async () => {
    const group = makeScript(surroundings).find(({ name }) => name === "Unix sockets that hostd refuses");
    await withBoth(async ({ unix }) => {
      for (const { request } of group?.calls ?? []) await ask(unix, request);
    });
    expect(readFileSync(join(work, "file"), "utf8")).toBe("a file that is to stay");
  });
});

describe("the list of differences", () => {
  const surroundings = { ports: [1, 2, 3, 4, 5, 6], taken: 7, folder: "/folder" };
  const differences = makeDifferences(surroundings);

  it("stands in the documentation", () => {
    const page = readFileSync(join(import.meta.dirname, "..", "..", "docs", "gvproxy-api.md"), "utf8");
    for (const { what, gvproxy, hostd, why } of differences) {
      expect(page).toContain(`| ${what} | ${gvproxy} | ${hostd} | ${why} |`);
    }
  });

  it("is of calls with names of their own", () => {
    const names = makeScript(surroundings).flatMap(({ calls }) => calls.map(({ name }) => name));
    expect(new Set(names).size).toBe(names.length);
    const guests = ["the end of that connection", "the end of a tunnel", /from the guest|as the guest sees/];
    for (const name of differences.flatMap(({ answers }) => Object.keys(answers))) {
      const isOfGuest = guests.some((each) => (typeof each === "string" ? each === name : each.test(name)));
      expect(isOfGuest || names.includes(name), name).toBe(true);
    }
  });
});

/** JSON has what HTML gives a meaning escaped. */
function escapeJson({ body }: { body: string }): (character: string) => string {
  const isJson = /^[[{]/.test(body);
  return (character) => (isJson ? `\\u00${character.charCodeAt(0).toString(16)}` : character);
}

async function listen(): Promise<Server> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** Ports that nobody has at the moment; all are taken before any is given up, so that they differ. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, listen));
  const ports = servers.map(portOf);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
