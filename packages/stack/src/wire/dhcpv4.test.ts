import { describe, expect, it } from "vitest";
import { parseIpv4, parseMac } from "../address.ts";
import {
  BOOTREPLY,
  DHCP_OPTION,
  DHCP_TYPE,
  type DhcpMessage,
  DhcpOptions,
  decodeDomainSearch,
  encodeDhcpMessage,
  encodeDomainSearch,
  parseDhcpMessage,
} from "./dhcpv4.ts";

const MESSAGE_LIMIT = 548;

function message(options: DhcpOptions): DhcpMessage {
  return {
    op: BOOTREPLY,
    htype: 1,
    hops: 2,
    xid: 0xfedcba98,
    secs: 7,
    flags: 0x8000,
    ciaddr: parseIpv4("192.168.65.3"),
    yiaddr: parseIpv4("192.168.65.4"),
    siaddr: parseIpv4("192.168.65.5"),
    giaddr: parseIpv4("192.168.65.6"),
    chaddr: parseMac("52:54:00:12:34:56"),
    type: DHCP_TYPE.ack,
    options,
  };
}

function encode(options: DhcpOptions, maximumLength = MESSAGE_LIMIT): Uint8Array {
  const bytes = encodeDhcpMessage(message(options), maximumLength);
  if (bytes === null) {
    throw new Error("the options do not fit");
  }
  return bytes;
}

function parse(bytes: Uint8Array): DhcpMessage | null {
  return parseDhcpMessage(bytes, 0, bytes.length);
}

/** A message with these bytes as its options field, and others for file and sname. */
function raw(options: number[], file: number[] = [], sname: number[] = []): Uint8Array {
  const bytes = new Uint8Array(240 + options.length);
  bytes.set(encode(new DhcpOptions()).subarray(0, 240));
  bytes.set(sname, 44);
  bytes.set(file, 108);
  bytes.set(options, 240);
  return bytes;
}

function counting(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => index);
}

describe("a DHCP message", () => {
  it("is read as it was written", () => {
    const options = new DhcpOptions()
      .setIpv4(DHCP_OPTION.subnetMask, parseIpv4("255.255.255.0"))
      .setIpv4(DHCP_OPTION.domainNameServer, parseIpv4("192.168.65.1"), parseIpv4("8.8.8.8"))
      .setUint16(DHCP_OPTION.interfaceMtu, 65_521)
      .setUint32(DHCP_OPTION.leaseTime, 0xfffffffe)
      .setText(DHCP_OPTION.hostName, "vm");

    expect(parse(encode(options))).toEqual(message(options));
  });

  it("is read at its offset among other bytes", () => {
    const bytes = encode(new DhcpOptions().setText(DHCP_OPTION.hostName, "vm"));
    const around = new Uint8Array(bytes.length + 99).fill(0xaa);
    around.set(bytes, 42);

    expect(parseDhcpMessage(around, 42, bytes.length)?.options.text(DHCP_OPTION.hostName)).toBe("vm");
    expect(parseDhcpMessage(around, 42, around.length)).toBeNull();
  });

  it("has the length of a BOOTP message at the least", () => {
    expect(encode(new DhcpOptions())).toHaveLength(300);
  });

  it("keeps nothing of the buffer it was read from", () => {
    const bytes = encode(new DhcpOptions().setText(DHCP_OPTION.hostName, "vm"));
    const read = parse(bytes);
    bytes.fill(0);

    expect(read?.options.text(DHCP_OPTION.hostName)).toBe("vm");
    expect(read?.chaddr).toEqual(parseMac("52:54:00:12:34:56"));
  });

  it("is read without an end option when its options fill the field", () => {
    expect(parse(raw([53, 1, 1]))?.type).toBe(DHCP_TYPE.discover);
  });

  it("is read with pad options, and up to the end option only", () => {
    const read = parse(raw([0, 53, 1, 3, 0, 0, 50, 4, 10, 0, 0, 1, 255, 54, 99]));

    expect(read?.type).toBe(DHCP_TYPE.request);
    expect(read?.options.ipv4(DHCP_OPTION.requestedAddress)).toBe(parseIpv4("10.0.0.1"));
    expect(read?.options.bytes(DHCP_OPTION.serverIdentifier)).toBeNull();
  });

  it.each([
    ["has an option that runs past the field", [53, 1, 1, 12, 4, 65, 66, 67]],
    ["has an option without a length", [53, 1, 1, 12]],
    ["has no message type", [12, 1, 65, 255]],
    ["has an unknown message type", [53, 1, 9, 255]],
    ["has the message type 0", [53, 1, 0, 255]],
    ["has a message type of two bytes", [53, 2, 1, 1, 255]],
    ["has a message type of no bytes", [53, 0, 255]],
    ["has two message types", [53, 1, 1, 53, 1, 3, 255]],
    ["has a requested address of three bytes", [53, 1, 3, 50, 3, 10, 0, 0, 255]],
    ["has a maximum message size of four bytes", [53, 1, 1, 57, 4, 0, 0, 5, 220, 255]],
    ["has routers of six bytes", [53, 1, 1, 3, 6, 10, 0, 0, 1, 10, 0, 255]],
    ["has no DNS server in its list of them", [53, 1, 1, 6, 0, 255]],
    ["overloads no field", [53, 1, 1, 52, 1, 0, 255]],
    ["overloads an unknown field", [53, 1, 1, 52, 1, 4, 255]],
    ["has an overload option of two bytes", [53, 1, 1, 52, 2, 1, 1, 255]],
  ])("is refused when it %s", (_case, options) => {
    expect(parse(raw(options))).toBeNull();
  });

  it.each([
    ["is too short", (bytes: Uint8Array) => bytes.subarray(0, 239)],
    ["is neither request nor reply", (bytes: Uint8Array) => bytes.with(0, 3)],
    ["has a hardware address longer than its field", (bytes: Uint8Array) => bytes.with(2, 17)],
    ["lacks the magic cookie", (bytes: Uint8Array) => bytes.with(237, 0)],
  ])("is refused when it %s", (_case, damage) => {
    const bytes = raw([53, 1, 1, 255]);

    expect(parse(bytes)).not.toBeNull();
    expect(parse(damage(bytes))).toBeNull();
  });
});

describe("an option", () => {
  it("is split over instances of at most 255 bytes and joined again", () => {
    const value = counting(600);
    const bytes = encode(new DhcpOptions().set(DHCP_OPTION.domainSearch, value), 1472);

    expect([...bytes.subarray(243, 245)]).toEqual([119, 255]);
    expect([...bytes.subarray(500, 502)]).toEqual([119, 255]);
    expect([...bytes.subarray(757, 759)]).toEqual([119, 90]);
    expect(parse(bytes)?.options.bytes(DHCP_OPTION.domainSearch)).toEqual(value);
  });

  it("is joined from instances that others stand between", () => {
    const read = parse(raw([119, 2, 1, 2, 53, 1, 5, 119, 0, 119, 1, 3, 255]));

    expect(read?.options.bytes(DHCP_OPTION.domainSearch)).toEqual(Uint8Array.of(1, 2, 3));
  });

  it("is joined in the order options, file, sname", () => {
    const read = parse(raw([52, 1, 3, 53, 1, 5, 119, 1, 1, 255], [119, 1, 2, 255], [119, 1, 3, 12, 1, 65, 255]));

    expect(read?.options.bytes(DHCP_OPTION.domainSearch)).toEqual(Uint8Array.of(1, 2, 3));
    expect(read?.options.text(DHCP_OPTION.hostName)).toBe("A");
    expect(read?.options.bytes(DHCP_OPTION.overload)).toBeNull();
  });

  it("is read from the overloaded fields only", () => {
    const file = [12, 4, 102, 105, 108, 101, 255];
    const sname = [12, 5, 115, 110, 97, 109, 101, 255];
    const hostName = (overload: number[]) =>
      parse(raw([53, 1, 5, ...overload, 255], file, sname))?.options.text(DHCP_OPTION.hostName);

    expect(hostName([])).toBeNull();
    expect(hostName([52, 1, 1])).toBe("file");
    expect(hostName([52, 1, 2])).toBe("sname");
    expect(hostName([52, 1, 3])).toBe("filesname");
  });

  it("is refused when it runs past an overloaded field", () => {
    expect(parse(raw([52, 1, 1, 53, 1, 5, 255], [43, 127]))).toBeNull();
    expect(parse(raw([52, 1, 1, 53, 1, 5, 255], [43, 126]))).not.toBeNull();
    expect(parse(raw([52, 1, 2, 53, 1, 5, 255], [], [43, 63]))).toBeNull();
  });

  it("goes to file and sname when the options field is full", () => {
    const options = new DhcpOptions();
    // The options field has room for 304 bytes of options, file for 127 and sname for 63.
    options.set(200, counting(255)).set(201, counting(100)).set(202, counting(50)).set(203, counting(20));
    const bytes = encode(options);

    expect(bytes.length).toBeLessThanOrEqual(MESSAGE_LIMIT);
    expect([...bytes.subarray(108, 110)]).toEqual([201, 100]);
    expect([...bytes.subarray(44, 46)]).toEqual([202, 50]);
    expect([...bytes.subarray(522, 526)]).toEqual([52, 1, 3, 255]);
    expect([...(parse(bytes)?.options ?? [])]).toEqual([
      [200, counting(255)],
      [203, counting(20)],
      [201, counting(100)],
      [202, counting(50)],
    ]);
  });

  it("leaves sname alone when file has room", () => {
    const options = new DhcpOptions().set(200, counting(255)).set(201, counting(120)).set(202, counting(40));
    const bytes = encode(options);

    expect([...bytes.subarray(542, 546)]).toEqual([52, 1, 1, 255]);
    expect(parse(bytes)?.options.bytes(202)).toEqual(counting(40));
    expect(bytes.subarray(44, 108)).toEqual(new Uint8Array(64));
  });

  it("fills each field to its last byte", () => {
    const options = new DhcpOptions().set(200, counting(255)).set(201, counting(42));
    options.set(202, counting(125)).set(203, counting(61));
    const bytes = encode(options);

    expect(bytes).toHaveLength(MESSAGE_LIMIT);
    expect(parse(bytes)).toEqual(message(options));
    expect(encodeDhcpMessage(message(options.set(204, new Uint8Array(0))), MESSAGE_LIMIT)).toBeNull();
  });

  it("is text without the NULs at its end, and nothing that is not printable", () => {
    const text = (...value: number[]) => new DhcpOptions().set(12, Uint8Array.from(value)).text(12);

    expect(text(118, 109, 0, 0)).toBe("vm");
    expect(text()).toBeNull();
    expect(text(0)).toBeNull();
    expect(text(118, 0, 109)).toBeNull();
    expect(text(118, 27, 91)).toBeNull();
    expect(text(195, 164)).toBeNull();
  });
});

describe("a domain search list", () => {
  it("is written as labels", () => {
    expect(encodeDomainSearch(["a.bc", "d."])).toEqual(Uint8Array.of(1, 97, 2, 98, 99, 0, 1, 100, 0));
  });

  it("is read as it was written", () => {
    const domains = ["corp.example", "_tcp.corp.example", "xn--bcher-kva.example", `${"a".repeat(63)}.b`];

    expect(decodeDomainSearch(encodeDomainSearch(domains))).toEqual(domains);
    expect(decodeDomainSearch(new Uint8Array(0))).toEqual([]);
  });

  it("is read with pointers (the example of RFC 3397, section 2)", () => {
    const value = [3, 101, 110, 103, 5, 97, 112, 112, 108, 101, 3, 99, 111, 109, 0];
    value.push(9, 109, 97, 114, 107, 101, 116, 105, 110, 103, 0xc0, 4);

    expect(decodeDomainSearch(Uint8Array.from(value))).toEqual(["eng.apple.com", "marketing.apple.com"]);
  });

  it.each([
    ["a pointer to itself", [0xc0, 0]],
    ["a pointer forward", [0xc0, 2, 1, 97, 0]],
    ["a pointer into its own name", [1, 97, 0xc0, 0]],
    ["two pointers in a circle", [1, 97, 0, 1, 98, 0xc0, 3]],
    ["half a pointer", [1, 97, 0, 0xc0]],
    ["a label past the end", [3, 97, 98]],
    ["no end of its name", [1, 97]],
    ["a label of 64 bytes", [64, ...new Array(64).fill(97), 0]],
    ["a label with a dot in it", [3, 97, 46, 98, 0]],
    ["a name of 256 bytes", [...new Array(127).fill([1, 97]).flat(), 1, 97, 0]],
  ])("is refused with %s", (_case, value) => {
    expect(decodeDomainSearch(Uint8Array.from(value))).toBeNull();
  });

  it("is read up to 64 domains", () => {
    const value = Uint8Array.from([1, 97, 0, ...new Array(1000).fill([0xc0, 0]).flat()]);

    expect(decodeDomainSearch(value)).toHaveLength(64);
  });

  it.each(["", ".", "a..b", "ä.example", "a b", `${"a".repeat(64)}.b`, new Array(65).fill("abc").join(".")])(
    "is not written with %j",
    (domain) => {
      expect(() => encodeDomainSearch(["good.example", domain])).toThrow(/not a domain name: "/);
    },
  );
});
