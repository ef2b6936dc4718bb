import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import * as z from "zod";
import type { SettingsInput } from "../config/schema.ts";
import { forwardReportSchema } from "../forwards/forward-report.ts";
import { openBook, type TestBook } from "../testing/forward-book.ts";
import { type ServedRoutes, serveRoutes } from "../testing/served-routes.ts";
import { forwardRoutes } from "./forward-routes.ts";

const PATH = "/v1/forwards";

async function play(settings: SettingsInput = {}): Promise<TestBook & ServedRoutes> {
  const opened = await openBook(settings);
  const { book, forwarder, config } = opened;
  const served = await serveRoutes(forwardRoutes({ forwards: book, forwarder, config: () => config }));
  return { ...opened, ...served };
}

const detailOf = ({ body }: { body: unknown }) => (body as { detail: string }).detail;
const reports = z.array(forwardReportSchema);

describe("forwards over the control API", () => {
  it("are opened, listed with what became of them, and removed", async () => {
    const { askJson } = await play();
    expect((await askJson(PATH)).body).toEqual([]);
    const added = await askJson(PATH, "POST", { listen: 0, to: 80 });
    expect(added.status).toBe(200);
    const [report] = reports.parse(added.body);
    expect(report).toMatchObject({ protocol: "tcp", to: "80", origin: "api", persist: false, state: "listening" });
    expect(report.id).toBe(`tcp/${report.listen}`);

    const port = Number(report.listen.split(":")[1]);
    await new Promise((resolve) => connect(port, "127.0.0.1").on("error", resolve));
    const [listed] = reports.parse((await askJson(PATH)).body);
    expect(listed).toMatchObject({ id: report.id, statistics: { droppedNoVm: 1 } });

    expect(await askJson(`${PATH}?id=${report.id}`, "DELETE")).toEqual({ status: 200, body: { removed: report.id } });
    expect((await askJson(PATH)).body).toEqual([]);
    const again = await askJson(`${PATH}?id=${report.id}`, "DELETE");
    expect(again.status).toBe(404);
    expect(detailOf(again)).toBe(`there is no forward ${report.id}; there is none`);
  });

  it("are opened as a range, or not at all", async () => {
    const { askJson, book } = await play();
    // Ports that are free: the second of two neighbours that the system gave a while ago may be taken, so try some.
    let opened = { status: 0 as number | undefined, body: null as unknown };
    for (let first = 42_000; opened.status !== 200 && first < 42_100; first += 3) {
      opened = await askJson(PATH, "POST", { listen: `${first}-${first + 2}`, to: "80-82", persist: true });
    }
    expect(reports.parse(opened.body).map(({ to, persist }) => ({ to, persist }))).toEqual(
      ["80", "81", "82"].map((to) => ({ to, persist: true })),
    );
    const [{ listen }] = reports.parse(opened.body);
    const first = Number(listen.split(":")[1]);
    const failed = await askJson(PATH, "POST", { listen: `${first - 1}-${first}`, to: "1-2" });
    expect(failed.status).toBe(409);
    expect(detailOf(failed)).toContain(`: bind: address already in use`);
    expect(book.list()).toHaveLength(3);
  });

  it.each([
    [undefined, 400, /^a forward is an object such as/],
    [[], 400, /^a forward is an object such as/],
    [{ listen: 8080 }, 400, /^forward\.to: missing; it must be a port of the VM/],
    [{ listen: "x", to: 80 }, 400, /^forward\.listen: "x" is not a port of this host/],
    [{ listen: 1, to: 80, persist: "yes" }, 400, /^a forward is an object such as/],
    [{ listen: 1, to: 80, colour: "red" }, 400, /^forward\.colour: unknown key/],
    [{ listen: "/run/x.sock", to: "ssh://core@vm/run/y" }, 400, /^forward\.identity: missing/],
    [{ listen: 0, to: "192.168.65.1:80" }, 400, /^forward\.to: 192\.168\.65\.1 is the address of the gateway/],
    [{ listen: "0.0.0.0:0", to: 80 }, 403, /^listening on 0\.0\.0\.0:0 is not allowed; allowed: 127\.0\.0\.1$/],
    [{ listen: "192.0.2.1:0", to: 80 }, 403, /not allowed/],
  ])("are refused as %j, and nothing listens", async (body, status, reason) => {
    const { askJson, book } = await play({ publish: { allow: ["127.0.0.1"], waitSeconds: 0 } });
    const reply = await askJson(PATH, "POST", body);
    expect(reply.status).toBe(status);
    expect(detailOf(reply)).toMatch(reason);
    expect(book.list()).toEqual([]);
  });

  it("listen by default where the configuration says", async () => {
    const { askJson } = await play({ publish: { address: "[::1]".slice(1, -1), waitSeconds: 0 } });
    const [{ listen }] = reports.parse((await askJson(PATH, "POST", { listen: 0, to: 80 })).body);
    expect(listen).toMatch(/^\[::1\]:\d+$/);
  });

  it("says what becomes of connections when one is removed", async () => {
    const { askJson } = await play();
    const reply = await askJson(`${PATH}?id=x&connections=drop`, "DELETE");
    expect(reply.status).toBe(400);
    expect(detailOf(reply)).toBe('connections is "drop"; allowed: keep, reset');
  });
});
