import { formatListen, isSocketPath } from "@hostd/portfwd";
import { describe, expect, it } from "vitest";
import { answers, fakeHost, files, found, subjectOf } from "../testing/fake-host.ts";
import type { Host } from "./host.ts";
import { checkLowPorts, checkPorts } from "./port-checks.ts";

/** Ports are free unless they are named here, with what hostd would say of them. */
function held(messages: Readonly<Record<string, string>>): Pick<Host, "tryForward"> & { tried: string[] } {
  const tried: string[] = [];
  return {
    tried,
    tryForward: async (_, { protocol, listen }) => {
      if (isSocketPath(listen)) throw new Error("a path is not tried");
      tried.push(`${protocol} ${formatListen(listen)}`);
      const message = messages[String(listen.port)];
      if (message !== undefined) throw new Error(message);
    },
  };
}

const running = (forwards: readonly unknown[]): Pick<Host, "get"> => ({
  get: answers({ "/version": { version: "1" }, "/v1/forwards": forwards }),
});

const check = (
  forwards: readonly { listen: string | number; to: string | number; protocol?: "udp" }[],
  changes: Partial<Host> = {},
) => {
  const host = fakeHost(changes);
  return checkPorts(host, subjectOf(host, { forwards: [...forwards] }));
};

describe("the check of ports", () => {
  it("says that none is published", async () => {
    expect(await check([])).toEqual([{ name: "ports", status: "ok", seen: "none is published" }]);
  });

  it("names those that are free, a few of many", async () => {
    const ports = held({});
    expect(await check([{ listen: 8080, to: 80 }], ports)).toEqual([
      { name: "ports", status: "ok", seen: "127.0.0.1:8080 is free" },
    ]);
    expect(await check([{ listen: "*:8000-8009", to: "8000-8009", protocol: "udp" }], ports)).toEqual([
      { name: "ports", status: "ok", seen: ":8000, :8001, :8002, :8003 and 6 more are free" },
    ]);
    expect(ports.tried).toEqual([
      "tcp 127.0.0.1:8080",
      ...Array.from({ length: 10 }, (_, index) => `udp :800${index}`),
    ]);
  });

  it("fails for one that is held, and says by whom and what to do", async () => {
    const message = "listen tcp 127.0.0.1:8080: bind: address already in use (held by nginx (process 7))";
    expect(
      await check(
        [
          { listen: 8080, to: 80 },
          { listen: 8081, to: 81 },
        ],
        held({ 8080: message }),
      ),
    ).toEqual([
      { name: "ports", status: "ok", seen: "127.0.0.1:8081 is free" },
      { name: "port", status: "failure", seen: message, advice: "stop what holds it, or choose another port" },
    ]);
  });

  it("has what to do about a low port as its advice", async () => {
    const message = "listen tcp 127.0.0.1:80: bind: permission denied (ports below 1024 are for root: choose a port)";
    expect(await check([{ listen: 80, to: 80 }], held({ 80: message }))).toEqual([
      {
        name: "port",
        status: "failure",
        seen: "listen tcp 127.0.0.1:80: bind: permission denied",
        advice: "ports below 1024 are for root: choose a port",
      },
    ]);
  });

  it("does not try what the hostd that runs holds", async () => {
    const ports = held({ 8080: "address already in use" });
    const forwards = [{ id: "tcp/127.0.0.1:8080", listen: "127.0.0.1:8080", state: "listening" }];
    expect(await check([{ listen: 8080, to: 80 }], { ...ports, ...running(forwards) })).toEqual([
      { name: "ports", status: "ok", seen: "127.0.0.1:8080 is held by the hostd that runs" },
    ]);
    expect(ports.tried).toEqual([]);
  });

  it("fails for one that the hostd that runs could not open again", async () => {
    const forwards = [{ id: "tcp/127.0.0.1:8080", listen: "127.0.0.1:8080", state: "failed", error: "it is taken" }];
    expect(await check([], running(forwards))).toMatchObject([
      { status: "failure", seen: "tcp/127.0.0.1:8080: it is taken", advice: expect.stringContaining("hostd ports rm") },
    ]);
  });

  it("looks at the path of a Unix socket without listening there", async () => {
    const forward = [{ listen: "unix:///run/web.sock", to: 80 }];
    expect(await check(forward, held({}))).toMatchObject([{ status: "ok", seen: "unix:///run/web.sock is free" }]);
    const socket = { ...held({}), lookAt: found({ "/run/web.sock": "socket" }) };
    expect(await check(forward, socket)).toMatchObject([{ status: "ok" }]);
    const listening = { ...socket, listeningSockets: () => new Set(["/run/web.sock"]) };
    expect(await check(forward, listening)).toMatchObject([
      { status: "failure", seen: "unix:///run/web.sock cannot be listened on: a process listens there" },
    ]);
    expect(await check(forward, { lookAt: found({ "/run/web.sock": "other" }) })).toMatchObject([
      { status: "failure", seen: expect.stringContaining("it is no socket") },
    ]);
  });

  it("tries a bounded number, and none for which the system chooses", async () => {
    const ports = held({});
    const findings = await check(
      [
        { listen: "1024-3000", to: "1024-3000" },
        { listen: 0, to: 80 },
      ],
      ports,
    );
    expect(ports.tried).toHaveLength(256);
    expect(findings.at(-1)).toMatchObject({
      status: "ok",
      seen: "1721 more ports of the configuration were not tried",
    });
  });
});

describe("the check of low ports", () => {
  const START = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
  const low = async (start: string, capabilities: string, forwards: { listen: number; to: number }[], changes = {}) => {
    const texts = { [START]: start, "/proc/self/status": `Name:\tnode\nCapEff:\t${capabilities}\nCapBnd:\t0\n` };
    const host = fakeHost({ readFile: files(texts), ...changes });
    return await checkLowPorts(host, subjectOf(host, { forwards }));
  };
  const web = [{ listen: 80, to: 80 }];

  it("is content when none of them is published", async () => {
    expect(await low("1024\n", "0000000000000000", [{ listen: 8080, to: 80 }])).toMatchObject([
      { status: "ok", seen: "ports below 1024 are for root, and none of them is published" },
    ]);
  });

  it("is content when the system, or a capability, allows every port", async () => {
    expect(await low("0\n", "0000000000000000", web)).toMatchObject([{ status: "ok" }]);
    expect(await low("80\n", "0000000000000000", web)).toMatchObject([{ status: "ok" }]);
    expect(await low("1024\n", "0000000000000400", web)).toMatchObject([
      { status: "ok", seen: expect.stringContaining("CAP_NET_BIND_SERVICE") },
    ]);
    expect(await low("", "", web, { platform: "darwin" })).toMatchObject([{ status: "ok" }]);
  });

  it("warns otherwise, and says what to do", async () => {
    expect(await low("1024\n", "fffffffffffffbff", web)).toMatchObject([
      {
        status: "warning",
        seen: "ports below 1024 are for root, and 80 is published",
        advice: expect.stringContaining("sysctl -w net.ipv4.ip_unprivileged_port_start=80"),
      },
    ]);
  });
});
