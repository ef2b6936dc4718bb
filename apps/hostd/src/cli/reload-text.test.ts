import { describe, expect, it } from "vitest";
import { describeReload } from "./reload-text.ts";

describe("describeReload", () => {
  it("names what holds now and what holds later", () => {
    expect(describeReload({ changed: ["forwards", "dns.zones"], needRestart: ["mtu"] })).toEqual([
      "Changed: forwards, dns.zones",
      "Holds after a restart of hostd only: mtu",
    ]);
    expect(describeReload({ changed: [], needRestart: ["mtu"] })).toEqual(["Holds after a restart of hostd only: mtu"]);
  });

  it("says that nothing has changed", () => {
    expect(describeReload({ changed: [], needRestart: [] })).toEqual(["Nothing has changed."]);
  });
});
