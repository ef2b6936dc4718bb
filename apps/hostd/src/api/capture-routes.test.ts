import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { buffer } from "node:stream/consumers";
import { beforeEach, describe, expect, it } from "vitest";
import * as z from "zod";
import { readPcap } from "../../../../packages/frontends/src/testing/read-pcap.ts";
import { MAX_WAITING_BYTES } from "../capture/live-capture.ts";
import { CaptureHub, type TappedLink } from "../control/capture-hub.ts";
import { type ServedRoutes, serveRoutes } from "../testing/served-routes.ts";
import { captureReportSchema, captureRoutes } from "./capture-routes.ts";

let hub: CaptureHub;
let link: TappedLink;
let served: ServedRoutes;
let log: string[];

beforeEach(async () => {
  hub = new CaptureHub(undefined);
  link = { tap: undefined };
  hub.attach("unix:///vm.sock", link);
  log = [];
  const write = (level: string) => (fields: object, text: string) => {
    log.push(`${level}: ${text} ${JSON.stringify(fields)}`);
  };
  served = await serveRoutes(
    captureRoutes({
      captures: hub,
      logger: { info: write("info"), warn: write("warn") } as never,
      vms: () => [{ name: "unix:///vm.sock" }],
    }),
  );
});

async function open(target: string, method = "GET"): Promise<IncomingMessage> {
  const outgoing = request({ socketPath: served.path, path: target, method, agent: false }).end();
  const [response] = (await once(outgoing, "response")) as [IncomingMessage];
  return response;
}

function see(...lengths: readonly number[]): void {
  for (const length of lengths) link.tap?.frame(new Uint8Array(length), 0, length);
  link.tap?.flush();
}

async function waitUntil(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

const listSchema = z.array(captureReportSchema);

describe("/v1/capture", () => {
  it("sends the head at once and packets as they come, until the client asks for its end", async () => {
    const response = await open("/v1/capture");
    expect(response.statusCode).toBe(200);
    expect(response.headers["content-type"]).toBe("application/vnd.tcpdump.pcap");
    const id = response.headers["hostd-capture"];
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    const lengths = () => readPcap(Buffer.concat(chunks)).map(({ length }) => length);
    await waitUntil(() => chunks.length > 0);
    expect(lengths()).toEqual([]);
    see(60, 61);
    await waitUntil(() => chunks.length > 1);
    expect(lengths()).toEqual([60, 61]);
    const [listed] = listSchema.parse(JSON.parse((await served.ask("/v1/captures")).body));
    expect(listed).toMatchObject({ id: Number(id), vm: null, filter: "", snaplen: 262_144, packets: 2, dropped: 0 });

    link.tap?.frame(new Uint8Array(62), 0, 62);
    const ended = captureReportSchema.parse(JSON.parse((await served.ask(`/v1/captures?id=${id}`, "DELETE")).body));
    expect(ended).toMatchObject({ id: Number(id), packets: 3, dropped: 0 });
    await waitUntil(() => response.complete);
    expect(lengths()).toEqual([60, 61, 62]);
    expect(JSON.parse((await served.ask("/v1/captures")).body)).toEqual([]);
    const fields = `{"capture":${id},"filter":""}`;
    expect(log).toEqual([
      `info: a capture has begun ${fields}`,
      `info: a capture has ended: 3 packets captured, 0 packets dropped ${fields}`,
    ]);
  });

  it("takes a VM, a filter and a length", async () => {
    const query = new URLSearchParams({ vm: "unix:///vm.sock", filter: "less 100", snaplen: "64" });
    const response = await open(`/v1/capture?${query}`);
    const [listed] = listSchema.parse(JSON.parse((await served.ask("/v1/captures")).body));
    expect(listed).toMatchObject({ vm: "unix:///vm.sock", filter: "less 100", snaplen: 64 });
    see(60, 200, 100);
    await served.ask(`/v1/captures?id=${listed.id}`, "DELETE");
    const records = readPcap(await buffer(response));
    expect(records.map(({ length, data }) => [length, data.length])).toEqual([
      [60, 60],
      [100, 64],
    ]);
  });

  it("ends when the client goes, and costs nothing from then on", async () => {
    const response = await open("/v1/capture");
    expect(link.tap).toBeDefined();
    response.destroy();
    await waitUntil(() => link.tap === undefined);
    expect(hub.list()).toEqual([]);
    await waitUntil(() => log.length === 2);
  });

  it("drops packets for a client that does not read, and tells how many", async () => {
    const response = await open("/v1/capture");
    response.pause();
    const [capture] = hub.list();
    while (capture.dropped === 0) {
      see(...Array(50).fill(1500));
      await new Promise((resolve) => setImmediate(resolve));
      expect(capture.waiting).toBeLessThanOrEqual(MAX_WAITING_BYTES);
    }
    const { packets, dropped } = capture;
    const report = JSON.parse((await served.ask(`/v1/captures?id=${capture.id}`, "DELETE")).body);
    expect(report).toMatchObject({ packets, dropped });
    // What was kept still comes, whole.
    expect(readPcap(await buffer(response))).toHaveLength(packets);
    await waitUntil(() => log.length === 2);
    expect(log[1]).toContain(`warn: a capture has ended: ${packets} packets captured, ${dropped} packets dropped`);
  });

  it("answers HEAD without capturing", async () => {
    const response = await open("/v1/capture", "HEAD");
    expect(response.statusCode).toBe(200);
    expect(await buffer(response)).toHaveLength(0);
    expect(hub.list()).toEqual([]);
  });

  it.each([
    ["/v1/capture?filter=tcp+prot+80", 400, 'the filter "tcp prot 80", at character 5: "prot" is not understood'],
    ["/v1/capture?snaplen=0", 400, 'snaplen is "0"; allowed: a number of bytes from 1 to 262144'],
    ["/v1/capture?snaplen=262145", 400, 'snaplen is "262145"; allowed'],
    ["/v1/capture?snaplen=1e3", 400, 'snaplen is "1e3"; allowed'],
    ["/v1/capture?vm=two", 404, "no VM two is attached; there are unix:///vm.sock"],
  ])("refuses %s", async (target, status, detail) => {
    const reply = await served.ask(target);
    expect(reply.status).toBe(status);
    expect(JSON.parse(reply.body).detail).toContain(detail);
    expect(hub.list()).toEqual([]);
  });

  it("says which captures there are when asked to end another", async () => {
    const none = await served.ask("/v1/captures?id=7", "DELETE");
    expect([none.status, JSON.parse(none.body).detail]).toEqual([404, "there is no capture 7; there is none"]);
    const response = await open("/v1/capture");
    const other = await served.ask("/v1/captures?id=7", "DELETE");
    expect(JSON.parse(other.body).detail).toBe(`there is no capture 7; there are ${response.headers["hostd-capture"]}`);
    response.destroy();
  });
});
