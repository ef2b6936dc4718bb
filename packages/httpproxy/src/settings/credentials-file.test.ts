import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { makeFolder } from "../../../streams/src/testing/peer.ts";
import { CredentialsFile, CredentialsFileError } from "./credentials-file.ts";

const isRoot = process.geteuid?.() === 0;
let path: string;

beforeEach(async () => {
  path = join(await makeFolder(), "credentials");
});

function write(text: string | Uint8Array, mode = 0o600): void {
  writeFileSync(path, text);
  chmodSync(path, mode);
}

/** Why the file is refused. */
function refusal(file = new CredentialsFile(path)): string {
  try {
    file.read();
  } catch (error) {
    expect(error).toBeInstanceOf(CredentialsFileError);
    const { message } = error as CredentialsFileError;
    expect(message.startsWith(`cannot take credentials from ${path}: `)).toBe(true);
    expect(message).not.toContain("secret");
    return message;
  }
  throw new Error("it is not refused");
}

describe("a file that is taken", () => {
  test.each([
    ["me:secret\n", "me", "secret"],
    ["me:secret", "me", "secret"],
    ["me:secret\r\n", "me", "secret"],
    ["me:", "me", ""],
    ["CORP\\me: a:b @/%41 \n", "CORP\\me", " a:b @/%41 "],
    ["mé:wörd\n", "mé", "wörd"],
  ])("%j", (text, user, password) => {
    write(text);
    expect(new CredentialsFile(path).read()).toEqual({ user, password });
  });

  test.each([0o600, 0o400])("has the mode %o", (mode) => {
    write("me:secret", mode);
    expect(new CredentialsFile(path).read().password).toBe("secret");
  });

  test("may be as large as allowed", () => {
    write(`me:${"a".repeat(4093)}`);
    expect(new CredentialsFile(path).read().password).toHaveLength(4093);
  });
});

describe("a file that is refused", () => {
  test.each([0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o777])("has the mode %o", (mode) => {
    write("me:secret", mode);
    expect(refusal()).toContain(`its mode is 0${mode.toString(8)}; allowed: 0600 and 0400`);
  });

  test("belongs to somebody else", () => {
    write("me:secret");
    const uid = process.geteuid!();
    expect(refusal(new CredentialsFile(path, { uid: uid + 1 }))).toContain(
      `it belongs to user ${uid}, not to user ${uid + 1}`,
    );
  });

  test.runIf(isRoot)("belongs to somebody else, though root could read it", () => {
    write("me:secret");
    chownSync(path, 1, 1);
    expect(refusal()).toContain("it belongs to user 1, not to user 0");
  });

  test("is not there", () => {
    expect(refusal()).toContain("there is no such file");
  });

  test("is a symbolic link, wherever it leads", () => {
    write("me:secret");
    renameSync(path, `${path}.real`);
    symlinkSync(`${path}.real`, path);
    expect(refusal()).toContain("it is a symbolic link");
  });

  test("is a folder", () => {
    mkdirSync(path, 0o700);
    expect(refusal()).toContain("it is no regular file");
  });

  test("is a pipe that nobody writes to, which is not waited for", () => {
    execFileSync("mkfifo", ["-m", "600", path]);
    expect(refusal()).toContain("it is no regular file");
  });

  test("is a device", () => {
    expect(() => new CredentialsFile("/dev/zero").read()).toThrow("it is no regular file");
  });

  test.each([
    ["", "it is empty"],
    ["\n", "it is empty"],
    ["secret\n", "there is no user with a colon after it"],
    [":secret\n", "there is no user with a colon after it"],
    ["me:secret\nyou:secret\n", "more than one line"],
    ["me:secret\n\n", "more than one line"],
    ["me:sec\0secret", "a control character"],
    ["me:secret\r", "a control character"],
    [new Uint8Array([0x6d, 0x3a, 0xff, 0xfe]), "it is not UTF-8"],
    [`me:${"a".repeat(4094)}`, "it is larger than 4096 bytes"],
    ["\n".repeat(1_000_000), "it is larger than 4096 bytes"],
  ])("has something else in it: %j", (text, reason) => {
    write(text);
    expect(refusal()).toContain(reason);
  });
});

describe("a change", () => {
  let file: CredentialsFile;

  beforeEach(() => {
    write("me:one");
    file = new CredentialsFile(path);
    expect(file.read().password).toBe("one");
  });

  test("holds for the next use when the file is written", () => {
    writeFileSync(path, "me:other");
    expect(file.read().password).toBe("other");
  });

  test("holds for the next use when another file takes its place, of the same size and time", () => {
    const time = new Date(1_700_000_000_000);
    utimesSync(path, time, time);
    expect(file.read().password).toBe("one");
    writeFileSync(`${path}.new`, "me:two", { mode: 0o600 });
    utimesSync(`${path}.new`, time, time);
    renameSync(`${path}.new`, path);
    expect(file.read().password).toBe("two");
  });

  test("of the mode refuses it from then on, and it is taken when that is put right", () => {
    chmodSync(path, 0o644);
    expect(refusal(file)).toContain("its mode is 0644");
    expect(refusal(file)).toContain("its mode is 0644");
    chmodSync(path, 0o600);
    expect(file.read().password).toBe("one");
  });

  test("that takes it away refuses it until it is back", () => {
    rmSync(path);
    expect(refusal(file)).toContain("there is no such file");
    write("me:two");
    expect(file.read().password).toBe("two");
  });

  test("into a link to a file that would be taken refuses it", () => {
    renameSync(path, `${path}.real`);
    symlinkSync(`${path}.real`, path);
    expect(refusal(file)).toContain("it is a symbolic link");
  });

  test("is the only reason to read it again", () => {
    const before = file.read();
    expect(file.read()).toBe(before);
    writeFileSync(path, "me:one");
    expect(file.read()).not.toBe(before);
  });
});
