/**
 * What a filter is made of: tests of one frame, which are combined to others. A test that needs bytes behind the end of the
 * frame fails the whole filter, whatever is around it, `not` included: so it is in the machine that tcpdump's filters run
 * on (bpf(4)), and the filters choose the same frames.
 */

/** The test does not hold. */
export const NO = 0;
/** The test holds. */
export const YES = 1;
/** The test needs bytes that the frame does not have. */
export const OUTSIDE = -1;

export type Outcome = typeof NO | typeof YES | typeof OUTSIDE;

/** A test of the frame of `length` bytes at `offset`. It allocates nothing. */
export type Test = (bytes: Uint8Array, offset: number, length: number) => Outcome;

/** Which end of a packet has to fit. */
export type Direction = "src" | "dst" | "either" | "both";

const ETHERNET_HEADER = 14;
const TYPE_AT = 12;

export const ETHER_TYPES = { ip: 0x0800, arp: 0x0806, rarp: 0x8035, ip6: 0x86dd } as const;

/** Protocols over IP, by the number that IANA gave them. */
export const IP_PROTOCOLS = { icmp: 1, igmp: 2, tcp: 6, udp: 17, icmp6: 58, sctp: 132 } as const;

/** Those with ports. */
export const PORT_PROTOCOLS = ["tcp", "udp", "sctp"] as const;

/** The fragment header of IPv6 (RFC 8200, section 4.5). */
const IPV6_FRAGMENT = 44;

// Offsets in an IPv4 packet (RFC 791), an IPv6 packet (RFC 8200) and an ARP packet (RFC 826), from the start of the frame.
const IPV4_FRAGMENT_AT = ETHERNET_HEADER + 6;
const IPV4_PROTOCOL_AT = ETHERNET_HEADER + 9;
const IPV4_ADDRESSES = { src: ETHERNET_HEADER + 12, dst: ETHERNET_HEADER + 16 };
const IPV6_NEXT_HEADER_AT = ETHERNET_HEADER + 6;
const IPV6_ADDRESSES = { src: ETHERNET_HEADER + 8, dst: ETHERNET_HEADER + 24 };
const IPV6_PAYLOAD_AT = ETHERNET_HEADER + 40;
const ARP_ADDRESSES = { src: ETHERNET_HEADER + 14, dst: ETHERNET_HEADER + 24 };
const MAC_ADDRESSES = { src: 6, dst: 0 };
const PORTS = { src: 0, dst: 2 };

export function and(left: Test, right: Test): Test {
  return (bytes, offset, length) => {
    const outcome = left(bytes, offset, length);
    return outcome === YES ? right(bytes, offset, length) : outcome;
  };
}

export function or(left: Test, right: Test): Test {
  return (bytes, offset, length) => {
    const outcome = left(bytes, offset, length);
    return outcome === NO ? right(bytes, offset, length) : outcome;
  };
}

export function not(test: Test): Test {
  return (bytes, offset, length) => {
    const outcome = test(bytes, offset, length);
    return outcome === OUTSIDE ? OUTSIDE : outcome === YES ? NO : YES;
  };
}

export const every: Test = () => YES;

/** The frame has at most `limit` bytes. */
export function atMost(limit: number): Test {
  return (_, __, length) => (length <= limit ? YES : NO);
}

/** The frame has at least `limit` bytes. */
export function atLeast(limit: number): Test {
  return (_, __, length) => (length >= limit ? YES : NO);
}

export function etherType(type: number): Test {
  return shortAt(TYPE_AT, type, type);
}

/** A packet of a protocol over IPv4. */
export function ipv4Protocol(protocol: number): Test {
  return and(etherType(ETHER_TYPES.ip), byteAt(IPV4_PROTOCOL_AT, protocol));
}

/** A packet of a protocol over IPv6, which follows the first header, or that of fragments. */
export function ipv6Protocol(protocol: number): Test {
  const inFragment = and(byteAt(IPV6_NEXT_HEADER_AT, IPV6_FRAGMENT), byteAt(IPV6_PAYLOAD_AT, protocol));
  return and(etherType(ETHER_TYPES.ip6), or(inFragment, byteAt(IPV6_NEXT_HEADER_AT, protocol)));
}

export function macAddress(direction: Direction, address: Uint8Array): Test {
  return inDirection(direction, MAC_ADDRESSES, (at) => bytesAt(at, address));
}

/** The bit of group addresses, broadcast included (IEEE 802.3). */
export const multicast: Test = (bytes, offset, length) => {
  return length < 1 ? OUTSIDE : (bytes[offset] & 1) !== 0 ? YES : NO;
};

/** A packet to a multicast address of IPv4, 224.0.0.0 and above (RFC 1112), which has broadcast in it. */
export const ipv4Multicast = and(etherType(ETHER_TYPES.ip), byteFrom(IPV4_ADDRESSES.dst, 224));

/** A packet to a multicast address of IPv6 (RFC 4291, section 2.7). */
export const ipv6Multicast = and(etherType(ETHER_TYPES.ip6), byteAt(IPV6_ADDRESSES.dst, 0xff));

/** A packet from or to an address of a network, in one of the protocols that have IPv4 addresses. */
export function ipv4Network(
  protocol: "ip" | "arp" | "rarp",
  direction: Direction,
  address: number,
  mask: number,
): Test {
  const offsets = protocol === "ip" ? IPV4_ADDRESSES : ARP_ADDRESSES;
  return and(
    etherType(ETHER_TYPES[protocol]),
    inDirection(direction, offsets, (at) => wordAt(at, address, mask)),
  );
}

/** The same for IPv6; address and mask are four words of 32 bits. */
export function ipv6Network(direction: Direction, address: readonly number[], mask: readonly number[]): Test {
  return and(
    etherType(ETHER_TYPES.ip6),
    inDirection(direction, IPV6_ADDRESSES, (at) => {
      return address.map((word, index) => wordAt(at + 4 * index, word, mask[index])).reduce(and);
    }),
  );
}

/**
 * A packet from or to a port of `low` to `high`, over a protocol that has ports. Only the first fragment of an IPv4 packet
 * has them; over IPv6 they are only looked for behind the first header.
 */
export function ports(protocol: number, direction: Direction, low: number, high: number): Test {
  const overIpv6 = and(
    and(etherType(ETHER_TYPES.ip6), byteAt(IPV6_NEXT_HEADER_AT, protocol)),
    inDirection(direction, PORTS, (at) => shortAt(IPV6_PAYLOAD_AT + at, low, high)),
  );
  const overIpv4 = and(
    and(ipv4Protocol(protocol), isFirstFragment),
    inDirection(direction, PORTS, (at) => shortBehindIpv4(at, low, high)),
  );
  return or(overIpv6, overIpv4);
}

function inDirection(
  direction: Direction,
  offsets: { readonly src: number; readonly dst: number },
  make: (at: number) => Test,
): Test {
  if (direction === "src" || direction === "dst") return make(offsets[direction]);
  return (direction === "either" ? or : and)(make(offsets.src), make(offsets.dst));
}

function byteAt(at: number, value: number): Test {
  return (bytes, offset, length) => (at >= length ? OUTSIDE : bytes[offset + at] === value ? YES : NO);
}

function byteFrom(at: number, low: number): Test {
  return (bytes, offset, length) => (at >= length ? OUTSIDE : bytes[offset + at] >= low ? YES : NO);
}

function bytesAt(at: number, wanted: Uint8Array): Test {
  return (bytes, offset, length) => {
    if (at + wanted.length > length) return OUTSIDE;
    for (let index = 0; index < wanted.length; index++) {
      if (bytes[offset + at + index] !== wanted[index]) return NO;
    }
    return YES;
  };
}

function shortAt(at: number, low: number, high: number): Test {
  return (bytes, offset, length) => {
    if (at + 2 > length) return OUTSIDE;
    const value = (bytes[offset + at] << 8) | bytes[offset + at + 1];
    return value >= low && value <= high ? YES : NO;
  };
}

function wordAt(at: number, value: number, mask: number): Test {
  return (bytes, offset, length) => {
    if (at + 4 > length) return OUTSIDE;
    const start = offset + at;
    const word = (bytes[start] << 24) | (bytes[start + 1] << 16) | (bytes[start + 2] << 8) | bytes[start + 3];
    return (word & mask) === value ? YES : NO;
  };
}

/** A number of 16 bits behind an IPv4 header, whose length is in its first byte. */
function shortBehindIpv4(at: number, low: number, high: number): Test {
  return (bytes, offset, length) => {
    if (length <= ETHERNET_HEADER) return OUTSIDE;
    const start = ETHERNET_HEADER + 4 * (bytes[offset + ETHERNET_HEADER] & 0x0f) + at;
    if (start + 2 > length) return OUTSIDE;
    const value = (bytes[offset + start] << 8) | bytes[offset + start + 1];
    return value >= low && value <= high ? YES : NO;
  };
}

const isFirstFragment: Test = (bytes, offset, length) => {
  if (IPV4_FRAGMENT_AT + 2 > length) return OUTSIDE;
  const fragment = (bytes[offset + IPV4_FRAGMENT_AT] << 8) | bytes[offset + IPV4_FRAGMENT_AT + 1];
  return (fragment & 0x1fff) === 0 ? YES : NO;
};
