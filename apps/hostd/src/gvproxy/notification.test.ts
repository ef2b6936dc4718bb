import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { EventHub } from "../control/event-hub.ts";
import { createLogger } from "../logging.ts";
import { NotificationSender } from "./notification.ts";

const MAC = "5a:94:ef:e4:0c:ee";

let folder: string;
let path: string;
let server: Server;
/** What each connection sent, in the order in which they came. */
let received: Promise<string>[];
let log: string[];
let sender: NotificationSender;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "hostd-notification-"));
  path = join(folder, "events.sock");
  received = [];
  server = createServer((socket: Socket) => received.push(text(socket)));
  await once(server.listen(path), "listening");
  log = [];
  const write = (line: string) => void log.push(JSON.parse(line).msg);
  sender = new NotificationSender(
    path,
    createLogger({ level: "debug", format: "json" }, { isTerminal: false, hasColors: false, write }),
  );
});

afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

/** The first `count` messages that have come. */
async function arrived(count: number): Promise<string[]> {
  while (received.length < count) await once(server, "connection");
  return await Promise.all(received);
}

describe("NotificationSender", () => {
  it("sends each message as a line of JSON over a connection of its own, one after the other", async () => {
    sender.send({ notification_type: "ready" });
    sender.send({ notification_type: "connection_established", mac_address: MAC });
    sender.send({ notification_type: "connection_closed", mac_address: MAC });
    sender.send({ notification_type: "hypervisor_error" });
    expect(await arrived(4)).toEqual([
      '{"notification_type":"ready"}\n',
      `{"notification_type":"connection_established","mac_address":"${MAC}"}\n`,
      `{"notification_type":"connection_closed","mac_address":"${MAC}"}\n`,
      '{"notification_type":"hypervisor_error"}\n',
    ]);
    expect(log).toEqual([]);
  });

  it("tells of a VM once its address is known, and of its end by the same MAC address", async () => {
    const events = new EventHub();
    sender.follow(events);
    events.emit("vm.attached", { vm: "one" });
    events.emit("vm.attached", { vm: "two" });
    events.emit("vm.address", { vm: "one", mac: MAC, address: "192.168.127.2" });
    events.emit("vm.address", { vm: "one", mac: MAC, address: "192.168.127.3" });
    events.emit("vm.detached", { vm: "two" });
    events.emit("vm.detached", { vm: "one", fault: "broken" });
    events.emit("vm.address", { vm: "one", mac: MAC, address: "192.168.127.2" });
    expect((await arrived(3)).map((line) => JSON.parse(line))).toEqual([
      { notification_type: "connection_established", mac_address: MAC },
      { notification_type: "connection_closed", mac_address: MAC },
      { notification_type: "connection_established", mac_address: MAC },
    ]);
  });

  it("drops what is too much, and says so", async () => {
    // One is under way, and 100 wait.
    for (let count = 0; count < 103; count++) sender.send({ notification_type: "ready" });
    const dropped = "a notification was dropped: too many wait";
    expect(log).toEqual([dropped, dropped]);
    expect(await arrived(101)).toHaveLength(101);
    await sender.close();
    sender.send({ notification_type: "hypervisor_error" });
    expect((await arrived(102)).at(-1)).toBe('{"notification_type":"hypervisor_error"}\n');
  });

  it("logs what nobody takes, and goes on", async () => {
    server.close();
    sender.send({ notification_type: "ready" });
    sender.send({ notification_type: "hypervisor_error" });
    await sender.close();
    expect(log).toEqual([
      `a notification could not be sent: connect ENOENT ${path}`,
      `a notification could not be sent: connect ENOENT ${path}`,
    ]);
    await once(server.listen(path), "listening");
    sender.send({ notification_type: "ready" });
    expect(await arrived(1)).toEqual(['{"notification_type":"ready"}\n']);
  });

  it("has nothing to wait for when nothing was sent", async () => {
    await sender.close();
    expect(received).toEqual([]);
  });
});
