import type { AskedPort } from "@hostd/docker";
import { describe, expect, it } from "vitest";
import type { SettingsInput } from "../config/schema.ts";
import { forwarderSettings } from "../forwarder-settings.ts";
import { openBook } from "../testing/forward-book.ts";
import { portRule } from "./port-rules.ts";

function asking(address: string, first: number, last = first): AskedPort {
  return { protocol: "tcp", containerPort: 80, address, first, last };
}

async function ruleOf(settings: SettingsInput) {
  const { config, forwarder } = await openBook(settings);
  return portRule(config.docker, forwarder);
}

describe("the ports that containers may ask for", () => {
  it("are any unless something else is said", async () => {
    const rule = await ruleOf({});
    for (const address of ["", "0.0.0.0", "::", "127.0.0.1", "10.0.0.1"]) {
      expect([address, rule(asking(address, 80))]).toEqual([address, null]);
      expect([address, rule(asking(address, 0))]).toEqual([address, null]);
    }
  });

  it("are those of publish.allow, of docker.defaultAddress where there is no address", async () => {
    const publish = { allow: ["127.0.0.1", "10.0.0.0/8:8000-8999"] };
    const allowed = "is not allowed; allowed: 127.0.0.1, 10.0.0.0/8:8000-8999";
    const rule = await ruleOf({ publish });
    expect(rule(asking("127.0.0.1", 80))).toBeNull();
    expect(rule(asking("10.0.0.1", 8080))).toBeNull();
    expect(rule(asking("10.0.0.1", 80))).toBe(`listening on 10.0.0.1:80 ${allowed}`);
    expect(rule(asking("0.0.0.0", 80))).toBe(`listening on 0.0.0.0:80 ${allowed}`);
    expect(rule(asking("", 80))).toBe(`listening on any:80 ${allowed}`);
    const atLoopback = await ruleOf({ publish, docker: { defaultAddress: "loopback" } });
    expect(atLoopback(asking("", 80))).toBeNull();
    expect(atLoopback(asking("0.0.0.0", 80))).not.toBeNull();
  });

  it("are judged together where the engine chooses: one that is allowed is enough", async () => {
    const rule = await ruleOf({ publish: { allow: ["any:8000-8999"] } });
    expect(rule(asking("", 8999, 9010))).toBeNull();
    expect(rule(asking("", 9000, 9010))).toBe("listening on any:9000-9010 is not allowed; allowed: any:8000-8999");
    expect(rule(asking("", 0))).toBeNull();
    const atLoopback = await ruleOf({ publish: { allow: ["127.0.0.1"] } });
    expect(atLoopback(asking("10.0.0.1", 0))).toBe("listening on 10.0.0.1 is not allowed; allowed: 127.0.0.1");
  });

  it("follow the policy when it changes", async () => {
    const { config, forwarder } = await openBook({});
    const rule = portRule(config.docker, forwarder);
    expect(rule(asking("", 80))).toBeNull();
    const narrow = await openBook({ publish: { allow: [] } });
    forwarder.configure(forwarderSettings(narrow.config));
    expect(rule(asking("", 80))).toBe("listening on any:80 is not allowed; allowed: nothing");
  });

  it("have no address of the engine's own where they lead to the VM's", async () => {
    const rule = await ruleOf({ docker: { reach: "vm" }, publish: { allow: ["any:8000-8999"] } });
    for (const address of ["", "0.0.0.0"]) expect([address, rule(asking(address, 8080))]).toEqual([address, null]);
    for (const address of ["127.0.0.1", "192.168.1.5", "172.17.0.1", "::", "::1"]) {
      expect(rule(asking(address, 8080))).toBe(
        `the engine binds it to ${address} in the VM, where it cannot be reached with docker.reach: vm; ` +
          "allowed: no address, which is docker.defaultAddress on this host, or 0.0.0.0",
      );
    }
    expect(rule(asking("", 80))).toContain("is not allowed");
  });
});
