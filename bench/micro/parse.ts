import type { BenchmarkEntry } from "./benchmark-entry.ts";
import type { Checkout } from "./checkout.ts";
import type { Benchmark } from "./measure.ts";
import { type FrameBatch, StackPair } from "./stack-pair.ts";

const FRAMES = 64;

/** Reads every frame of a batch: the checks and the fields as a stack does for a segment of a connection. */
async function load(checkout: Checkout, batch: FrameBatch): Promise<Benchmark> {
  const ethernet = await checkout.import<typeof import("../../packages/stack/src/wire/ethernet.ts")>(
    "packages/stack/src/wire/ethernet.ts",
    {
      isGroupMac: [],
      isWholeEthernetHeader: [],
      readDestinationHigh: [],
      readDestinationLow: [],
      readEtherType: [],
      readSourceHigh: [],
      readSourceLow: [],
    },
  );
  const ipv4 = await checkout.import<typeof import("../../packages/stack/src/wire/ipv4.ts")>(
    "packages/stack/src/wire/ipv4.ts",
    {
      checkIpv4Header: [],
      isFragment: [],
      readDestination: [],
      readDontFragment: [],
      readHeaderLength: [],
      readProtocol: [],
      readSource: [],
      readTotalLength: [],
      readTtl: [],
    },
  );
  const tcp = await checkout.import<typeof import("../../packages/stack/src/wire/tcp.ts")>(
    "packages/stack/src/wire/tcp.ts",
    {
      checkTcpSegment: [],
      readAcknowledgment: [],
      readFlags: [],
      readSequenceNumber: [],
      readTcpHeaderLength: [],
      readTcpPorts: [],
      readWindow: [],
    },
  );
  const { TcpOptions } = await checkout.import<typeof import("../../packages/stack/src/wire/tcp-options.ts")>(
    "packages/stack/src/wire/tcp-options.ts",
    { TcpOptions: ["read"] },
  );
  const options = new TcpOptions();
  const parse = (view: DataView, frame: number, length: number): number => {
    if (!ethernet.isWholeEthernetHeader(length)) return -1;
    let all = ethernet.readDestinationHigh(view, frame) ^ ethernet.readDestinationLow(view, frame);
    const sourceHigh = ethernet.readSourceHigh(view, frame);
    if (ethernet.isGroupMac(sourceHigh)) return -1;
    all ^= sourceHigh ^ ethernet.readSourceLow(view, frame);
    if (ethernet.readEtherType(view, frame) !== ethernet.ETHERTYPE_IPV4) return -1;
    const packet = frame + ethernet.ETHERNET_HEADER_LENGTH;
    if (ipv4.checkIpv4Header(view, packet, length - ethernet.ETHERNET_HEADER_LENGTH) !== null) return -1;
    if (ipv4.isFragment(view, packet) || ipv4.readTtl(view, packet) <= 1) return -1;
    if (!ipv4.readDontFragment(view, packet) || ipv4.readProtocol(view, packet) !== ipv4.PROTOCOL_TCP) return -1;
    const source = ipv4.readSource(view, packet);
    const destination = ipv4.readDestination(view, packet);
    const segment = packet + ipv4.readHeaderLength(view, packet);
    const segmentLength = packet + ipv4.readTotalLength(view, packet) - segment;
    if (tcp.checkTcpSegment(view, segment, segmentLength, source, destination) !== null) return -1;
    options.read(view, segment);
    all ^= source ^ destination ^ tcp.readTcpPorts(view, segment) ^ tcp.readSequenceNumber(view, segment);
    all ^= tcp.readAcknowledgment(view, segment) ^ tcp.readFlags(view, segment) ^ tcp.readWindow(view, segment);
    all ^= tcp.readTcpHeaderLength(view, segment) ^ options.timestampValue ^ options.timestampEcho;
    return all & 0x7fff_ffff;
  };
  const { count, lengths, offsets, view } = batch;
  return {
    operations: count,
    run() {
      let all = 0;
      for (let index = 0; index < count; index++) {
        const fields = parse(view, offsets[index], lengths[index]);
        if (fields < 0) throw new Error("a frame that a stack sent was found malformed");
        all ^= fields;
      }
      return all;
    },
  };
}

export const parseBenchmarks: readonly BenchmarkEntry[] = [
  {
    name: "parse: an ACK, a frame of 66 bytes",
    load: async (checkout) => {
      const pair = await StackPair.create(checkout, { mtu: 1500, guestFrames: FRAMES, hostFrames: 2 * FRAMES });
      pair.acknowledgmentsFromGuest();
      return load(checkout, pair.fromGuest);
    },
  },
  {
    name: "parse: data, a frame of 1514 bytes",
    load: async (checkout) => {
      const pair = await StackPair.create(checkout, { mtu: 1500, guestFrames: FRAMES, hostFrames: FRAMES });
      pair.batchFromGuest();
      return load(checkout, pair.fromGuest);
    },
  },
];
