import { describe, expect, test } from "vitest";
import { readRunningContainer } from "./running-container.ts";

const ID = "0123456789abcdef".repeat(4);

/** What an engine says of a container that runs. */
const says = (fields: object = {}) => ({ Id: ID, Name: "/web", State: { Running: true }, ...fields });
const inNetworks = (networks: unknown) => says({ NetworkSettings: { Networks: networks } });
const labelled = (service: string, project: string, more: object = {}) => {
  return says({
    Config: { Labels: { "com.docker.compose.service": service, "com.docker.compose.project": project, ...more } },
  });
};

describe("a container", () => {
  test("is read with the name and the addresses that it has", () => {
    const networks = {
      host: { IPAddress: "" },
      b: { IPAddress: "172.18.0.2", GlobalIPv6Address: "2001:DB8::5" },
      a: { IPAddress: "", GlobalIPv6Address: "fd00:0::1" },
      c: { IPAddress: "172.19.0.2", GwPriority: 1 },
    };
    expect(readRunningContainer(inNetworks(networks))).toEqual({
      id: ID,
      name: "web",
      composeName: null,
      networks: [
        { name: "c", addresses: ["172.19.0.2"] },
        { name: "a", addresses: ["fd00::1"] },
        { name: "b", addresses: ["172.18.0.2", "2001:db8::5"] },
      ],
    });
  });

  test.each([
    [null],
    ["text"],
    [says({ Id: "short" })],
    [says({ Id: `${ID}0` })],
    [says({ State: { Running: false } })],
    [says({ State: null })],
    [says({ State: { Running: "true" } })],
  ])("is none unless it runs: %j", (value) => {
    expect(readRunningContainer(value)).toBeNull();
  });

  test.each(["", "/", "/\x1b[2J", "/a b", "/.a", `/${"x".repeat(254)}`, 7, null])(
    "is called by its id for want of a name: %j",
    (name) => {
      expect(readRunningContainer(says({ Name: name }))?.name).toBe("0123456789ab");
    },
  );

  test.each([
    [labelled("web", "shop"), "web.shop"],
    [labelled("web", "shop", { "com.docker.compose.oneoff": "False" }), "web.shop"],
    [labelled("web", "shop", { "com.docker.compose.oneoff": "True" }), null],
    [labelled("", "shop"), null],
    [labelled("web", ""), null],
    [labelled("../..", "shop"), null],
    [labelled("w".repeat(250), "shop"), null],
    [says({ Config: { Labels: [] } }), null],
  ])("has the name that Compose gives to its service: %j", (value, expected) => {
    expect(readRunningContainer(value)?.composeName).toBe(expected);
  });

  test("has no networks and addresses that there cannot be, and 16 at most", () => {
    const networks = {
      "\n": { IPAddress: "172.17.0.2" },
      a: { IPAddress: "fe80::1", GlobalIPv6Address: "172.17.0.3" },
      b: null,
      c: { IPAddress: 7, GlobalIPv6Address: "fe80::1%eth0" },
      d: { IPAddress: "172.17.0.4" },
    };
    expect(readRunningContainer(inNetworks(networks))?.networks).toEqual([{ name: "d", addresses: ["172.17.0.4"] }]);
    const many = Array.from({ length: 20 }, (_, number) => [`n${number}`, { IPAddress: `10.0.0.${number}` }]);
    expect(readRunningContainer(inNetworks(Object.fromEntries(many)))?.networks).toHaveLength(16);
  });
});
