import { describe, expect, it } from "vitest";
import { versionInfo } from "../cli/version.ts";
import { answers, fakeHost, found, subjectOf, systemError } from "../testing/fake-host.ts";
import type { Host } from "./host.ts";
import {
  checkConfiguration,
  checkDaemon,
  checkEndpoints,
  checkRuntimeFolder,
  checkStateFolder,
} from "./socket-checks.ts";

const FOLDER = "/run/user/1000/hostd";
const RUNNING: Pick<Host, "get"> = { get: answers({ "/version": { version: versionInfo().version } }) };
const rejecting = (code: string) => async () => Promise.reject(systemError(code));

describe("the check of the configuration", () => {
  it("is content with the defaults, and with a file", () => {
    const host = fakeHost();
    expect(checkConfiguration(host, subjectOf(host))).toMatchObject([{ status: "ok" }]);
    const fromFile = { ...subjectOf(host), configFile: "hostd.yaml" };
    expect(checkConfiguration(host, fromFile)).toMatchObject([{ status: "ok", seen: "hostd.yaml" }]);
  });

  it("repeats what the configuration warns of", () => {
    const host = fakeHost();
    expect(checkConfiguration(host, subjectOf(host, { qemu: ["tcp://0.0.0.0:5555"] }))).toMatchObject([
      {
        status: "warning",
        seen: expect.stringContaining("tcp://0.0.0.0:5555 is reachable from other machines"),
        advice: "listen on 127.0.0.1 or a Unix socket instead",
      },
    ]);
    expect(checkConfiguration(host, subjectOf(host, { qemu: [] }))).toMatchObject([
      { status: "warning", seen: "qemu: the list is empty, so no VM can attach" },
    ]);
  });
});

describe("the check of the hostd that runs", () => {
  const check = async (changes: Partial<Host>, options?: { isNamed: boolean }) => {
    const host = fakeHost(changes);
    return (await checkDaemon(host, subjectOf(host, {}, options)))[0];
  };

  it("is content when it has this version", async () => {
    const { version } = versionInfo();
    expect(await check(RUNNING)).toEqual({
      name: "hostd",
      status: "ok",
      seen: `hostd ${version} answers at unix://${FOLDER}/api.sock`,
    });
  });

  it("warns of another version", async () => {
    expect(await check({ get: answers({ "/version": { version: "0.0.1" } }) })).toMatchObject({
      status: "warning",
      seen: expect.stringMatching(/^hostd 0\.0\.1 answers .*, and this is /),
      advice: "restart hostd to have it run this version",
    });
  });

  it("warns when none runs, and fails when somebody has named its socket", async () => {
    expect(await check({})).toMatchObject({ status: "warning", seen: `no hostd runs at unix://${FOLDER}/api.sock` });
    expect(await check({}, { isNamed: true })).toMatchObject({ status: "failure" });
    expect(await check({ get: rejecting("ECONNREFUSED") })).toMatchObject({
      status: "warning",
      seen: expect.stringContaining("one that is gone has left its socket"),
    });
  });

  it("fails when the socket may not be opened, or another program is there", async () => {
    expect(await check({ get: rejecting("EACCES") })).toMatchObject({
      status: "failure",
      advice: "run this as the user that runs hostd",
    });
    const foreign = [answers({}), answers({ "/version": [] }), rejecting("HPE_INVALID_CONSTANT")];
    for (const get of [...foreign, async () => ({ status: 200, body: "<html>" })]) {
      expect(await check({ get })).toMatchObject({
        status: "failure",
        seen: expect.stringContaining("another program is at unix://"),
      });
    }
  });

  it("says that a configuration without a control API has nobody to ask", async () => {
    const host = fakeHost();
    expect(await checkDaemon(host, subjectOf(host, { qemu: ["/run/vm.sock"] }))).toMatchObject([{ status: "ok" }]);
  });
});

describe("the check of the runtime folder", () => {
  const check = (lookAt: Host["lookAt"], settings = {}) => {
    const host = fakeHost({ lookAt });
    return checkRuntimeFolder(host, subjectOf(host, settings));
  };

  it("is content when it is not there yet, or this user's own", async () => {
    expect(await check(found({}))).toMatchObject([{ status: "ok" }]);
    expect(await check(found({ [FOLDER]: "folder" }))).toMatchObject([
      { status: "ok", seen: `${FOLDER} is this user's own (0700)` },
    ]);
  });

  it.each([
    ["is no folder", found({ [FOLDER]: "other" }), "is no folder"],
    ["is another user's", found({ [FOLDER]: "folder" }, 0o700, 1001), "belongs to user 1001, not to 1000"],
    ["can be written to by others", found({ [FOLDER]: "folder" }, 0o770), "(0770) can be written to by other users"],
  ])("fails when it %s", async (_, lookAt, seen) => {
    expect(await check(lookAt)).toMatchObject([{ status: "failure", seen: expect.stringContaining(seen) }]);
  });

  it("says nothing of a folder that no socket is in", async () => {
    expect(await check(found({ [FOLDER]: "other" }), { qemu: ["/run/vm.sock"] })).toEqual([]);
  });
});

describe("the check of endpoints", () => {
  const SOCKET = "/run/vm.sock";
  const check = (endpoint: string, changes: Partial<Host> = {}) => {
    const host = fakeHost(changes);
    return checkEndpoints(host, subjectOf(host, { qemu: [endpoint], api: "unix:///run/api.sock" }));
  };
  const socket = { lookAt: found({ [SOCKET]: "socket" }) };
  const listening = { ...socket, listeningSockets: () => new Set([SOCKET]) };
  const answering = { ...socket, connect: async () => {} };

  it("is content with a path that is free, or that nobody listens at any more", async () => {
    expect(await check(SOCKET)).toMatchObject([{ status: "ok", seen: "unix:///run/vm.sock is free" }]);
    expect(await check(SOCKET, socket)).toMatchObject([
      { status: "ok", seen: expect.stringContaining("was left by a process that is gone") },
    ]);
  });

  it("is content with a socket that is listened on while a hostd runs, and warns when none does", async () => {
    for (const taken of [listening, answering]) {
      expect(await check(SOCKET, { ...taken, ...RUNNING })).toMatchObject([{ status: "ok" }]);
      expect(await check(SOCKET, taken)).toMatchObject([{ status: "warning" }]);
    }
  });

  it("does not connect to a socket that is known to be listened on: that would be a VM", async () => {
    let connections = 0;
    const connect = async () => {
      connections++;
    };
    await check(SOCKET, { ...listening, connect });
    await check(`dial+unix://${SOCKET}`, { ...listening, connect });
    expect(connections).toBe(0);
    await check(SOCKET, { ...socket, listeningSockets: () => null, connect });
    expect(connections).toBe(1);
  });

  it("fails when something else is in the way, or cannot be looked at", async () => {
    expect(await check(SOCKET, { lookAt: found({ [SOCKET]: "other" }) })).toMatchObject([
      { status: "failure", seen: "/run/vm.sock is there and is no socket" },
    ]);
    expect(await check(SOCKET, { lookAt: rejecting("EACCES") })).toMatchObject([{ status: "failure" }]);
    expect(await check(SOCKET, { ...socket, connect: rejecting("EACCES") })).toMatchObject([
      { status: "failure", seen: expect.stringContaining("EACCES") },
    ]);
  });

  it("says whether a VM listens where hostd connects", async () => {
    expect(await check(`dial+unix://${SOCKET}`, listening)).toMatchObject([{ status: "ok" }]);
    expect(await check(`dial+unix://${SOCKET}`)).toMatchObject([
      { status: "warning", seen: "nobody listens at dial+unix:///run/vm.sock yet" },
    ]);
  });

  it("tries a TCP address, but does not take the one connection of a VM", async () => {
    const taken = { tryForward: rejecting("EADDRINUSE") };
    expect(await check("tcp://127.0.0.1:5555")).toMatchObject([{ status: "ok", seen: "tcp://127.0.0.1:5555 is free" }]);
    expect(await check("tcp://127.0.0.1:5555", taken)).toMatchObject([{ status: "failure" }]);
    expect(await check("tcp://127.0.0.1:5555", { ...taken, ...RUNNING })).toMatchObject([{ status: "ok" }]);
    expect(await check("dial+tcp://127.0.0.1:5555", taken)).toMatchObject([{ status: "ok" }]);
  });
});

describe("the check of the state folder", () => {
  const check = (changes: Partial<Host>) => {
    const host = fakeHost(changes);
    return checkStateFolder(host, subjectOf(host, { state: "/home/me/state/hostd" }));
  };

  it("is content when it can be written to, or be made", async () => {
    expect(await check({})).toMatchObject([{ status: "ok", seen: "/home/me/state/hostd is made when it is needed" }]);
    const there = found({ "/home/me/state/hostd": "folder" });
    expect(await check({ lookAt: there })).toMatchObject([
      { status: "ok", seen: "/home/me/state/hostd can be written to" },
    ]);
  });

  it("fails when it cannot", async () => {
    const canWriteIn = async () => false;
    expect(await check({ canWriteIn })).toMatchObject([
      { status: "failure", seen: expect.stringContaining("/home/me/state/hostd cannot be made in /home/me") },
    ]);
    const there = found({ "/home/me/state/hostd": "other" });
    expect(await check({ lookAt: there, canWriteIn })).toMatchObject([
      { status: "failure", seen: expect.stringContaining("is no folder that can be written to") },
    ]);
    expect(await check({ lookAt: found({}), canWriteIn })).toMatchObject([{ status: "failure" }]);
  });
});
