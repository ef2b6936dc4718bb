import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { makeFolder } from "../../../streams/src/testing/peer.ts";

const openssl = promisify(execFile);
const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

export interface Certificate {
  /** Both as PEM. */
  readonly key: string;
  readonly cert: string;
}

/** An authority that signs certificates for a test, by the program openssl. */
export class TestAuthority {
  /** Its own certificate, as PEM. */
  readonly ca: string;
  readonly #folder: string;
  #count = 0;

  private constructor(folder: string, ca: string) {
    this.#folder = folder;
    this.ca = ca;
  }

  static async make(): Promise<TestAuthority> {
    const folder = await makeFolder();
    const files = ["-keyout", join(folder, "ca.key"), "-out", join(folder, "ca.pem")];
    await openssl("openssl", ["req", "-x509", ...KEY, ...files, "-days", "2", "-subj", "/CN=test authority"]);
    return new TestAuthority(folder, await readFile(join(folder, "ca.pem"), "utf8"));
  }

  /**
   * @param subjects - as in `DNS:proxy.test`, `IP:127.0.0.1`.
   * @param days - until it expires, or -1 for one that has expired.
   */
  async sign(subjects: readonly string[], days = 2): Promise<Certificate> {
    const base = join(this.#folder, `${++this.#count}`);
    const request = ["-keyout", `${base}.key`, "-out", `${base}.csr`, "-subj", "/CN=test proxy"];
    await openssl("openssl", ["req", ...KEY, ...request]);
    await writeFile(`${base}.ext`, `subjectAltName=${subjects.join()}\n`);
    const signer = ["-CA", join(this.#folder, "ca.pem"), "-CAkey", join(this.#folder, "ca.key"), "-CAcreateserial"];
    const files = ["-in", `${base}.csr`, "-out", `${base}.pem`, "-extfile", `${base}.ext`];
    await openssl("openssl", ["x509", "-req", ...files, ...signer, "-days", `${days}`]);
    return { key: await readFile(`${base}.key`, "utf8"), cert: await readFile(`${base}.pem`, "utf8") };
  }
}
