import { describe, expect, it } from "vitest";
import { failure, ok, warning } from "../doctor/finding.ts";
import { describeFindings, PLAIN } from "./doctor-text.ts";

const SECTIONS = [
  { title: "This host", findings: [ok("node", "Node 26"), warning("open files", "1024 are allowed", "allow more")] },
  { title: "Nothing", findings: [] },
  { title: "hostd", findings: [failure("port", "80 is held by nginx", "stop it"), ok("proxies", "none", "so it is")] },
];

describe("describeFindings", () => {
  it("has names and sentences below each other, what to do behind an arrow, and how much of each at the end", () => {
    expect(describeFindings(SECTIONS)).toEqual([
      "This host",
      "  ok  node        Node 26",
      "  !!  open files  1024 are allowed",
      "                  -> allow more",
      "",
      "hostd",
      "  xx  port        80 is held by nginx",
      "                  -> stop it",
      "  ok  proxies     none",
      "                  -> so it is",
      "",
      "2 ok, 1 warning, 1 failure",
    ]);
  });

  it("breaks what is too long, but no word", () => {
    const long = "/a/path/that/is/longer/than/the/room/that/there/is/for/it/in/one/line/of/a/terminal";
    const findings = [warning("ports", `one two three four five six seven eight nine ten`, `remove ${long} now`)];
    expect(describeFindings([{ title: "T", findings }], { ...PLAIN, width: 40 })).toEqual([
      "T",
      "  !!  ports  one two three four five six",
      "             seven eight nine ten",
      "             -> remove",
      `                ${long}`,
      "                now",
      "",
      "0 ok, 1 warning",
    ]);
  });

  it("lets nothing steer the terminal", () => {
    const findings = [ok("VM", "na\x1b[2Jme has 10.0.0.1")];
    expect(describeFindings([{ title: "T", findings }])[1]).toBe("  ok  VM  na?[2Jme has 10.0.0.1");
  });

  it("marks each status in its own way", () => {
    const marked = describeFindings(SECTIONS, {
      ...PLAIN,
      mark: (status, text) => `<${status}>${text}</>`,
      title: (text) => `# ${text}`,
      quiet: (text) => `(${text})`,
    });
    expect(marked).toContain("# hostd");
    expect(marked).toContain("  <failure>xx</>  port        80 is held by nginx");
    expect(marked).toContain("                  (-> so it is)");
    expect(marked.at(-1)).toBe("<ok>2 ok</>, <warning>1 warning</>, <failure>1 failure</>");
  });
});
