import { generateKeyPairSync } from "node:crypto";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2, { type ParsedKey } from "ssh2";
import { describe, expect, test } from "vitest";
import { parseIdentity, readIdentity } from "./ssh-identity.ts";
import { cleanUp } from "./testing/harness.ts";
import { makeKey, makeRsaKey, temporaryFile } from "./testing/ssh-guest.ts";

const PATH = "/home/user/.ssh/id";

const parse = (text: string, passphrase?: string): ParsedKey =>
  parseIdentity(ssh2.utils.parseKey, PATH, Buffer.from(text), passphrase);

/** A damaged copy of a text of base64 lines. */
const damaged = (text: string) => text.replace(/^(.*\n.*\n)/, (start) => `${start.slice(0, -20)}\n`);

describe("the file of an identity", () => {
  test("is read", async () => {
    expect((await readIdentity(temporaryFile("id", "content"))).toString()).toBe("content");
  });

  test("may be missing", async () => {
    await expect(readIdentity("/missing/id")).rejects.toThrow("the SSH identity /missing/id does not exist; name the");
  });

  test("may be a folder", async () => {
    const folder = mkdtempSync(join(tmpdir(), "hostd-id-"));
    cleanUp(() => rmSync(folder, { recursive: true }));
    await expect(readIdentity(folder)).rejects.toThrow(`${folder} is no regular file; name the file of a private key`);
  });

  test("may be closed to hostd", async () => {
    const path = temporaryFile("id", "content");
    chmodSync(path, 0);
    const isSuperuser = process.getuid?.() === 0;
    if (isSuperuser) process.seteuid?.("nobody");
    try {
      await expect(readIdentity(path)).rejects.toThrow(
        "may not be read; make it readable for the user that hostd runs",
      );
    } finally {
      if (isSuperuser) process.seteuid?.(0);
    }
  });

  test("may lead elsewhere, which is told as the system tells it", async () => {
    const path = join(temporaryFile("id", "content"), "below");
    await expect(readIdentity(path)).rejects.toThrow(`the SSH identity ${path} cannot be read: ENOTDIR`);
  });

  test("is not taken when it is far too long for a key", async () => {
    const path = temporaryFile("id", "x".repeat(64 * 1024 + 1));
    await expect(readIdentity(path)).rejects.toThrow("is no private key: it has more than 65536 bytes");
  });
});

describe("an identity", () => {
  test.each([
    ["OpenSSH's own format", makeKey().privateText, "ssh-ed25519"],
    ["a PEM file with an RSA key", makeRsaKey().privateText, "ssh-rsa"],
  ])("in %s is a key", (_, text, type) => {
    const key = parse(text);
    expect(key.type).toBe(type);
    expect(key.isPrivateKey()).toBe(true);
  });

  test("in a file with line ends of Windows is a key", () => {
    expect(parse(makeKey().privateText.replaceAll("\n", "\r\n")).type).toBe("ssh-ed25519");
  });

  test("that is not encrypted does not mind a passphrase", () => {
    expect(parse(makeKey().privateText, "secret").type).toBe("ssh-ed25519");
  });

  describe("that is encrypted", () => {
    const { privateText } = makeKey("secret");
    const pem = generateKeyPairSync("rsa", { modulusLength: 2048 })
      .privateKey.export({ type: "pkcs1", format: "pem", cipher: "aes-128-cbc", passphrase: "secret" })
      .toString();

    test.each([
      ["OpenSSH's own format", privateText, "ssh-ed25519"],
      ["a PEM file", pem, "ssh-rsa"],
    ])("is a key with its passphrase: %s", (_, text, type) => {
      expect(parse(text, "secret").type).toBe(type);
    });

    test.each([
      ["OpenSSH's own format", privateText],
      ["a PEM file", pem],
    ])("needs its passphrase: %s", (_, text) => {
      expect(() => parse(text)).toThrow(
        `the SSH identity ${PATH} is encrypted; give its passphrase, or take that off it with "ssh-keygen -p -f ${PATH}"`,
      );
    });

    test.each([
      ["OpenSSH's own format", privateText],
      ["a PEM file", pem],
    ])("is not opened by another passphrase: %s", (_, text) => {
      expect(() => parse(text, "guess")).toThrow(`${PATH} is not opened by the passphrase that is given: `);
      expect(() => parse(text, "")).toThrow(`${PATH} is not opened by the passphrase that is given: `);
    });
  });

  test("must not be the public half", () => {
    expect(() => parse(makeKey().publicText)).toThrow(`${PATH} holds a public key; name the file of the private one`);
  });

  test.each([
    ["is empty", ""],
    ["holds something else", "something else"],
    ["is damaged", damaged(makeKey().privateText)],
    ["is cut off", makeKey().privateText.slice(0, 200)],
    [
      "is in a format that is not known",
      generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    ],
  ])("whose file %s is told to be made anew or converted", (_, text) => {
    expect(() => parse(text)).toThrow(
      /^the SSH identity \/home\/user\/\.ssh\/id holds no private key in a format that is known \(.+\); convert it with "ssh-keygen -p -f \/home\/user\/\.ssh\/id", or make a new key/,
    );
  });
});
