/** Frames of many kinds, and filters that choose some of them. Both are made of the same few values, so that they meet. */

export type Random = () => number;

const MACS = ["02:00:00:00:01:01", "02:00:00:00:01:02", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "01:00:5e:00:00:fb"];
const IPV4 = ["192.168.65.1", "192.168.65.3", "192.168.64.9", "10.1.2.3", "224.0.0.251", "255.255.255.255"];
const IPV6 = ["fe80::1", "fe80::1:2", "2001:db8::5:1", "ff02::1", "::1", "::ffff:10.1.2.3"];
const IPV4_NETWORKS = [
  "192.168.65.0/24",
  "192.168.64.0/23",
  "10.0.0.0/8",
  "10",
  "192.168",
  "192.168.65",
  "224.0.0.251/32",
];
const IPV6_NETWORKS = ["fe80::/10", "2001:db8::/32", "2001:db8::5:0/112", "ff00::/8", "::1/128", "::/0"];
const PORTS = [0, 53, 80, 443, 8000, 8080, 65_535];
const ETHER_TYPES = [
  0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x0806, 0x8035, 0x88cc, 0x0600, 0x05dc, 0x0000, 0x8100, 0x88a8,
];
const IP_PROTOCOLS = [6, 6, 6, 17, 17, 132, 1, 2, 44, 47, 58, 0, 43];

export function pick<T>(random: Random, values: readonly T[]): T {
  return values[Math.floor(random() * values.length)];
}

const below = (random: Random, limit: number) => Math.floor(random() * limit);

function macBytes(text: string): number[] {
  return text.split(":").map((part) => Number.parseInt(part, 16));
}

function ipv4Bytes(text: string): number[] {
  return text.split(".").map(Number);
}

function ipv6Bytes(text: string): number[] {
  const mapped = /^::ffff:([\d.]+)$/.exec(text);
  if (mapped !== null) return [...Array(10).fill(0), 0xff, 0xff, ...ipv4Bytes(mapped[1])];
  const [head, tail] = text.split("::").map((part) => (part === "" ? [] : part.split(":")));
  const groups = [...head, ...Array(8 - head.length - tail.length).fill("0"), ...tail];
  return groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]);
}

const short = (value: number) => [value >> 8, value & 0xff];

/** A frame that may be anything; `cut` ends it anywhere. */
export function randomFrame(random: Random, cut: boolean): Uint8Array {
  let type = pick(random, ETHER_TYPES);
  const head = [...macBytes(pick(random, MACS)), ...macBytes(pick(random, MACS))];
  if (type === 0x8100 || type === 0x88a8) {
    head.push(...short(type), ...short(below(random, 4096)));
    type = pick(random, ETHER_TYPES);
  }
  head.push(...short(type));
  const body =
    type === 0x0800
      ? ipv4Packet(random)
      : type === 0x86dd
        ? ipv6Packet(random)
        : type === 0x0806 || type === 0x8035
          ? arpPacket(random)
          : [];
  const payload = Array.from({ length: 40 + below(random, random() < 0.2 ? 1400 : 30) }, () => below(random, 256));
  const frame = Uint8Array.from([...head, ...body, ...payload]);
  return cut ? frame.subarray(0, below(random, Math.min(frame.length, 120))) : frame;
}

function transport(random: Random): number[] {
  return [...short(pick(random, PORTS)), ...short(pick(random, PORTS))];
}

function ipv4Packet(random: Random): number[] {
  // Now and then a header of a length that cannot be.
  const words = pick(random, [5, 5, 5, 5, 6, 15, below(random, 16)]);
  const fragment = pick(random, [0, 0, 0, 0x4000, 0x2000, 0x2001, 0x00b9, 0x8000]);
  return [
    ...[0x40 | words, 0, ...short(60), ...short(below(random, 65_536)), ...short(fragment), 64],
    ...[pick(random, IP_PROTOCOLS), 0, 0, ...ipv4Bytes(pick(random, IPV4)), ...ipv4Bytes(pick(random, IPV4))],
    // Options that look like ports, so that reading at a fixed place is noticed.
    ...Array.from({ length: Math.max(0, words - 5) }, () => transport(random)).flat(),
    ...transport(random),
  ];
}

function ipv6Packet(random: Random): number[] {
  const next = pick(random, IP_PROTOCOLS);
  const fragmentHeader = [pick(random, IP_PROTOCOLS), 0, ...short(pick(random, [0, 1, 0x100])), 0, 0, 0, 1];
  return [
    ...[0x60, 0, 0, 0, ...short(40), next, 64, ...ipv6Bytes(pick(random, IPV6)), ...ipv6Bytes(pick(random, IPV6))],
    ...(next === 44 ? fragmentHeader : []),
    ...transport(random),
  ];
}

function arpPacket(random: Random): number[] {
  const station = () => [...macBytes(pick(random, MACS)), ...ipv4Bytes(pick(random, IPV4))];
  return [0, 1, 8, 0, 6, 4, 0, 1 + below(random, 2), ...station(), ...station()];
}

const DIRECTIONS = ["", "", "src ", "dst ", "src or dst ", "dst or src ", "src and dst ", "dst and src "];
const ALONE = ["tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "ip", "ip6", "arp", "rarp", "broadcast", "multicast"];
const GROUPS = ["ether broadcast", "ether multicast", "ip multicast", "ip6 multicast"];

/** Qualifiers, and what makes values for them. */
function randomHead(random: Random): [string, () => string] {
  const direction = pick(random, DIRECTIONS);
  const portProtocol = pick(random, ["", "", "tcp ", "udp ", "sctp "]);
  const carrier = pick(random, ["", "", "ip ", "arp ", "rarp "]);
  const heads: (() => [string, () => string])[] = [
    () => [`${carrier}${direction}host`, () => pick(random, IPV4)],
    () => [`${carrier}${direction}net`, () => pick(random, IPV4_NETWORKS)],
    () => [`${pick(random, ["", "ip6 "])}${direction}host`, () => pick(random, IPV6)],
    () => [`${pick(random, ["", "ip6 "])}${direction}net`, () => pick(random, IPV6_NETWORKS)],
    () => [`ether ${direction}host`, () => pick(random, MACS)],
    () => [`${portProtocol}${direction}port`, () => String(pick(random, PORTS))],
    () => [`${portProtocol}${direction}portrange`, () => `${pick(random, PORTS)}-${pick(random, PORTS)}`],
  ];
  if (direction !== "") {
    heads.push(() => [`${carrier}${direction}`.trimEnd(), () => pick(random, IPV4)]);
    heads.push(() => [`ether ${direction}`.trimEnd(), () => pick(random, MACS)]);
  }
  return pick(random, heads)();
}

function randomTerm(random: Random, depth: number): string {
  const kind = random();
  const conjunction = () => pick(random, [" and ", " or ", " && ", " || ", "&&", "||"]);
  if (depth > 0 && kind < 0.15) return `(${randomList(random, depth - 1)})`;
  if (depth > 0 && kind < 0.25) return pick(random, ["not ", "!", "! "]) + randomTerm(random, depth - 1);
  if (kind < 0.4) return pick(random, ALONE);
  if (kind < 0.45) return pick(random, GROUPS);
  if (kind < 0.5) return `${pick(random, ["less", "greater"])} ${pick(random, [0, 20, 60, 64, 90, 100, 1000])}`;
  const [head, value] = randomHead(random);
  const shape = random();
  if (shape < 0.65) return `${head} ${value()}`;
  if (shape < 0.75) return `${head} not ${value()}`;
  // The short forms: values that take the qualifiers of the one before.
  if (shape < 0.9) return `${head} ${value()}${conjunction()}${pick(random, ["", "not "])}${value()}`;
  return `${head} (${value()}${conjunction()}${value()})`;
}

function randomList(random: Random, depth: number): string {
  let list = randomTerm(random, depth);
  while (random() < 0.4) list += pick(random, [" and ", " or ", " && ", " || "]) + randomTerm(random, depth);
  return list;
}

/** A filter that tcpdump understands. */
export function randomFilter(random: Random): string {
  return randomList(random, 3);
}
