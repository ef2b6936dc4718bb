import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { TestAuthority } from "../../packages/httpproxy/src/testing/certificates.ts";
import { addConfiguration, ip } from "../vm/namespace.ts";
import { createOutside, type Outside } from "../vm/netns.ts";
import type { WebRequest } from "./web-server.ts";

const WEB_SERVER = join(import.meta.dirname, "web-server.ts");

/** Runs at the same time have other addresses. */
const NUMBER = 100 + (process.pid % 100);
const INSIDE = `10.213.${NUMBER}`;
/** Where the company's proxies are, for the host. */
export const PROXIES_ADDRESS = `10.214.${NUMBER}.1`;
/** The company's web server. Only its own machines, so its proxies, have a way there. */
export const WEB_ADDRESS = `${INSIDE}.80`;
/** Its name, which guests know as well. */
export const WEB = "www.test";
/** A name of it that only the company's own machines know. */
export const INSIDE_WEB = "inside.test";
/** A name of it at an address to which everybody has a way. */
export const OPEN_WEB = "open.test";
/** The zone of those names as guests know it, for the configuration of hostd. */
export const ZONE = {
  name: "test",
  records: [
    { name: "www", address: WEB_ADDRESS },
    { name: "open", address: PROXIES_ADDRESS },
  ],
};

/** Files, as PEM. */
interface Identity {
  readonly key: string;
  readonly cert: string;
}

/**
 * A company's network: a host outside where proxies run, and beyond it a web server that nobody reaches but by them.
 * Takes root.
 */
export class Company {
  readonly outside: Outside;
  /** What the web server serves. */
  readonly web: string;
  /** A file with the certificate of the authority that has signed the other two. */
  readonly caPath: string;
  /** Files with the key and the certificate of its proxies. */
  readonly proxyIdentity: Identity;
  /** What the web server was asked for. */
  readonly requests: WebRequest[] = [];
  readonly #folder: string;
  #addresses = 10;

  private constructor(outside: Outside, folder: string) {
    this.outside = outside;
    this.#folder = folder;
    this.web = join(folder, "web");
    this.caPath = join(folder, "ca.pem");
    this.proxyIdentity = this.#identity("proxy");
  }

  /**
   * @param name - of the namespace; letters and digits.
   * @param folder - an existing one, for its files.
   */
  static async open(name: string, folder: string): Promise<Company> {
    const company = new Company(await createOutside({ name }), folder);
    try {
      await company.#begin();
      return company;
    } catch (error) {
      await company.close();
      throw error;
    }
  }

  /** Gives it one more address, as which a proxy reaches the web server. */
  async addAddress(): Promise<string> {
    const address = `${INSIDE}.${this.#addresses++}`;
    await ip("-n", this.outside.namespace, "address", "add", `${address}/32`, "dev", "lo");
    return address;
  }

  /** A folder for a program that may run as any user. */
  makeFolder(name: string): string {
    const folder = join(this.#folder, name);
    mkdirSync(folder);
    chmodSync(folder, 0o777);
    return folder;
  }

  /** Adds a user to those whom programs of its machines know. */
  async addUser(name: string, password: string): Promise<void> {
    const hash = execFileSync("openssl", ["passwd", "-6", "-stdin"], { input: `${password}\n`, encoding: "utf8" });
    const { namespace } = this.outside;
    const users = `${readFileSync("/etc/passwd", "utf8")}${name}:x:64000:64000::/nonexistent:/bin/false\n`;
    writeFileSync(await addConfiguration(namespace, "passwd"), users);
    writeFileSync(await addConfiguration(namespace, "shadow"), `${name}:${hash.trim()}:::::::\n`);
  }

  async close(): Promise<void> {
    await this.outside.destroy();
  }

  #identity(name: string): Identity {
    return { key: join(this.#folder, `${name}.key`), cert: join(this.#folder, `${name}.pem`) };
  }

  async #begin(): Promise<void> {
    const { namespace } = this.outside;
    await ip("-n", namespace, "address", "add", `${WEB_ADDRESS}/32`, "dev", "lo");
    await this.outside.addAddress(PROXIES_ADDRESS);
    await this.outside.blockRoute(`${INSIDE}.0/24`, "unreachable");
    // Nothing is looked up elsewhere, and nothing leaves.
    writeFileSync(await addConfiguration(namespace, "resolv.conf"), "nameserver 127.0.0.1\n");
    await ip("-n", namespace, "route", "delete", "default");
    const names = `127.0.0.1 localhost\n${WEB_ADDRESS} ${WEB} ${INSIDE_WEB}\n`;
    writeFileSync(await addConfiguration(namespace, "hosts"), names);
    mkdirSync(this.web);
    const authority = await TestAuthority.make();
    writeFileSync(this.caPath, authority.ca);
    const identify = async ({ key, cert }: Identity, subjects: readonly string[]) => {
      const signed = await authority.sign(subjects);
      writeFileSync(key, signed.key);
      writeFileSync(cert, signed.cert);
    };
    await identify(this.proxyIdentity, [`IP:${PROXIES_ADDRESS}`]);
    const { key, cert } = this.#identity("web");
    await identify({ key, cert }, [`DNS:${WEB}`, `DNS:${INSIDE_WEB}`, `DNS:${OPEN_WEB}`]);
    const server = this.outside.spawn(process.execPath, [WEB_SERVER, this.web, key, cert]);
    let errors = "";
    server.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
    await new Promise<void>((resolve, reject) => {
      server.once("close", (status) => reject(new Error(`the web server ended with ${status}: ${errors}`)));
      createInterface(server.stdout).on("line", (line) => {
        if (line === "ready") resolve();
        else this.requests.push(JSON.parse(line) as WebRequest);
      });
    });
  }
}
