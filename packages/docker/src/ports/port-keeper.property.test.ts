import { describe, expect, test } from "vitest";
import { Random } from "../../../stack/src/testing/random.ts";
import { PortHarness, publish } from "../testing/port-harness.ts";
import { formatAddress } from "./host-address.ts";
import type { Reservation } from "./port-reservations.ts";

const RUNS = 40;
const STEPS = 60;
const PORTS = ["1000:80", "1001:81", "1002:82/udp", "127.0.0.1:1003:83", "1004-1006:84", "85", "1001:86/udp", "0:87"];
const NETWORKS = ["bridge", "net1", "net2", "inside"];

/** Does things at random to an engine and to hostd. */
class Story {
  readonly #harness: PortHarness;
  readonly #random: Random;
  /** Requests to start a container that the engine has answered, or will not, and hostd has not been told so. */
  readonly #requests: { readonly reservation: Reservation & { kind: "reserved" }; readonly status: number | null }[] =
    [];

  constructor(harness: PortHarness, random: Random) {
    this.#harness = harness;
    this.#random = random;
  }

  async step(): Promise<void> {
    const { engine, host } = this.#harness;
    const random = this.#random;
    const ids = [...engine.containers.keys()];
    const id = ids.length === 0 ? "" : random.pick(ids);
    const kind = random.below(22);
    engine.pieces = 1 + random.below(9);
    engine.eventStyle = random.oneIn(2) ? "docker" : "podman";
    if (kind < 4) this.#create();
    else if (kind < 7) engine.startContainer(id);
    else if (kind < 10) await this.#startByProxy(id);
    else if (kind < 12) await this.#endRequest();
    else if (kind === 12) engine.die(id, random.oneIn(2) ? "exited" : "restarting");
    else if (kind === 13) engine.revive(id);
    else if (kind === 14) engine.remove(id);
    else if (kind === 15) engine.restart(id);
    else if (kind === 16) engine.rename(id, `name${random.below(1000)}`);
    else if (kind === 17) engine.setPaused(id, random.oneIn(2));
    else if (kind === 18) engine.disconnect(id, random.pick(NETWORKS));
    else if (kind === 19) engine.connect(id, random.pick(NETWORKS));
    else if (kind === 20) toggle(host.taken, random.pick(["1000/tcp", "1001/udp", "1003/tcp", "1005/tcp"]));
    else await this.#disturb(ids);
    if (random.oneIn(3)) await this.#harness.keeper.settled();
  }

  /** Has everything that was begun come to its end. */
  async finish(): Promise<void> {
    while (this.#requests.length > 0) await this.#endRequest();
    this.#harness.engine.broken.clear();
    await this.#harness.settle();
    await this.#harness.pass(5000);
    await this.#harness.settle();
  }

  #create(): void {
    const random = this.#random;
    const ports = PORTS.filter(() => random.oneIn(3));
    const networks = NETWORKS.filter(() => random.oneIn(3));
    this.#harness.engine.create({
      portBindings: publish(...ports),
      networks: networks.length === 0 ? ["bridge"] : networks,
      networkMode: random.oneIn(8) ? "host" : "default",
    });
  }

  async #startByProxy(id: string): Promise<void> {
    const { engine, reservations } = this.#harness;
    const isRestart = this.#random.oneIn(4);
    const reservation = await reservations.before(id, isRestart ? "restart" : "start");
    if (reservation.kind === "refused") return;
    const status = isRestart ? engine.restart(id) : engine.startContainer(id);
    this.#requests.push({ reservation, status: this.#random.oneIn(6) ? null : status });
    if (this.#random.oneIn(2)) await this.#endRequest();
  }

  async #endRequest(): Promise<void> {
    const [request] = this.#requests.splice(this.#random.below(this.#requests.length || 1), 1);
    await request?.reservation.after(request.status);
  }

  async #disturb(ids: readonly string[]): Promise<void> {
    const { engine } = this.#harness;
    const random = this.#random;
    switch (random.below(4)) {
      case 0:
        for (const id of ids) if (random.oneIn(2)) engine.broken.set(`/containers/${id}/json`, 500);
        break;
      case 1:
        engine.broken.clear();
        engine.endStreams();
        for (const id of ids) if (random.oneIn(3)) engine.die(id);
        for (const id of ids) if (random.oneIn(3)) engine.startContainer(id);
        await this.#harness.reconnect();
        break;
      case 2:
        await engine.reboot(ids.filter(() => random.oneIn(2)));
        await this.#harness.reconnect();
        break;
      default:
        while (this.#requests.length > 0) await this.#endRequest();
        await this.#harness.restartKeeper();
    }
  }
}

function toggle(set: Set<string>, one: string): void {
  if (!set.delete(one)) set.add(one);
}

/** What the engine's containers should have, worked out from what they asked for. */
function expected({ engine, host }: PortHarness): { open: string[]; failed: string[] } {
  const open: string[] = [];
  const failed: string[] = [];
  for (const { state, networkMode, portBindings, ports, addresses } of engine.containers.values()) {
    if (!["running", "paused"].includes(state) || networkMode === "host") continue;
    const reached = [...addresses.keys()].filter((name) => name !== "inside").sort()[0];
    if (reached === undefined && addresses.size > 0) continue;
    for (const [key, rows] of Object.entries(ports)) {
      const [port, protocol] = key.split("/");
      const { HostIp = "" } = portBindings[key]?.[0] ?? {};
      for (const number of new Set(rows?.map(({ HostPort }) => Number(HostPort)))) {
        const name = `${formatAddress(HostIp, number)}/${protocol}`;
        if (host.taken.has(`${number}/${protocol}`) && !host.listening.some((one) => one.startsWith(`${name} `)))
          failed.push(name);
        else open.push(`${name} > ${reached === undefined ? `vm:${number}` : `${addresses.get(reached)}:${port}`}`);
      }
    }
  }
  return { open: open.sort(), failed: failed.sort() };
}

describe("whatever containers, the engine and hostd do", () => {
  test.each(Array.from({ length: RUNS }, (_, run) => run))(
    "containers that run have what they ask for (seed %i)",
    async (seed) => {
      const harness = await PortHarness.start();
      try {
        for (const network of ["net1", "net2"]) harness.engine.networks.set(network, { gateway: "172.18.0.1" });
        harness.engine.networks.set("inside", { gateway: "172.19.0.1", isInternal: true });
        const story = new Story(harness, new Random(seed));
        for (let step = 0; step < STEPS; step++) {
          await story.step();
          if (step % 20 !== 19) continue;
          await story.finish();
          const { open, failed } = expected(harness);
          expect(harness.host.listening, `after step ${step}`).toEqual(open);
          const list = harness.keeper.list();
          expect(list.filter(({ state }) => state === "open")).toHaveLength(open.length);
          const lacking = list.filter(({ state }) => state === "failed");
          expect(
            lacking.map(({ address, port, protocol }) => `${formatAddress(address, port)}/${protocol}`).sort(),
          ).toEqual(failed);
          expect(list.filter(({ state }) => state === "held")).toEqual([]);
          if (failed.length > 0) continue;
          await harness.pass(5000);
          expect(harness.clock.timers, "timers").toBe(0);
        }
        await harness.keeper.close();
        expect(harness.host.listening).toEqual([]);
      } finally {
        await harness.close();
      }
    },
  );
});
