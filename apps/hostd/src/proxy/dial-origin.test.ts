import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { UpstreamError } from "@hostd/httpproxy";
import { describe, expect, it } from "vitest";
import { cleanUp, Peer } from "../../../../packages/streams/src/testing/peer.ts";
import { parseConfig } from "../config/resolve.ts";
import type { SettingsInput } from "../config/schema.ts";
import { vmDestinations } from "./destinations.ts";
import { originDialer } from "./dial-origin.ts";

interface Origin {
  readonly host: string;
  readonly port?: number;
  readonly address?: string;
}

/** Connects, with the addresses that names have. */
async function dial(origin: Origin, names: Record<string, readonly string[]> = {}, settings: SettingsInput = {}) {
  const asked: string[] = [];
  const dialOrigin = originDialer({
    destinations: vmDestinations(parseConfig(settings, "test")),
    resolve: async (name) => {
      asked.push(name);
      return names[name] ?? [];
    },
  });
  const signal = AbortSignal.timeout(5000);
  const stream = await dialOrigin({ port: 1, ...origin }, signal).catch((error: unknown) => error);
  return { stream, asked };
}

/** A server on the loopback that says which of its connections it is. */
async function serve(host = "127.0.0.1"): Promise<number> {
  const server = createServer((socket) => socket.on("error", () => {}).end("reached"));
  server.listen(0, host);
  await once(server, "listening");
  cleanUp(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function isReached(origin: Origin, names?: Record<string, readonly string[]>): Promise<void> {
  const { stream } = await dial(origin, names);
  if (stream instanceof Error) throw stream;
  await new Peer(stream as ConstructorParameters<typeof Peer>[0]).gets("reached");
}

describe("the loopback of this host", () => {
  it("is reached by the names and the address that stand for it, on either family", async () => {
    const names = { "host.docker.internal": ["192.168.65.254"] };
    await isReached({ host: "host.docker.internal", port: await serve() }, names);
    await isReached({ host: "192.168.65.254", port: await serve() });
    await isReached({ host: "host.docker.internal", port: await serve("::1") }, names);
    await isReached({ host: "web.test", port: await serve() }, { "web.test": ["::ffff:192.168.65.254"] });
  });

  it.each([
    ["127.0.0.1", "127.0.0.1 is a loopback address"],
    ["127.1", "127.0.0.1 is a loopback address"],
    ["127.0.0.1.", "127.0.0.1 is a loopback address"],
    ["2130706433", "127.0.0.1 is a loopback address"],
    ["0x7f000001", "127.0.0.1 is a loopback address"],
    ["0177.0.0.1", "127.0.0.1 is a loopback address"],
    ["::ffff:127.0.0.1", "127.0.0.1 is a loopback address"],
    ["::ffff:7f00:1", "127.0.0.1 is a loopback address"],
    ["::1", "::1 is a loopback, link-local, multicast or unspecified address"],
    ["::", ":: is a loopback, link-local, multicast or unspecified address"],
    ["0:0:0:0:0:0:0:1", "0:0:0:0:0:0:0:1 is a loopback, link-local, multicast or unspecified address"],
    ["fe80::1", "fe80::1 is a loopback, link-local, multicast or unspecified address"],
    ["fe80::1%lo", "fe80::1%lo is a loopback, link-local, multicast or unspecified address"],
    ["ff02::1", "ff02::1 is a loopback, link-local, multicast or unspecified address"],
    ["0.0.0.0", "0.0.0.0 is no address of a host"],
    ["0", "0.0.0.0 is no address of a host"],
    ["192.168.65.1", "192.168.65.1 is the gateway"],
    ["192.168.65.77", "192.168.65.77 is in the network of the VM"],
    ["192.168.65.255", "192.168.65.255 is a broadcast address"],
    ["224.0.0.1", "224.0.0.1 is a multicast address"],
  ])("and other addresses of one's own are not, in any form: %s", async (host, reason) => {
    const { stream, asked } = await dial({ host });
    expect(stream).toBeInstanceOf(UpstreamError);
    expect(stream).toMatchObject({
      status: 403,
      message: expect.stringContaining(`are refused: ${reason}`),
    });
    expect((stream as Error).message).toContain("those of the host are at host.docker.internal");
    expect(asked).toEqual([]);
  });

  it("is not reached by a name that leads there", async () => {
    for (const address of ["127.0.0.1", "::1", "::ffff:127.0.0.1", "192.168.65.1"]) {
      expect((await dial({ host: "rebind.test" }, { "rebind.test": [address] })).stream).toMatchObject({ status: 403 });
    }
  });
});

it("is link-local addresses only where VMs may", async () => {
  const { stream } = await dial({ host: "169.254.169.254" }, {}, { egress: { linkLocal: false } });
  expect(stream).toMatchObject({ status: 403, message: expect.stringContaining("egress.linkLocal") });
});

it("leaves out those of a name's addresses that are out of bounds", async () => {
  await isReached({ host: "both.test", port: await serve() }, { "both.test": ["127.0.0.1", "192.168.65.254"] });
});

it("goes to the address that a client has connected to, whatever it calls that", async () => {
  const { stream, asked } = await dial({ host: "www.example.com", address: "127.0.0.1" });
  expect(stream).toMatchObject({ status: 403 });
  expect(asked).toEqual([]);
});

it("is no number, but a name, when more stands behind it", async () => {
  const { asked } = await dial({ host: "127.0.0.1.example" });
  expect(asked).toEqual(["127.0.0.1.example"]);
});

it("fails for a name without an address as for one that there is not", async () => {
  expect((await dial({ host: "none.test" })).stream).toMatchObject({ code: "ENOTFOUND" });
});

it("ends when nobody waits any more, before the address is known and after", async () => {
  const port = await serve();
  for (const turns of [0, 20]) {
    const dialOrigin = originDialer({
      destinations: vmDestinations(parseConfig({}, "test")),
      resolve: async () => ["192.168.65.254"],
    });
    const caller = new AbortController();
    const dialled = dialOrigin({ host: "host.docker.internal", port }, caller.signal);
    for (let turn = 0; turn < turns; turn++) await null;
    caller.abort(new Error("gone"));
    await expect(dialled).rejects.toThrow("gone");
  }
});
