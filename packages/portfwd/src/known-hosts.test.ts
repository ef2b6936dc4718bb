import { createHash, createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { readKnownHosts } from "./known-hosts.ts";
import { makeKey, makeRsaKey, type SshKey, temporaryFile } from "./testing/ssh-guest.ts";

const ADDRESS = "192.168.65.3";
const [KEY, OTHER] = [makeKey(), makeKey()];

const blob = ({ publicText }: SshKey) => Buffer.from(publicText.split(" ")[1], "base64");

const read = (lines: readonly string[], port = 22) =>
  readKnownHosts(temporaryFile("known_hosts", lines.join("\n")), ADDRESS, port);

/** What is said against a key. */
const refusal = async (lines: readonly string[], key: SshKey, port = 22) =>
  (await read(lines, port)).refusal(blob(key));

function hashed(name: string): string {
  const salt = Buffer.from("a salt of 20 bytes..");
  return `|1|${salt.toString("base64")}|${createHmac("sha1", salt).update(name).digest("base64")}`;
}

describe("a file of known hosts", () => {
  test.each([
    ["by its address", ADDRESS],
    ["by one of several names", `guest,${ADDRESS},guest.local`],
    ["by a hash of its address", hashed(ADDRESS)],
    ["by patterns", "192.168.6?.*"],
    ["by a pattern that is long in the making", "*1*9*2*.*8*.*.*3"],
  ])("has a server %s", async (_, hosts) => {
    const lines = [`${hosts} ${KEY.publicText} a comment`];
    expect(await refusal(lines, KEY)).toBe(null);
    const fingerprint = createHash("sha256").update(blob(OTHER)).digest("base64").replace(/=*$/, "");
    expect(await refusal(lines, OTHER)).toContain(`the key SHA256:${fingerprint} that the SSH server shows is none of`);
  });

  test.each([
    ["by its address and port", `[${ADDRESS}]:2222`],
    ["by a hash of its address and port", hashed(`[${ADDRESS}]:2222`)],
    ["by its address alone, as OpenSSH does", ADDRESS],
  ])("has a server on another port %s", async (_, hosts) => {
    expect(await refusal([`${hosts} ${KEY.publicText}`], KEY, 2222)).toBe(null);
    expect(await refusal([`${hosts} ${KEY.publicText}`], OTHER, 2222)).toContain("is none of those");
  });

  test("takes no key of the address for a port that has one of its own", async () => {
    const lines = [`${ADDRESS} ${OTHER.publicText}`, `[${ADDRESS}]:2222 ${KEY.publicText}`];
    expect(await refusal(lines, KEY, 2222)).toBe(null);
    expect(await refusal(lines, OTHER, 2222)).toContain("is none of those");
  });

  test("may have several keys of a server", async () => {
    const lines = [`${ADDRESS} ${KEY.publicText}`, `${ADDRESS} ${OTHER.publicText}`];
    expect(await refusal(lines, KEY)).toBe(null);
    expect(await refusal(lines, OTHER)).toBe(null);
  });

  test("takes comments, empty lines, authorities and what it does not understand for nothing", async () => {
    const nothing = [
      "",
      "   ",
      `# ${ADDRESS} ${OTHER.publicText}`,
      `@cert-authority ${ADDRESS} ${OTHER.publicText}`,
      `@unknown ${ADDRESS} ${OTHER.publicText}`,
      ADDRESS,
      `${ADDRESS} ssh-ed25519`,
      `|1|broken ${OTHER.publicText}`,
      `|2|AAAA|AAAA ${OTHER.publicText}`,
      `${hashed("192.168.65.4")} ${OTHER.publicText}`,
    ];
    expect(await refusal([...nothing, `\t${ADDRESS}\t${KEY.publicText}\r`], KEY)).toBe(null);
    expect(await refusal([...nothing, `${ADDRESS} ${KEY.publicText}`], OTHER)).toContain("is none of those");
  });

  test.each([
    ["is not in it", [`192.168.65.30 ${KEY.publicText}`, `192.168.65 ${KEY.publicText}`]],
    ["is left out by its name", [`*,!${ADDRESS} ${KEY.publicText}`]],
    ["has an entry for another port alone", [`[${ADDRESS}]:2222 ${KEY.publicText}`]],
    ["has a key of a type that nothing here knows", [`${ADDRESS} ssh-dss ${KEY.publicText.split(" ")[1]}`]],
  ])("has no key of a server that %s", async (_, lines) => {
    await expect(read(lines)).rejects.toThrow(/^the file of known hosts \S+ has no key of 192\.168\.65\.3; add it/);
  });

  test("names the port of a server that it has no key of", async () => {
    await expect(read([], 2222)).rejects.toThrow(
      'has no key of [192.168.65.3]:2222; add it, such as with "ssh-keyscan -p 2222 192.168.65.3"',
    );
  });

  test.each([
    ["everywhere", "*"],
    ["for its address and port", `[${ADDRESS}]:2222`],
  ])("may have a key that was revoked %s", async (_, hosts) => {
    const lines = [
      `${ADDRESS} ${KEY.publicText}`,
      `${ADDRESS} ${OTHER.publicText}`,
      `@revoked ${hosts} ${KEY.publicText}`,
    ];
    expect(await refusal(lines, KEY, 2222)).toContain("is revoked in ");
    expect(await refusal(lines, OTHER, 2222)).toBe(null);
  });

  test("has the server show a key of a type that it has", async () => {
    expect((await read([`${ADDRESS} ${makeRsaKey().publicText}`])).algorithms).toEqual([
      "rsa-sha2-512",
      "rsa-sha2-256",
    ]);
    expect((await read([`${ADDRESS} ${KEY.publicText}`, `${ADDRESS} ${OTHER.publicText}`])).algorithms).toEqual([
      "ssh-ed25519",
    ]);
  });

  test("may be missing", async () => {
    await expect(readKnownHosts("/missing/known_hosts", ADDRESS, 22)).rejects.toThrow(
      "the file of known hosts /missing/known_hosts cannot be read: ENOENT",
    );
  });
});
