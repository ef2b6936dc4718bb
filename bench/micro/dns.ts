import { parseIpv4 } from "../../packages/stack/src/address.ts";
import type { BenchmarkEntry } from "./benchmark-entry.ts";
import type { Checkout } from "./checkout.ts";
import type { Benchmark } from "./measure.ts";

const NAMES = ["host.docker.internal", "gateway.docker.internal", "vm.docker.internal", "host.containers.internal"];
const QUERIES = 64;
const ADDRESSES = { host: parseIpv4("192.168.65.254"), gateway: parseIpv4("192.168.65.1") };
const CONTEXT = { link: "vm", client: parseIpv4("192.168.65.3"), vmAddress: parseIpv4("192.168.65.3") };

/** A query of type A with an OPT record, as the resolver of a Linux guest sends it (RFC 1035, 4.1; RFC 6891, 6.1.2). */
function queryFor(name: string, id: number): Uint8Array {
  const labels = name.split(".").flatMap((label) => [label.length, ...new TextEncoder().encode(label)]);
  return Uint8Array.from([
    ...[id >>> 8, id & 255, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1],
    ...[...labels, 0, 0, 1, 0, 1],
    ...[0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0],
  ]);
}

function queries(): Uint8Array[] {
  return Array.from({ length: QUERIES }, (_, index) => queryFor(NAMES[index % NAMES.length], index));
}

function importDns(checkout: Checkout) {
  return checkout.import<typeof import("../../packages/dns/src/index.ts")>("packages/dns/src/index.ts", {
    DnsServer: ["handleDatagram"],
    Forwarder: [],
    Resolver: [],
    Zones: ["answer"],
    fixedServers: [],
    standardZones: [],
  });
}

async function loadZones(checkout: Checkout): Promise<Benchmark> {
  const { standardZones, Zones } = await importDns(checkout);
  const { readQuery } = await checkout.import<typeof import("../../packages/dns/src/message.ts")>(
    "packages/dns/src/message.ts",
    { readQuery: [] },
  );
  const zones = new Zones(standardZones(ADDRESSES));
  const messages = queries();
  return {
    operations: QUERIES,
    run() {
      let bytes = 0;
      for (const message of messages) {
        const reading = readQuery(message);
        const answer = reading.kind === "query" ? zones.answer(reading.query, CONTEXT) : null;
        if (answer?.kind !== "answer") throw new Error("a query for an own name has no answer");
        bytes += answer.message.length;
      }
      return bytes;
    },
  };
}

async function loadServer(checkout: Checkout): Promise<Benchmark> {
  const { DnsServer, fixedServers, Forwarder, Resolver, standardZones, Zones } = await importDns(checkout);
  const upstream = new Forwarder({ source: fixedServers([]) });
  const server = new DnsServer({ resolver: new Resolver({ zones: new Zones(standardZones(ADDRESSES)), upstream }) });
  const messages = queries();
  return {
    operations: QUERIES,
    run: () =>
      new Promise<number>((resolve) => {
        let missing = QUERIES;
        let bytes = 0;
        const reply = (answer: Uint8Array) => {
          bytes += answer.length;
          if (--missing === 0) resolve(bytes);
        };
        for (const message of messages) server.handleDatagram(message, CONTEXT, reply);
      }),
  };
}

export const dnsBenchmarks: readonly BenchmarkEntry[] = [
  { name: "DNS: read a query and answer it from a zone", load: loadZones },
  { name: "DNS: a query through the server", load: loadServer },
];
