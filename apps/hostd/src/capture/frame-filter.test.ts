import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FilterError } from "./filter-error.ts";
import { compileFilter } from "./frame-filter.ts";

// What filters choose is held against tcpdump in test/integration/capture-filter.test.ts.

/** A TCP segment from 192.168.65.3:40000 to 10.0.0.1:443, of 54 bytes. */
const SEGMENT = Uint8Array.from([
  ...[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 3, 0x08, 0x00],
  ...[0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 168, 65, 3, 10, 0, 0, 1],
  ...[0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0],
]);

const wants = (expression: string, frame = SEGMENT) => compileFilter(expression)(frame, 0, frame.length);

function errorOf(expression: string): FilterError {
  try {
    compileFilter(expression);
  } catch (error) {
    if (error instanceof FilterError) return error;
    throw error;
  }
  throw new Error(`understood: ${expression}`);
}

describe("compileFilter", () => {
  it("wants every frame when nothing is said", () => {
    expect(wants("")).toBe(true);
    expect(wants("  ")).toBe(true);
    expect(wants("", new Uint8Array(0))).toBe(true);
  });

  it.each([
    ["tcp port 443", true],
    ["udp port 443", false],
    ["src port 443", false],
    ["dst port 443 and src host 192.168.65.3", true],
    ["host 10.0.0.1 or 10.0.0.2", true],
    ["not host 10.0.0.1", false],
    ["less 54", true],
    ["greater 55", false],
  ])("%s: %s", (expression, expected) => {
    expect(wants(expression)).toBe(expected);
  });

  it("has `and` and `or` bind alike, from the left, and `not` first", () => {
    expect(wants("tcp or udp and udp")).toBe(false);
    expect(wants("tcp or (udp and udp)")).toBe(true);
    expect(wants("not udp and tcp")).toBe(true);
    expect(wants("not (udp or tcp)")).toBe(false);
  });

  it("looks at the frame alone, wherever it is in its memory", () => {
    const memory = new Uint8Array(2000).fill(0xff);
    memory.set(SEGMENT, 700);
    const filter = compileFilter("tcp dst port 443 and net 10.0.0.0/8");
    expect(filter(memory, 700, SEGMENT.length)).toBe(true);
    for (let length = 0; length < 38; length++) expect(filter(memory, 700, length)).toBe(false);
  });

  it("wants no frame that is too short for what is asked, not even by `not`", () => {
    const short = SEGMENT.subarray(0, 20);
    expect(wants("not tcp", short)).toBe(false);
    expect(wants("not udp or less 100", short)).toBe(false);
    expect(wants("less 100 or udp", short)).toBe(true);
  });

  it.each([
    ["prot 80", 1, '"prot" is not understood; allowed: [src|dst] host, net, port and portrange, a protocol'],
    ["tcp prot 80", 5, '"prot" is not understood; allowed: and, or, and the end'],
    ["tcp port", 9, "it ends here; allowed: a number of 0 to 65535"],
    ["tcp port http", 10, '"http" is not understood; allowed: a number of 0 to 65535'],
    ["port 65536", 6, '"65536" is not understood; allowed: a number of 0 to 65535'],
    ["port 010", 6, '"010" is not understood; allowed: a number of 0 to 65535'],
    ["portrange 80", 11, '"80" is not understood; allowed: two numbers of 0 to 65535, as 8000-8010'],
    ["portrange 1-2-3", 11, '"1-2-3" is not understood'],
    ["host www.example.com", 6, '"www.example.com" is not understood; allowed: an address, as 192.168.65.3 or fe80::1'],
    ["host 10.0.0.0/8", 6, '"10.0.0.0/8" is not understood; allowed: an address'],
    ["host fe80::1%eth0", 13, '"%" is not understood; allowed: words, addresses, numbers'],
    [
      "net 10.0.0.1/8",
      5,
      "10.0.0.1/8 has bits behind its prefix; allowed: the address of the network itself, such as 10.0.0.0/8",
    ],
    ["net fe80::1/64", 5, "fe80::1/64 has bits behind its prefix; allowed: the address of the network itself"],
    ["net 10.0.0.0/33", 5, '"10.0.0.0/33" is not understood; allowed: a network, as 192.168.65.0/24 or fe80::/10'],
    ["net 10/8", 5, '"10/8" is not understood; allowed: a network, as 192.168.65.0/24 or fe80::/10'],
    ["tcp host 10.0.0.1", 5, "host does not go with tcp; allowed before it: ether, ip, ip6, arp, rarp"],
    ["ip port 80", 4, "port does not go with ip; allowed before it: tcp, udp, sctp"],
    ["ether net 10", 7, "net does not go with ether; allowed before it: ip, ip6, arp, rarp"],
    ["ip host fe80::1", 9, "fe80::1 is of IPv6; allowed: ip6 host"],
    ["ip6 host 10.0.0.1", 10, "10.0.0.1 is of IPv4; allowed: ip, arp and rarp host"],
    ["ether host 10.0.0.1", 12, '"10.0.0.1" is not understood; allowed: a MAC address, as 52:54:00:12:34:56'],
    ["host 52:54:00:12:34:56", 6, '"52:54:00:12:34:56" is not understood; allowed: an address'],
    ["ether", 6, "it ends here; allowed: [src|dst] host, broadcast and multicast"],
    ["tcp broadcast", 5, '"tcp broadcast" is not understood; allowed: broadcast, ether broadcast'],
    ["10.0.0.1", 1, '"10.0.0.1" is not understood; allowed: [src|dst] host'],
    ["tcp or 80", 8, '"80" is not understood; allowed: [src|dst] host'],
    ["less", 5, "it ends here; allowed: a number of bytes"],
    ["greater -1", 9, '"-1" is not understood; allowed: a number of bytes'],
    ["(tcp or udp", 12, "it ends here; allowed: and, or, and )"],
    ["tcp)", 4, '")" is not understood; allowed: and, or, and the end'],
    ["tcp and", 8, "it ends here; allowed: [src|dst] host"],
    ["and tcp", 1, '"and" is not understood'],
    ["tcp[13] & 2 != 0", 4, '"[" is not understood; allowed: words, addresses, numbers, ( ) and && || !'],
    ["TCP", 1, '"TCP" is not understood'],
    ["constructor", 1, '"constructor" is not understood'],
    ["ether __proto__", 7, '"__proto__" is not understood'],
    ["src", 4, "it ends here; allowed: an address"],
  ])("says of %j at which character it is not understood, and what is allowed", (expression, position, reason) => {
    const error = errorOf(expression);
    expect(error.position).toBe(position);
    expect(error.message).toContain(`the filter ${JSON.stringify(expression)}, at character ${position}: ${reason}`);
  });

  it("bounds how long and how deep a filter may be", () => {
    expect(errorOf("tcp or ".repeat(1000)).message).toContain("4096 characters");
    expect(errorOf(`${"(".repeat(500)}tcp${")".repeat(500)}`).message).toContain("deeper than 100");
    expect(errorOf(`${"!".repeat(500)}tcp`).message).toContain("deeper than 100");
    expect(errorOf(`port ${"(".repeat(500)}80${")".repeat(500)}`).message).toContain("deeper than 100");
    expect(wants(`${"(".repeat(90)}tcp${")".repeat(90)}`)).toBe(true);
    expect(wants(`udp${" or udp".repeat(580)} or tcp`)).toBe(true);
  });

  it("never fails in another way, whatever is asked of whatever frame", () => {
    const words =
      "src dst host net port portrange tcp udp ip ip6 arp ether and or not ( ) && || ! less greater broadcast "
        .concat("multicast 80 10.0.0.1 fe80::1 10/8 ::/0 52:54:00:12:34:56 1-2 x . - : / [ é")
        .split(" ");
    const expression = fc.array(fc.constantFrom(...words), { maxLength: 12 }).map((parts) => parts.join(" "));
    fc.assert(
      fc.property(fc.oneof(expression, fc.string()), fc.uint8Array({ maxLength: 80 }), (text, frame) => {
        try {
          expect(typeof compileFilter(text)(frame, 0, frame.length)).toBe("boolean");
        } catch (error) {
          if (!(error instanceof FilterError)) throw error;
        }
      }),
      { seed: 6, numRuns: 3000 },
    );
  });
});
