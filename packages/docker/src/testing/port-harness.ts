import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { FakeClock } from "../../../streams/src/testing/fake-clock.ts";
import { RecordingLogger } from "../../../streams/src/testing/recording-logger.ts";
import { EngineClient } from "../engine/engine-client.ts";
import { EngineWatch } from "../engine/engine-watch.ts";
import { PortKeeper, type PortKeeperOptions } from "../ports/port-keeper.ts";
import { PortReservations } from "../ports/port-reservations.ts";
import { FakePublisher } from "./fake-publisher.ts";
import { ScriptedEngine } from "./scripted-engine.ts";

/** The ports of a scripted engine's containers on an imagined host. */
export class PortHarness {
  readonly folder = mkdtempSync(join(tmpdir(), "hostd-docker-"));
  readonly engine = new ScriptedEngine(join(this.folder, "engine.sock"));
  readonly clock = new FakeClock();
  readonly logger = new RecordingLogger();
  readonly host = new FakePublisher();
  client!: EngineClient;
  watch!: EngineWatch;
  keeper!: PortKeeper;
  reservations!: PortReservations;
  #markers = 0;

  /** With an engine that runs, and whose events are followed. */
  static async start(options: Partial<PortKeeperOptions> = {}): Promise<PortHarness> {
    const harness = new PortHarness();
    await harness.engine.start();
    await harness.startKeeper(options);
    return harness;
  }

  /** Begins anew, as hostd does when it is started. */
  async startKeeper(options: Partial<PortKeeperOptions> = {}): Promise<void> {
    const { clock, logger, host: publisher, engine } = this;
    this.client = new EngineClient({ dial: engine.dial, clock });
    this.keeper = new PortKeeper({ client: this.client, publisher, clock, logger, ...options });
    this.reservations = new PortReservations(this.keeper, logger);
    this.watch = new EngineWatch({ client: this.client, watchers: [this.keeper], clock, logger });
    this.watch.start();
    await this.engine.followed();
    await this.settle();
  }

  /** As {@link startKeeper} after hostd has ended, of which nothing is left. */
  async restartKeeper(options: Partial<PortKeeperOptions> = {}): Promise<void> {
    await this.stopKeeper();
    await this.engine.unfollowed();
    await this.startKeeper(options);
  }

  /** Resolves when all that the engine has told until now has been looked at. */
  async settle(): Promise<void> {
    const id = (++this.#markers).toString(16).padStart(64, "f");
    this.engine.emit("container", "start", id);
    await this.engine.asked(`GET /containers/${id}/json`);
    await this.keeper.settled();
  }

  /** Lets time pass until the engine is followed again, and all is looked at. */
  async reconnect(): Promise<void> {
    let isFollowed = false;
    const followed = this.engine.followed().then(() => {
      isFollowed = true;
    });
    while (!isFollowed) await this.pass(100);
    await followed;
    await this.settle();
  }

  /** Lets time pass, and what comes of it happen. */
  async pass(milliseconds: number): Promise<void> {
    this.clock.advance(milliseconds);
    for (let turn = 0; turn < 20; turn++) await setImmediate();
    await this.keeper.settled();
  }

  /** As `docker start` through the proxy does. */
  async start(id: string): Promise<number | string> {
    return await this.#throughProxy("start", id, () => this.engine.startContainer(id));
  }

  /** As `docker restart` through the proxy does. */
  async restart(id: string): Promise<number | string> {
    return await this.#throughProxy("restart", id, () => this.engine.restart(id));
  }

  async close(): Promise<void> {
    await this.stopKeeper();
    await this.engine.stop();
    rmSync(this.folder, { recursive: true });
  }

  /** Ends hostd's part. */
  async stopKeeper(): Promise<void> {
    await this.watch.close();
    await this.keeper.close();
    this.client.close();
  }

  /** @returns the engine's status, or the message of the refusal. */
  async #throughProxy(request: "start" | "restart", id: string, act: () => number): Promise<number | string> {
    const reservation = await this.reservations.before(id, request);
    if (reservation.kind === "refused") return reservation.message;
    const status = act();
    await reservation.after(status);
    return status;
  }
}

/** What `-p` becomes: `80:8080` leads port 80 of the host to 8080; `127.0.0.1:80:8080/udp` and so on. */
export function publish(...ports: readonly string[]): Record<string, { HostIp: string; HostPort: string }[]> {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const text of ports) {
    const match = /^(?:(?:\[?([^[\]]*?)\]?:)?([\d-]*):)?(\d+)(?:\/([a-z]+))?$/.exec(text);
    if (match === null) throw new Error(`no port: ${text}`);
    const [, HostIp = "", HostPort = "", port, protocol = "tcp"] = match;
    const key = `${port}/${protocol}`;
    bindings[key] = [...(bindings[key] ?? []), { HostIp, HostPort }];
  }
  return bindings;
}
