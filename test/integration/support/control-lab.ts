/** A hostd whose control API is asked, with flows of each kind. */
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { EmbeddedGuest } from "@hostd/guest";
import type { FlowStream } from "@hostd/streams";
import { expect, vi } from "vitest";
import { flowListSchema } from "../../../apps/hostd/src/control/flow-report.ts";
import { leaseListSchema } from "../../../apps/hostd/src/control/lease-report.ts";
import type { FlowListReport, LeaseReport, StatsReport, VmReport } from "../../../apps/hostd/src/control/reports.ts";
import { statsReportSchema } from "../../../apps/hostd/src/control/stats-report.ts";
import { vmListSchema } from "../../../apps/hostd/src/control/vm-report.ts";
import { askDaemon } from "./control.ts";
import { parseExposition } from "./exposition.ts";
import { serveTcp, serveUdpEcho } from "./host-servers.ts";
import { GATEWAY, HOST, type Lab, type LabDaemon } from "./lab.ts";

/** The port of the VM to which the first of {@link FORWARDS} leads. */
export const PORT = 8080;

/** A hostd with a control API. */
export class Api {
  readonly lab: Lab;
  readonly daemon: LabDaemon;
  readonly #socket: string;

  private constructor(lab: Lab, daemon: LabDaemon, socket: string) {
    this.lab = lab;
    this.daemon = daemon;
    this.#socket = socket;
  }

  static async start(lab: Lab, settings: Parameters<Lab["start"]>[0] = {}): Promise<Api> {
    const socket = `${lab.folder}/api.sock`;
    return new Api(lab, await lab.start({ api: socket, ...settings }), socket);
  }

  /** The port that the system chose for a forward. */
  portOf(index = 0): number {
    return Number(this.daemon.forwards[index].split(":").at(-1));
  }

  async ask(method: string, path: string): Promise<{ status: number | undefined; json: unknown }> {
    const { status, json } = await askDaemon(this.#socket, method, path);
    return { status, json };
  }

  /** What an answer says, which has to be what its schema has, no more and no less. */
  async get<Report>(path: string, schema: { parse(value: unknown): unknown }): Promise<Report> {
    const { status, json } = await this.ask("GET", path);
    expect({ status, path, json }).toMatchObject({ status: 200 });
    expect(schema.parse(json)).toEqual(json);
    return json as Report;
  }

  vms = () => this.get<VmReport[]>("/v1/vms", vmListSchema);
  leases = () => this.get<LeaseReport[]>("/v1/leases", leaseListSchema);
  stats = () => this.get<StatsReport>("/v1/stats", statsReportSchema);
  flows = (query = "") => this.get<FlowListReport>(`/v1/flows${query}`, flowListSchema);

  /** The metrics of a scrape by name and labels, `hostd_vms` or `hostd_flows{protocol="tcp"}`. */
  async scrape(): Promise<Map<string, { readonly type: string; readonly value: number }>> {
    const { status, headers, body } = await askDaemon(this.#socket, "GET", "/metrics");
    expect({ status, type: headers["content-type"] }).toEqual({
      status: 200,
      type: "text/plain; version=0.0.4; charset=utf-8",
    });
    const values = new Map<string, { readonly type: string; readonly value: number }>();
    for (const [name, { type, samples }] of parseExposition(body)) {
      for (const [labels, value] of samples) values.set(name + labels, { type, value });
    }
    return values;
  }
}

/** Serves TCP on a port of the guest. */
export function serve(guest: EmbeddedGuest, port: number, connected: (stream: FlowStream) => void): void {
  guest.listen(port, (stream) => {
    stream.on("error", () => {});
    connected(stream);
  });
}

/** A connection that makes no noise when its guest goes. */
export async function connectQuietly(guest: EmbeddedGuest, address: string, port: number): Promise<FlowStream> {
  return (await guest.connect(address, port)).on("error", () => {});
}

/** Connects to a port of the host, without noise when that breaks off. */
export function client(lab: Lab, port: number): Socket {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }).on("error", () => {});
  lab.defer(() => socket.destroy());
  return socket;
}

/** A UDP socket of the host that is connected to a port of it. */
async function datagramClient(lab: Lab, port: number) {
  const socket = createSocket("udp4");
  lab.defer(() => socket.close());
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  socket.connect(port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

/** A port of the host on which nobody accepts, with a full queue: the kernel does not answer a SYN. */
export async function fullPort(lab: Lab): Promise<number> {
  const listening =
    "require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, " +
    "function () { console.log(this.address().port); })";
  const program = spawn(process.execPath, ["-e", listening], { stdio: ["ignore", "pipe", "inherit"] });
  lab.defer(() => program.kill("SIGKILL"));
  const [line] = (await once(program.stdout, "data")) as [Buffer];
  program.kill("SIGSTOP");
  const port = Number(line);
  // One more than the backlog fits; the others wait as the guest's will.
  const sockets = Array.from({ length: 4 }, () => client(lab, port));
  await Promise.all(sockets.slice(0, 2).map((socket) => once(socket, "connect")));
  return port;
}

/** What an answer is once it is something: a slow machine takes its time. */
export function until<Value>(look: () => Promise<Value>) {
  return vi.waitUntil(look, { timeout: 30_000, interval: 20 });
}

/** The code of the error that a socket ends with. */
export async function failure(socket: Socket | FlowStream): Promise<string | undefined> {
  const [error] = (await once(socket.resume(), "error")) as [NodeJS.ErrnoException];
  return error.code;
}

/** Ports of the host, of the system's choice, one of TCP and one of UDP. */
export const FORWARDS = [
  { listen: "127.0.0.1:0", to: PORT },
  { listen: "127.0.0.1:0", to: 5353, protocol: "udp" as const },
];

/** One flow of each kind that can be had without leaving the machine, and what each is about. */
export async function openFlows(api: Api) {
  const { lab } = api;
  const guest = await lab.boot();
  const host = await serveTcp(lab, (socket) => socket.pipe(socket));
  const out = await connectQuietly(guest, HOST, host.port);
  out.write("out of the guest");
  await once(out, "data");
  const own = await connectQuietly(guest, GATEWAY, 53);
  const streams: FlowStream[] = [];
  serve(guest, PORT, (stream) => {
    streams.push(stream);
    stream.write("welcome");
  });
  const inward = client(lab, api.portOf());
  await once(inward, "data");
  const mapping = guest.udp();
  const echoPort = await serveUdpEcho(lab);
  mapping.send(HOST, echoPort, Buffer.from("datagram"));
  await mapping.receive();
  const served = guest.udp(5353);
  const datagrams = await datagramClient(lab, api.portOf(1));
  datagrams.send("to the guest");
  const asked = await served.receive();
  served.send(asked.address, asked.port, Buffer.from("back"));
  await once(datagrams, "message");
  return { guest, host, out, own, inward, streams, mapping, echoPort, served, datagrams, asked };
}
