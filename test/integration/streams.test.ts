import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { attachQemu, StackDriver } from "@hostd/frontends";
import { dialPort, type EmbeddedGuest } from "@hostd/guest";
import { DhcpServer, LeaseTable, parseIpv4 } from "@hostd/stack";
import { FlowStream } from "@hostd/streams";
import { describe, expect, it } from "vitest";
import { GATEWAY, inLab, type Lab } from "./support/lab.ts";

const SUBNET = { address: parseIpv4("192.168.65.0"), prefixLength: 24 };
const gateway = parseIpv4(GATEWAY);

/** A guest on a Unix socket whose other end is a stack with nothing but DHCP and a listener on port 80. */
async function bootAt(lab: Lab, serve: (stream: FlowStream) => void): Promise<EmbeddedGuest> {
  const leases = new LeaseTable();
  const dhcp = new DhcpServer({
    serverAddress: gateway,
    subnet: SUBNET,
    router: gateway,
    dnsServers: [],
    searchDomains: [],
    mtu: 1500,
    leaseTimeSeconds: 3600,
    firstAddress: gateway + 2,
    lastAddress: gateway + 20,
    reserved: [gateway],
    reservations: new Map(),
    leases,
    clock: Date.now,
  });
  const attachment = await attachQemu(
    { transport: "unix", path: join(lab.folder, "stack.sock"), mode: "listen" },
    {
      attached: (port) => {
        const driver = new StackDriver({
          port,
          stack: {
            mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
            addresses: [gateway],
            network: SUBNET,
            mtu: 1500,
            handlers: {
              tcpRequest: (incoming) => incoming.reject("refused"),
              udpDatagram: () => {},
              echoRequest: () => {},
            },
          },
        });
        const { stack } = driver;
        stack.udpListen(0, 67, ({ bytes, offset, length, source, destination }) => {
          const reply = dhcp.handle(bytes, offset, length, { source, destination, sourceMac: stack.frameSource });
          if (reply === null) return;
          const mac = reply.destinationMac ?? new Uint8Array(6).fill(0xff);
          stack.udpSendToMac(mac, gateway, 67, reply.destination, reply.destinationPort, reply.message);
        });
        stack.tcpListen(gateway, 80, (incoming) => {
          const stream = FlowStream.accept(incoming);
          if (stream !== null) serve(stream);
        });
        lab.defer(() => driver.close());
      },
      fault: (message) => {
        throw new Error(message);
      },
    },
  );
  lab.defer(() => attachment.close());
  return await lab.boot(1, { port: await dialPort({ ...attachment.endpoint, mode: "dial" }) });
}

describe("streams between two stacks that a socket joins", () => {
  it("carry a large transfer unchanged both ways at once", () =>
    inLab(async (lab) => {
      const guest = await bootAt(lab, (stream) => void pipeline(stream, stream));
      const data = randomBytes(30_000_000);
      const stream = await guest.connect(GATEWAY, 80);
      const sum = createHash("sha256");
      stream.end(data);
      for await (const chunk of stream) sum.update(chunk);
      expect(sum.digest("hex")).toBe(createHash("sha256").update(data).digest("hex"));
    }));

  it("hold the writer back for as long as the reader does not read", () =>
    inLab(async (lab) => {
      const accepted = Promise.withResolvers<FlowStream>();
      const guest = await bootAt(lab, accepted.resolve);
      const writer = await guest.connect(GATEWAY, 80);
      const reader = await accepted.promise;
      reader.end();
      writer.resume();
      const block = randomBytes(100_000);
      let written = 0;
      const sending = (async () => {
        for (; written < 300; written++) if (!writer.write(block)) await once(writer, "drain");
        writer.end();
      })();
      for (let before = -1; before < written; ) {
        before = written;
        for (let count = 0; count < 20; count++) await guest.ping(GATEWAY);
      }
      expect(written).toBeLessThan(60);
      const sum = createHash("sha256");
      for await (const chunk of reader) sum.update(chunk);
      await sending;
      const expected = createHash("sha256");
      for (let count = 0; count < 300; count++) expected.update(block);
      expect(sum.digest("hex")).toBe(expected.digest("hex"));
    }));

  it("serve node:http on both ends, many requests at once", () =>
    inLab(async (lab) => {
      const server = createServer((incoming, response) => {
        void text(incoming).then((body) => response.end(`${incoming.url} ${body}`));
      });
      const guest = await bootAt(lab, (stream) => void server.emit("connection", stream));
      const ask = async (number: number) => {
        const stream = await guest.connect(GATEWAY, 80);
        const outgoing = request({ method: "POST", path: `/${number}`, createConnection: () => stream });
        outgoing.end("x".repeat(number * 1000));
        const [response] = (await once(outgoing, "response")) as [IncomingMessage];
        return await text(response);
      };
      const answers = await Promise.all(Array.from({ length: 100 }, (_, number) => ask(number)));
      expect(answers).toEqual(answers.map((_, number) => `/${number} ${"x".repeat(number * 1000)}`));
      server.closeAllConnections();
    }));
});
