import { describe, expect, it } from "vitest";
import type { ForwardReport } from "../forwards/forward-report.ts";
import { UsageError } from "./api-client.ts";
import { describeForwards, describeOpened, findForward } from "./ports-text.ts";
import { PLAIN } from "./table.ts";

function forward(id: string, fields: Partial<ForwardReport> = {}): ForwardReport {
  const [, scheme, place] = /^(\w+)\/(.*)$/s.exec(id) ?? [];
  return {
    id,
    protocol: scheme === "udp" ? "udp" : "tcp",
    listen: scheme === "unix" ? `unix://${place}` : place,
    to: "80",
    origin: "config",
    persist: false,
    state: "listening",
    ...fields,
  };
}

const STATISTICS = {
  ...{ connected: 12_345, refused: 1, failed: 2, droppedNoVm: 3, droppedPending: 4, droppedLimit: 5 },
  ...{ pending: 1, open: 7 },
};

describe("describeForwards", () => {
  it("lists forwards, where they lead to, and what became of their connections", () => {
    const lines = describeForwards([
      forward("tcp/127.0.0.1:8080", { statistics: STATISTICS }),
      forward("tcp/[::1]:2222", { to: "172.17.0.2:22", origin: "api", persist: true, statistics: STATISTICS }),
      forward("unix//run/podman.sock", { to: "ssh://core@vm:22/run/podman.sock", origin: "gvproxy" }),
    ]);
    expect(lines).toEqual([
      "ID                     LEADS TO                          ORIGIN         STATE      OPEN  SERVED  NOT SERVED",
      "tcp/127.0.0.1:8080     vm:80                             config         listening     7     12k          15",
      "tcp/[::1]:2222         172.17.0.2:22                     api, persists  listening     7     12k          15",
      "unix//run/podman.sock  ssh://core@vm:22/run/podman.sock  gvproxy        listening     -       -           -",
    ]);
  });

  it("says why one does not listen", () => {
    const error = "listen tcp 127.0.0.1:80: bind: permission denied";
    expect(describeForwards([forward("tcp/127.0.0.1:80", { state: "failed", error })])).toEqual([
      "ID                LEADS TO  ORIGIN  STATE   OPEN  SERVED  NOT SERVED",
      "tcp/127.0.0.1:80  vm:80     config  failed     -       -           -",
      "",
      `tcp/127.0.0.1:80: ${error}`,
    ]);
  });

  it("leaves out figures where the terminal has no room", () => {
    const [titles] = describeForwards([forward("tcp/127.0.0.1:80")], { ...PLAIN, width: 60 });
    expect(titles).toBe("ID                LEADS TO  ORIGIN  STATE      OPEN  SERVED");
  });

  it("says that there is none, and how there would be", () => {
    expect(describeForwards([])).toEqual(['No port leads into a VM; "hostd ports add 8080:80" opens one.']);
  });
});

describe("describeOpened", () => {
  it("has a line for each", () => {
    expect(describeOpened([forward("tcp/127.0.0.1:1"), forward("udp/127.0.0.1:1", { to: "10.0.0.1:2" })])).toEqual([
      "tcp/127.0.0.1:1 leads to vm:80",
      "udp/127.0.0.1:1 leads to 10.0.0.1:2",
    ]);
  });
});

describe("findForward", () => {
  const forwards = [
    "tcp/127.0.0.1:8080",
    "tcp/127.0.0.1:53",
    "udp/127.0.0.1:53",
    "tcp/:9090",
    "tcp/[::]:443",
    "tcp/127.0.0.1:180",
    "tcp/0.0.0.0:80",
    "unix//run/web:80",
  ].map((id) => forward(id));

  it.each([
    ["tcp/127.0.0.1:53", "tcp/127.0.0.1:53"],
    ["8080", "tcp/127.0.0.1:8080"],
    ["127.0.0.1:8080", "tcp/127.0.0.1:8080"],
    ["53/udp", "udp/127.0.0.1:53"],
    ["127.0.0.1:53/tcp", "tcp/127.0.0.1:53"],
    ["*:9090", "tcp/:9090"],
    ["9090", "tcp/:9090"],
    ["[::]:443", "tcp/[::]:443"],
    ["80", "tcp/0.0.0.0:80"],
    ["/run/web:80", "unix//run/web:80"],
    ["unix:///run/web:80", "unix//run/web:80"],
  ])("takes %s for %s", (given, id) => {
    expect(findForward(forwards, given).id).toBe(id);
  });

  it("has one named where several have the port", () => {
    const find = () => findForward(forwards, "53");
    expect(find).toThrow(UsageError);
    expect(find).toThrow("53 may be any of tcp/127.0.0.1:53, udp/127.0.0.1:53: name one of them");
  });

  it.each(["9", "0", "8080/udp", "127.0.0.2:8080", "tcp", "", "/run/we", "*", "080", "443:"])(
    "finds none for %j",
    (given) => {
      const find = () => findForward(forwards, given);
      expect(find).not.toThrow(UsageError);
      expect(find).toThrow(`there is no forward ${given}; there are tcp/127.0.0.1:8080, `);
    },
  );

  it("names a few of many, and says that there is none", () => {
    const many = Array.from({ length: 12 }, (_, index) => forward(`tcp/127.0.0.1:${index + 1}`));
    expect(() => findForward(many, "99")).toThrow(/, tcp\/127\.0\.0\.1:10 and 2 more$/);
    expect(() => findForward([], "99")).toThrow(/^there is no forward 99; there is none$/);
  });
});
