import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fixedServers, type ServerAddress } from "@hostd/dns";
import { describe, expect, test } from "vitest";
import { decoded, queryMessage } from "../../packages/dns/src/testing/messages.ts";
import { udpServer } from "../../packages/dns/src/testing/servers.ts";
import { ensureNameServers } from "../vm/host-packages.ts";
import {
  askTcp,
  askUdp,
  type ClientQueryOptions,
  delv,
  dig,
  encodeQuery,
  type TypeName,
  withId,
} from "./support/dns-client.ts";
import { CACHE, type HostSide, startHostSide } from "./support/dns-host-side.ts";
import {
  dnsmasq,
  type NameServerProcess,
  type ServedZone,
  type SignedZone,
  signZone,
  unbound,
  zoneText,
} from "./support/name-servers.ts";

const missing = ensureNameServers();

const DIGEST = "0123456789abcdef".repeat(4);
const LONG_TEXT = ["a".repeat(255), "b".repeat(255), "c".repeat(90)];
/** Together these have more than 3000 bytes. */
const LARGE_TEXTS = ["a", "b", "c", "d"].map((letter) => [letter.repeat(255), letter.repeat(255), letter.repeat(250)]);
const quoted = (texts: readonly string[], separator: string) => texts.map((text) => `"${text}"`).join(separator);

/** A name with a record of each type. */
const RECORDS: readonly (readonly [name: string, type: TypeName])[] = [
  ["www.types.test", "A"],
  ["www.types.test", "AAAA"],
  ["alias.types.test", "CNAME"],
  ["alias.types.test", "A"],
  ["text.types.test", "TXT"],
  ["_http._tcp.types.test", "SRV"],
  ["mail.types.test", "MX"],
  ["10.2.0.192.in-addr.arpa", "PTR"],
  ["caa.types.test", "CAA"],
  ["https.types.test", "HTTPS"],
  ["svcb.types.test", "SVCB"],
  ["naptr.types.test", "NAPTR"],
  ["child.types.test", "DS"],
  ["unknown.types.test", "TYPE65280"],
];

const TYPES_ZONE: ServedZone = {
  name: "types.test",
  as: "authority",
  text: zoneText("types.test", [
    "www A 192.0.2.10",
    "www A 192.0.2.11",
    "www AAAA 2001:db8::10",
    "alias CNAME www",
    `text TXT ${quoted(LONG_TEXT, " ")}`,
    ...LARGE_TEXTS.map((texts) => `large TXT ${quoted(texts, " ")}`),
    "_http._tcp SRV 10 20 8080 www",
    "mail MX 10 www",
    'caa CAA 128 issue "ca.example"',
    'https HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.1',
    "svcb SVCB 1 www port=8443",
    'naptr NAPTR 100 10 "S" "SIP+D2U" "" _http._tcp',
    `child DS 12345 13 2 ${DIGEST}`,
    "child NS ns.child",
    "ns.child A 192.0.2.53",
    "unknown TYPE65280 \\# 5 0001feff2e",
    ...Array.from({ length: 100 }, (_, index) => `many A 198.51.100.${index + 1}`),
  ]),
};

const REVERSE_ZONE: ServedZone = {
  name: "2.0.192.in-addr.arpa",
  as: "authority",
  text: zoneText("2.0.192.in-addr.arpa", ["10 PTR www.types.test."]),
};

const HTTPS_DATA = "0001000001000602683202683300040004c0000201";
const SVCB_DATA = "000103777777057479706573047465737400000300021fff";

const typesOnUnbound = (...lines: string[]) => unbound({ zones: [TYPES_ZONE, REVERSE_ZONE], lines });

const typesOnDnsmasq = (...lines: string[]) =>
  dnsmasq([
    "address=/www.types.test/192.0.2.10",
    "address=/www.types.test/2001:db8::10",
    "cname=alias.types.test,real.types.test",
    "host-record=real.types.test,192.0.2.12",
    `txt-record=text.types.test,${quoted(LONG_TEXT, ",")}`,
    ...LARGE_TEXTS.map((texts) => `txt-record=large.types.test,${quoted(texts, ",")}`),
    "srv-host=_http._tcp.types.test,www.types.test,8080,10,20",
    "mx-host=mail.types.test,www.types.test,10",
    "ptr-record=10.2.0.192.in-addr.arpa,www.types.test",
    "caa-record=caa.types.test,128,issue,ca.example",
    `dns-rr=https.types.test,65,${HTTPS_DATA}`,
    `dns-rr=svcb.types.test,64,${SVCB_DATA}`,
    "naptr-record=naptr.types.test,100,10,S,SIP+D2U,,_http._tcp.types.test",
    `dns-rr=child.types.test,43,30390d02${DIGEST}`,
    "dns-rr=unknown.types.test,65280,0001feff2e",
    ...lines,
  ]);

const SERVERS = [
  { program: "unbound", start: typesOnUnbound },
  { program: "dnsmasq", start: typesOnDnsmasq },
];

type Ask = (server: ServerAddress, message: Uint8Array) => Promise<Uint8Array>;

/** Asks the server itself before and after, so that a TTL which it counts down is no difference. */
async function askBoth(server: NameServerProcess, hostSide: HostSide, message: Uint8Array, ask: Ask) {
  for (let attempt = 0; ; attempt++) {
    const before = await ask(server.address, withId(message, 0x1111));
    const through = await ask(hostSide.address, withId(message, 0x2222));
    const after = await ask(server.address, withId(message, 0x1111));
    if (attempt < 5 && !Buffer.from(before).equals(after)) continue;
    return { direct: Buffer.from(after), through: Buffer.from(through) };
  }
}

/** Shows that an answer has come through byte for byte but the id, and returns it. */
async function expectUnchanged(server: NameServerProcess, hostSide: HostSide, message: Uint8Array, ask: Ask) {
  const { direct, through } = await askBoth(server, hostSide, message, ask);
  expect(through.subarray(0, 2).toString("hex")).toBe("2222");
  expect(through.subarray(2).toString("hex")).toBe(direct.subarray(2).toString("hex"));
  return decoded(through);
}

/** A query with an option in its OPT record, which has none and is the last record. */
function withOption(query: Uint8Array, option: readonly number[]): Uint8Array {
  const message = Uint8Array.of(...query, ...option);
  message[query.length - 1] = option.length;
  return message;
}

const plainRecords = (output: string) => output.split("\n").map((line) => line.replace(/\s+/g, " "));

describe.skipIf(missing !== undefined)(`answers of real name servers (${missing ?? "all are there"})`, () => {
  const EDNS: ClientQueryOptions = { udpSize: 4096 };

  describe.each(SERVERS)("of $program", ({ start }) => {
    test("of every type come through byte for byte, by UDP with and without EDNS and by TCP", async () => {
      const server = await start();
      const hostSide = await startHostSide({ source: fixedServers([server.address]) });
      for (const [name, type] of RECORDS) {
        const answers = [
          await expectUnchanged(server, hostSide, encodeQuery(name, type, EDNS), askUdp),
          await expectUnchanged(server, hostSide, encodeQuery(name, type, { udpSize: 1232, dnssecOk: true }), askUdp),
          await expectUnchanged(server, hostSide, encodeQuery(name, type, EDNS), askTcp),
          await expectUnchanged(server, hostSide, encodeQuery(name, type), askTcp),
        ];
        // The text has more than 512 bytes, so that without EDNS it is cut off.
        if (type !== "TXT") answers.push(await expectUnchanged(server, hostSide, encodeQuery(name, type), askUdp));
        for (const { rcode, answers: records, flag_tc } of answers) {
          expect({ name, type, rcode, flag_tc }).toEqual({ name, type, rcode: 0, flag_tc: false });
          expect(records?.length, `${name} ${type}`).toBeGreaterThan(0);
        }
      }
    });

    test("of every type are the same to dig, from the cache too", async () => {
      const server = await start();
      const hostSide = await startHostSide({ source: fixedServers([server.address]), cache: CACHE });
      for (const options of [["+edns"], ["+tcp"], ["+noedns"], ["+bufsize=512", "+dnssec"], ["+tcp", "+noedns"]]) {
        const args = ["+noall", "+answer", "+nottlid", ...options, ...RECORDS.flat()];
        const direct = plainRecords(await dig(server.address, ...args));
        for (const [, type] of RECORDS) expect(direct, options.join(" ")).toContainEqual(expect.stringContaining(type));
        expect(plainRecords(await dig(hostSide.address, ...args)), options.join(" ")).toEqual(direct);
      }
      expect(hostSide.server.statistics.answeredFromCache).toBeGreaterThanOrEqual(RECORDS.length);
      expect(hostSide.server.statistics).toMatchObject({ failures: 0, formErr: 0, dropped: 0 });
    });

    test("to unusual queries come through byte for byte, whatever they say", async () => {
      const server = await start();
      const hostSide = await startHostSide({ source: fixedServers([server.address]) });
      const name = "www.types.test";
      const [rd, cd, ad] = [0x0100, 0x0010, 0x0020];
      const queries = {
        "without RD": queryMessage(name, "A", { flags: 0 }),
        "with CD and AD": queryMessage(name, "A", { flags: rd | cd | ad, udpPayloadSize: 1232 }),
        "of the class CH": queryMessage("version.bind", "TXT", { class: "CH" }),
        "of the type ANY": queryMessage("mail.types.test", "ANY", { udpPayloadSize: 4096 }),
        "with a payload size of 0": queryMessage(name, "A", { udpPayloadSize: 0 }),
        "with NSID": withOption(queryMessage(name, "A", { udpPayloadSize: 1232 }), [0, 3, 0, 0]),
        "with a client subnet": withOption(
          queryMessage(name, "A", { udpPayloadSize: 1232 }),
          [0, 8, 0, 7, 0, 1, 24, 0, 198, 51, 100],
        ),
        "with an unknown option": withOption(queryMessage(name, "A", { udpPayloadSize: 1232 }), [0xfe, 0x01, 0, 1, 7]),
        "with a malformed option": withOption(queryMessage(name, "A", { udpPayloadSize: 1232 }), [0, 8, 0, 9, 1]),
        "of the root": queryMessage(".", "SOA"),
        "for a name with a space and a dot in a label": encodeQuery("a b.types.test", "A").with(14, 0x2e),
      };
      for (const [what, query] of Object.entries(queries)) {
        for (const ask of [askUdp, askTcp]) {
          const { direct, through } = await askBoth(server, hostSide, query, ask);
          expect(through.subarray(2).toString("hex"), what).toBe(direct.subarray(2).toString("hex"));
        }
      }
      // EDNS is between two neighbours, so a version that is not known is answered here (RFC 6891, section 6.1.3).
      expect(await dig(hostSide.address, name, "A", "+edns=1", "+noednsnegotiation")).toContain("status: BADVERS");
    });

    test("to many queries of one connection come on that connection", async () => {
      const server = await start();
      const hostSide = await startHostSide({ source: fixedServers([server.address]), cache: CACHE });
      const names = ["www.types.test", "alias.types.test", "missing.types.test", "host.docker.internal"];
      const args = names.flatMap((name) => [name, "A"]);
      const output = await dig(hostSide.address, "+tcp", "+keepopen", "+noall", "+comments", ...args);
      expect(output.match(/status: \w+/g)).toEqual(
        ["NOERROR", "NOERROR", "NXDOMAIN", "NOERROR"].map((status) => `status: ${status}`),
      );
    });

    test("that the server cuts off are fetched by TCP, and cut off for a client that takes no more", async () => {
      const server = await start();
      const hostSide = await startHostSide({ source: fixedServers([server.address]) });
      const query = encodeQuery("large.types.test", "TXT", { udpSize: 4096 });
      const small = encodeQuery("large.types.test", "TXT");
      const whole = await expectUnchanged(server, hostSide, query, askTcp);
      expect(whole.answers).toHaveLength(4);
      for (const message of [small, encodeQuery("large.types.test", "TXT", { udpSize: 1232 })]) {
        const cut = await askUdp(hostSide.address, message);
        expect(decoded(cut)).toMatchObject({ rcode: 0, flag_tc: true, flag_qr: true });
        expect(cut.length).toBeLessThanOrEqual(message === small ? 512 : 1232);
        expect(decoded(await askTcp(hostSide.address, message)).answers).toEqual(whole.answers);
      }
      // dig asks again over TCP by itself.
      const short = async (...options: string[]) => {
        return (await dig(hostSide.address, "large.types.test", "TXT", "+short", ...options)).split("\n").sort();
      };
      const texts = LARGE_TEXTS.map((each) => quoted(each, " "));
      expect(await short("+noedns")).toEqual(texts);
      expect(await short("+bufsize=512")).toEqual(texts);
      expect(await short("+noedns", "+ignore")).toEqual([""]);
    });

    test("come to names whose letters have random case, and back in the case of the client", async () => {
      const server = await start();
      const sent: string[] = [];
      const { address } = await udpServer(async ({ message, reply }) => {
        sent.push(decoded(message).questions?.[0].name ?? "");
        reply(await askUdp(server.address, message));
      });
      const hostSide = await startHostSide({ source: fixedServers([address]), randomizeCase: true });
      const ofTypes = RECORDS.filter(([name]) => name.endsWith(".types.test"));
      for (const [name, type] of ofTypes) {
        await expectUnchanged(server, hostSide, encodeQuery(name, type, EDNS), askUdp);
        await expectUnchanged(server, hostSide, encodeQuery(name.replace("types", "TyPeS"), type, EDNS), askUdp);
      }
      const names = sent.filter((name) => !name.endsWith(".hostd.internal"));
      expect(names).toHaveLength(2 * ofTypes.length);
      // Nine letters of the domain alone have 512 spellings.
      const spellings = new Set(names.map((name) => name.split(".").slice(-2).join(".")));
      expect(spellings.size).toBeGreaterThan(ofTypes.length);
      expect(hostSide.forwarder.report()[0].servers[0].failures).toBe(0);
    });
  });

  test("that a server limits to 512 bytes are whole for a client that takes more", async () => {
    const limited = await typesOnUnbound("max-udp-size: 512");
    const hostSide = await startHostSide({ source: fixedServers([limited.address]) });
    const query = encodeQuery("many.types.test", "A", { udpSize: 4096 });
    expect(decoded(await askUdp(limited.address, query))).toMatchObject({ flag_tc: true });
    const whole = await askUdp(hostSide.address, query);
    expect(decoded(whole)).toMatchObject({ rcode: 0, flag_tc: false });
    expect(decoded(whole).answers).toHaveLength(100);
    expect(Buffer.from(whole).equals(await askTcp(limited.address, query))).toBe(true);
    const addresses = (await dig(hostSide.address, "many.types.test", "A", "+short", "+bufsize=4096")).split("\n");
    expect(new Set(addresses).size).toBe(100);
    expect(await dig(hostSide.address, "many.types.test", "A", "+stats", "+bufsize=4096")).toContain("(UDP)");
  });

  test("that no server gives whole are cut off by what the server itself cut off, where TCP is closed", async () => {
    const server = await typesOnUnbound();
    const { address } = await udpServer(async ({ message, reply }) => reply(await askUdp(server.address, message)));
    const hostSide = await startHostSide({ source: fixedServers([address]) });
    const answer = await expectUnchanged(server, hostSide, encodeQuery("large.types.test", "TXT"), askUdp);
    expect(answer).toMatchObject({ rcode: 0, flag_tc: true });
  });

  describe("with signatures", () => {
    const startSigned = async (zone: SignedZone) =>
      unbound({ zones: [{ ...zone, as: "resolver" }], trustAnchors: [zone.key] });
    const sign = () =>
      signZone("signed.test", ["www A 192.0.2.10", "www AAAA 2001:db8::10", "alias CNAME www", "*.wild A 192.0.2.11"]);
    const SIGNED: readonly (readonly [name: string, type: TypeName, rcode: number])[] = [
      ["www.signed.test", "A", 0],
      ["www.signed.test", "AAAA", 0],
      ["alias.signed.test", "A", 0],
      ["a.wild.signed.test", "A", 0],
      ["signed.test", "DNSKEY", 0],
      ["signed.test", "SOA", 0],
      ["www.signed.test", "MX", 0],
      ["missing.signed.test", "A", 3],
    ];

    test("come through byte for byte, with what proves that there is nothing", async () => {
      const server = await startSigned(sign());
      const hostSide = await startHostSide({ source: fixedServers([server.address]) });
      for (const [name, type, rcode] of SIGNED) {
        const query = encodeQuery(name, type, { udpSize: 1232, dnssecOk: true });
        const answer = await expectUnchanged(server, hostSide, query, askUdp);
        await expectUnchanged(server, hostSide, query, askTcp);
        const records = [...(answer.answers ?? []), ...(answer.authorities ?? [])];
        expect({ name, type, rcode: answer.rcode, ad: answer.flag_ad }).toEqual({ name, type, rcode, ad: true });
        expect(records.map((record) => record.type)).toContain("RRSIG");
        if (answer.answers?.length === 0) expect(records.map((record) => record.type)).toContain("NSEC");
        expect(answer.additionals?.at(-1)).toMatchObject({ type: "OPT", flag_do: true });
        // Whoever asks for AD alone gets that alone.
        const plain = await expectUnchanged(server, hostSide, encodeQuery(name, type, { ad: true }), askUdp);
        expect(plain.flag_ad).toBe(true);
        expect(plain.answers?.map((record) => record.type)).not.toContain("RRSIG");
        const unaware = await expectUnchanged(server, hostSide, encodeQuery(name, type), askUdp);
        expect(unaware.flag_ad).toBe(false);
      }
    });

    test("keep them, and AD, in the cache, where only the TTLs count down", async () => {
      const server = await startSigned(sign());
      const hostSide = await startHostSide({ source: fixedServers([server.address]), cache: CACHE });
      for (const [name, type] of SIGNED) {
        const query = encodeQuery(name, type, { udpSize: 1232, dnssecOk: true });
        const first = decoded(await askUdp(hostSide.address, withId(query, 1)));
        const { answeredFromCache } = hostSide.server.statistics;
        hostSide.advance(7000);
        const kept = decoded(await askUdp(hostSide.address, withId(query, 2)));
        expect(hostSide.server.statistics.answeredFromCache).toBe(answeredFromCache + 1);
        const aged = (records: typeof first.answers) =>
          records?.map((record) =>
            record.type === "OPT" || !("ttl" in record) ? record : { ...record, ttl: Number(record.ttl) - 7 },
          );
        expect(kept).toMatchObject({ id: 2, rcode: first.rcode, flag_ad: true, flag_ra: true });
        expect(kept.answers).toEqual(aged(first.answers));
        expect(kept.authorities).toEqual(aged(first.authorities));
        expect(kept.additionals?.at(-1)).toMatchObject({ type: "OPT", flag_do: true });
        // What was kept with signatures is not for those who want none.
        const plain = decoded(await askUdp(hostSide.address, encodeQuery(name, type)));
        expect(plain.answers?.map((record) => record.type)).not.toContain("RRSIG");
      }
    });

    test("convince delv, from the server and from the cache", async () => {
      const zone = sign();
      const server = await startSigned(zone);
      const hostSide = await startHostSide({ source: fixedServers([server.address]), cache: CACHE });
      const anchors = join(server.folder, "anchors");
      const [name, , , flags, protocol, algorithm, ...key] = zone.key.split(/\s+/);
      const anchor = `"${name}" static-key ${flags} ${protocol} ${algorithm} "${key.join("")}";`;
      writeFileSync(anchors, `trust-anchors { ${anchor} };\n`);
      const look = (...args: string[]) => delv(hostSide.address, anchors, "signed.test", ...args);
      for (let round = 0; round < 2; round++) {
        expect(await look("www.signed.test", "A")).toContain("; fully validated");
        expect(await look("alias.signed.test", "AAAA")).toContain("; fully validated");
        expect(await look("missing.signed.test", "A")).toContain("; negative response, fully validated");
        expect(await look("www.signed.test", "MX")).toContain("; negative response, fully validated");
      }
      expect(hostSide.server.statistics.answeredFromCache).toBeGreaterThan(4);
    });
  });
});
