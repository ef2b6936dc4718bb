import { PortUnavailableError } from "@hostd/docker";
import { describe, expect, it } from "vitest";
import type { Reach } from "../config/docker-schema.ts";
import type { SettingsInput } from "../config/schema.ts";
import { openBook } from "../testing/forward-book.ts";
import { ForwardPublisher } from "./port-publisher.ts";

async function open(reach: Reach, settings: SettingsInput = {}, defaultAddress = "127.0.0.1") {
  const { book } = await openBook(settings);
  return { book, publisher: new ForwardPublisher(book, () => defaultAddress, reach) };
}

const tcp = (address: string, port = 0) => ({ protocol: "tcp", address, port }) as const;

/** What a publisher says of a port that it refuses. */
async function refusal(publisher: ForwardPublisher, address: string, port: number): Promise<string> {
  const error: unknown = await publisher.publish(tcp(address, port), "web").catch((reason: unknown) => reason);
  if (!(error instanceof PortUnavailableError)) throw new Error(`it did not refuse: ${String(error)}`);
  return error.goMessage;
}

describe("a port of a container", () => {
  it("is a forward of that owner until it is let go, on the default address where it has none", async () => {
    const { book, publisher } = await open("container");
    const port = await publisher.publish(tcp(""), "web");
    expect(book.list()).toMatchObject([
      { id: `tcp/127.0.0.1:${port.host.port}`, origin: "docker", owner: "web", persist: false },
    ]);
    expect(port.host.port).toBeGreaterThan(0);
    await port.release();
    expect(book.list()).toEqual([]);
  });

  it("that another program has is refused in Docker's words", async () => {
    const { publisher } = await open("container");
    const { host } = await publisher.publish(tcp(""), "web");
    expect(await refusal(publisher, "127.0.0.1", host.port)).toBe(
      `listen tcp4 127.0.0.1:${host.port}: bind: address already in use`,
    );
  });

  it("that is not allowed is refused with what is", async () => {
    const { publisher } = await open("container", { publish: { allow: ["any:8000-8999"] } });
    expect(await refusal(publisher, "127.0.0.1", 80)).toBe(
      "listening on 127.0.0.1:80 is not allowed; allowed: any:8000-8999",
    );
  });

  it("that leads to the VM's is refused on addresses where the engine cannot be reached, and nothing listens", async () => {
    const { book, publisher } = await open("vm");
    for (const address of ["127.0.0.1", "::1", "::", "192.0.2.1"]) {
      expect(await refusal(publisher, address, 0)).toContain(`the engine binds it to ${address} in the VM`);
    }
    expect(book.list()).toEqual([]);
    const port = await publisher.publish(tcp(""), "web");
    expect(book.list()).toHaveLength(1);
    await port.release();
    await (await publisher.publish(tcp("0.0.0.0"), "web")).release();
  });
});
