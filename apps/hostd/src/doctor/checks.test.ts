import { describe, expect, it, vi } from "vitest";
import { fakeHost, subjectOf } from "../testing/fake-host.ts";
import { runChecks, SECTIONS, worstOf } from "./checks.ts";
import { failure, ok, warning } from "./finding.ts";

describe("runChecks", () => {
  it("finds everything well on a host that has what hostd needs, but that no hostd runs", async () => {
    const host = fakeHost();
    const sections = await runChecks(host, subjectOf(host));
    expect(sections.map(({ title }) => title)).toEqual(SECTIONS.map(({ title }) => title));
    const notWell = sections.flatMap(({ findings }) => findings.filter(({ status }) => status !== "ok"));
    expect(notWell).toMatchObject([{ name: "hostd", seen: expect.stringContaining("no hostd runs") }]);
  });

  it("has a check that throws, or never ends, as a warning beside the others", async () => {
    vi.useFakeTimers();
    const host = fakeHost();
    const checks = {
      fine: () => [ok("fine", "well")],
      throwing: () => {
        throw new Error("EIO");
      },
      rejecting: async () => Promise.reject(new Error("EPERM")),
      hanging: () => new Promise<never>(() => {}),
    };
    const running = runChecks(host, subjectOf(host), [{ title: "Some", checks }]);
    await vi.advanceTimersByTimeAsync(2000);
    const [{ findings }] = await running;
    vi.useRealTimers();
    expect(findings.map(({ name, status, seen }) => [name, status, seen])).toEqual([
      ["fine", "ok", "well"],
      ["throwing", "warning", "cannot be looked at: EIO"],
      ["rejecting", "warning", "cannot be looked at: EPERM"],
      ["hanging", "warning", "not known after 2 seconds"],
    ]);
  });

  it("does not throw on a host where nothing can be looked at", async () => {
    const failing = new Proxy(fakeHost(), {
      get: (target, name, receiver) => {
        const value: unknown = Reflect.get(target, name, receiver);
        if (typeof value !== "function") return value;
        return () => {
          throw new Error("EPERM");
        };
      },
    });
    const sections = await runChecks(failing, subjectOf(fakeHost()));
    const statuses = sections.flatMap(({ findings }) => findings.map(({ status }) => status));
    expect(statuses.filter((status) => status !== "ok").length).toBeGreaterThan(8);
  });
});

it("worstOf is the worst of all findings", () => {
  const section = (...findings: ReturnType<typeof ok>[]) => ({ title: "", findings });
  expect(worstOf([])).toBe("ok");
  expect(worstOf([section(ok("a", "b")), section(warning("a", "b", "c"))])).toBe("warning");
  expect(worstOf([section(failure("a", "b", "c"), ok("a", "b")), section(warning("a", "b", "c"))])).toBe("failure");
});
