import { encode } from "dns-packet";
import { describe, expect, it } from "vitest";
import { parseType, showMessage, typeName } from "./presentation.ts";
import { hostileMessage, seededRandom } from "./testing/messages.ts";

/** A response with one record of this type and data, given as hexadecimal, to a question for `a.example`. */
function withRecord(type: number, data: string): Uint8Array {
  const rdata = Buffer.from(data.replaceAll(" ", ""), "hex");
  const fixed = Buffer.from("0000818000010001000000000161076578616d706c65000001 0001".replaceAll(" ", ""), "hex");
  const record = Buffer.alloc(12);
  record.writeUInt16BE(0xc00c, 0);
  record.writeUInt16BE(type, 2);
  record.writeUInt16BE(1, 4);
  record.writeUInt32BE(300, 6);
  record.writeUInt16BE(rdata.length, 10);
  return Buffer.concat([fixed, record, rdata]);
}

const hexOf = (text: string) => Buffer.from(text, "latin1").toString("hex");

describe("a record", () => {
  it.each([
    ["A", "cb007105", "203.0.113.5"],
    ["AAAA", "20010db8000000000000000000000001", "2001:db8::1"],
    ["CNAME", "0162c00e", "b.example."],
    ["NS", "00", "."],
    ["MX", "000a 046d61696cc00e", "10 mail.example."],
    ["SRV", "0001 0002 1f90 c00c", "1 2 8080 a.example."],
    ["SOA", "c00e 0161c00e 00000001 00000002 00000003 00000004 00000005", "example. a.example. 1 2 3 4 5"],
    ["TXT", `03${hexOf("a b")} 03${hexOf('"\\\x07')} 00`, '"a b" "\\"\\\\\\007" ""'],
    ["CAA", `00 05${hexOf("issue")} ${hexOf("ca.example")}`, '0 issue "ca.example"'],
    ["DS", "1234 0d 02 aabb", "4660 13 2 AABB"],
    ["DNSKEY", "0101 03 0d 01020304", "257 3 13 AQIDBA=="],
    [
      "RRSIG",
      "0001 0d 02 0000012c 6774858f 67500000 1234 c00e 0102",
      "A 13 2 300 20250101000015 20241204070848 4660 example. AQI=",
    ],
    ["NSEC", "0162c00e 0006 400000000003", "b.example. A RRSIG NSEC"],
    ["NSEC3", "01 00 0005 02aabb 04 00000000 0001 40", "1 0 5 AABB 0000000 A"],
    [
      "HTTPS",
      `0001 00 0001 0006 02${hexOf("h2")}02${hexOf("h3")} 0003 0002 01bb 0004 0004 c0000201 ffff 0001 41`,
      '1 . alpn="h2,h3" port=443 ipv4hint=192.0.2.1 key65535="A"',
    ],
    ["TYPE65280", "0102", "\\# 2 0102"],
    ["TYPE65280", "", "\\# 0"],
  ])("of type %s is written as in a master file", (type, data, expected) => {
    const { answers, isCutOff } = showMessage(withRecord(parseType(type), data));
    expect(answers).toEqual([{ name: "a.example.", ttl: 300, class: "IN", type, data: expected }]);
    expect(isCutOff).toBe(false);
  });

  it.each([
    ["A", "cb0071"],
    ["A", "cb00710505"],
    ["MX", "000a"],
    ["TXT", "0561"],
    ["CNAME", "c0ff"],
    ["HTTPS", "0001 00 0001 00ff"],
  ])("of type %s whose data does not fit it is written as bytes", (type, data) => {
    const bytes = data.replaceAll(" ", "").toUpperCase();
    const [record] = showMessage(withRecord(parseType(type), data)).answers;
    expect(record).toMatchObject({ type, data: `\\# ${bytes.length / 2} ${bytes}` });
  });

  it("has what is special in its name escaped", () => {
    const message = withRecord(5, "03612e62 0120 00");
    expect(showMessage(message).answers[0].data).toBe("a\\.b.\\032.");
  });
});

describe("a message", () => {
  it("is shown with its code, its flags and its sections, but for OPT", () => {
    const message = encode({
      type: "response",
      flags: 0x0583,
      questions: [{ name: "a.example", type: "A" }],
      authorities: [{ type: "NS", name: "example", ttl: 1, data: "b.example" }],
      additionals: [
        { type: "A", name: "b.example", ttl: 2, class: "CH", data: "192.0.2.1" },
        {
          type: "OPT",
          name: ".",
          udpPayloadSize: 1232,
          extendedRcode: 0,
          ednsVersion: 0,
          flags: 0,
          flag_do: false,
          options: [],
        },
      ],
    });
    expect(showMessage(message)).toEqual({
      rcode: "NXDOMAIN",
      flags: ["aa", "rd", "ra"],
      answers: [],
      authorities: [{ name: "example.", ttl: 1, class: "IN", type: "NS", data: "b.example." }],
      additionals: [{ name: "b.example.", ttl: 2, class: "CH", type: "A", data: "192.0.2.1" }],
      isCutOff: false,
    });
  });

  it("that ends too early is shown as far as it goes", () => {
    const message = withRecord(1, "cb007105");
    for (let length = 12; length < message.length; length++) {
      expect(showMessage(message.subarray(0, length))).toMatchObject({ answers: [], isCutOff: true });
    }
  });

  it("with names that lead to each other ends", () => {
    const message = withRecord(5, "c00c");
    message[12] = 0xc0;
    message[13] = 12;
    expect(showMessage(message).isCutOff).toBe(true);
  });

  it("may be anything", () => {
    const random = seededRandom(7);
    for (let count = 0; count < 5000; count++) {
      const message = hostileMessage(random);
      if (message.length >= 12) expect(showMessage(message).answers.length).toBeLessThan(65_536);
    }
  });
});

describe("a type", () => {
  it("is read as it is written", () => {
    for (const number of [1, 28, 65, 257, 41, 65_280]) expect(parseType(typeName(number))).toBe(number);
    expect(parseType("https")).toBe(65);
    expect(parseType("type65")).toBe(65);
  });

  it.each(["", "TYPE", "TYPE65536", "TYPE-1", "TYPE1x", "AB", "constructor"])("is not %j", (written) => {
    expect(() => parseType(written)).toThrow(/is not a type of records: A, NS, .* or TYPE0 to TYPE65535/);
  });
});
