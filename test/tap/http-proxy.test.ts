/** Real programs that fetch through hostd's HTTP proxy, told of it or not, with a company's proxy behind it. */
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DOCKER, IMAGE, useEngine } from "../integration/support/engine-guest.ts";
import { ensureDockerClient, ensureDockerEngine, ensureProxyClients } from "../vm/host-packages.ts";
import { HostdProcess, makeFolder } from "../vm/hostd-process.ts";
import { Company, INSIDE_WEB, PROXIES_ADDRESS, WEB } from "./company.ts";
import { DNS } from "./proxied-guest.ts";
import { type Fetch, makeContent, PROXY_CLIENTS, PROXY_URL, type WebContent } from "./proxy-clients.ts";
import { TapGuest, tapGuestsAreAvailable } from "./tap-guest.ts";
import { startSquid, type UpstreamProxy } from "./upstream-proxies.ts";

const lack =
  ensureProxyClients() ??
  ensureDockerEngine() ??
  ensureDockerClient() ??
  (tapGuestsAreAvailable() ? undefined : "no TAP guests here");
const PORT = 3128;
const SETTINGS = { dns: DNS, proxy: { upstream: `http://${PROXIES_ADDRESS}:${PORT}` } };
const SCHEMES = ["http", "https"] as const;

describe.skipIf(lack !== undefined)("programs behind a company's proxy", () => {
  let files: string;
  let company: Company;
  let squid: UpstreamProxy;
  let content: WebContent;

  beforeAll(async () => {
    files = mkdtempSync(join(tmpdir(), "hostd-company-"));
    chmodSync(files, 0o755);
    company = await Company.open("company", files);
    content = makeContent(company.web);
    squid = await startSquid(company, { port: PORT });
  });

  afterAll(async () => {
    await company?.close();
    rmSync(files, { recursive: true, force: true });
  });

  /** What a program fetches that is told of the proxy. Only who asks a proxy need not know where the name leads. */
  const told = (scheme: Fetch["scheme"]): Fetch => ({ scheme, host: INSIDE_WEB, proxy: PROXY_URL, ca: company.caPath });
  const untold = (scheme: Fetch["scheme"]): Fetch => ({ scheme, host: WEB, proxy: null, ca: company.caPath });

  /** Waits until the company's proxy has logged that it was asked for something. */
  async function wasAsked({ scheme, host }: Fetch, path: string, since: number): Promise<void> {
    const request = scheme === "http" ? `GET http://${host}${path}` : `CONNECT ${host}:443 `;
    await expect.poll(() => squid.requests.slice(since)).toContain(request);
  }

  describe("in a VM", () => {
    const folder = lack === undefined ? makeFolder("http-proxy") : "";
    let hostd: HostdProcess;
    let guest: TapGuest;

    beforeAll(async () => {
      const socket = join(folder, "vm.sock");
      const config = join(folder, "hostd.yaml");
      writeFileSync(config, JSON.stringify(SETTINGS));
      chmodSync(config, 0o644);
      const args = ["--config", config, "--qemu", `unix://${socket}`, "--state", join(folder, "state")];
      hostd = await HostdProcess.start("http-proxy", args);
      guest = await TapGuest.create({ socket, name: "guest" });
    });

    afterAll(async () => {
      await guest?.destroy();
      await hostd?.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    /** Runs the shell's commands in an empty folder, with nothing in the environment. */
    async function run(script: string): Promise<string> {
      const work = mkdtempSync(join(tmpdir(), "hostd-client-"));
      try {
        writeFileSync(join(work, "script"), script);
        const { stdout } = await guest.check(`cd ${work} && env -i HOME=$PWD PATH="$PATH" sh ./script`);
        return stdout;
      } finally {
        rmSync(work, { recursive: true, force: true });
      }
    }

    describe.each(SCHEMES)("by %s", (scheme) => {
      it.each(PROXY_CLIENTS)("$name fetches through the proxy that it is told of", async ({ script, hash, path }) => {
        const since = squid.requests.length;
        expect(await run(script(told(scheme)))).toBe(`${hash(content)}  -\n`);
        await wasAsked(told(scheme), path, since);
      });

      it.each(PROXY_CLIENTS)("$name fetches without knowing of a proxy", async ({ script, hash, path }) => {
        const since = squid.requests.length;
        expect(await run(script(untold(scheme)))).toBe(`${hash(content)}  -\n`);
        await wasAsked(untold(scheme), path, since);
      });
    });
  });

  describe("in containers", () => {
    const engine = useEngine("http-proxy-containers", DOCKER, { ...SETTINGS, docker: { injectProxyEnv: true } });
    const sums = () => PROXY_CLIENTS.map(({ hash }) => `${hash(content)}  -\n`).join("");

    /** Runs all programs in one container, which has those of this host; `socket` is that of the engine's API. */
    async function fetchAll(fetch: Fetch, socket: string): Promise<string> {
      const script = PROXY_CLIENTS.map(({ script }, index) => {
        return `mkdir -p /tmp/${index} && cd /tmp/${index} && (${script(fetch)}) || exit\n`;
      });
      const mounts = ["/usr", "/lib", "/lib64", company.caPath, process.execPath];
      const flags = ["-e", "PATH=/usr/bin:/bin", "-e", "HOME=/tmp", "-e", "NODE_USE_ENV_PROXY=1"];
      const shown = mounts.flatMap((path) => ["-v", `${path}:${path}:ro`]);
      const words = ["run", "-i", "--rm", ...flags, ...shown, IMAGE, "sh"];
      const { status, stdout, stderr } = await engine().run(words, script.join(""), socket);
      expect({ status, stdout }, stderr).toMatchObject({ status: 0 });
      return stdout;
    }

    it.each(SCHEMES)("all fetch by %s through the proxy that they find in their environment", async (scheme) => {
      const since = squid.requests.length;
      const fetch = { ...told(scheme), proxy: null };
      expect(await fetchAll(fetch, engine().socket)).toBe(sums());
      await wasAsked(fetch, "/file.bin", since);
    });

    it.each(SCHEMES)("all fetch by %s without knowing of a proxy", async (scheme) => {
      const since = squid.requests.length;
      // What asks the engine itself is given nothing by hostd.
      expect(await fetchAll(untold(scheme), engine().direct)).toBe(sums());
      await wasAsked(untold(scheme), "/file.bin", since);
    });

    /** Builds an image that fetches what it has, and gives the sums of that. */
    async function build(tag: string, host: string, flags: readonly string[]): Promise<string> {
      const context = join(engine().lab.folder, tag);
      mkdirSync(join(context, "root"), { recursive: true });
      const copy = 'cp -L --parents $(ldd $(command -v curl) | grep -o "/[^ ]*") root && cp $(command -v curl) root';
      execFileSync("sh", ["-c", copy], { cwd: context });
      copyFileSync(company.caPath, join(context, "root", "ca.pem"));
      const dockerfile = [
        `FROM ${IMAGE}`,
        "COPY root /",
        `RUN wget -q -O - http://${host}/file.bin | sha256sum >/sums`,
        `RUN /curl -sS --cacert /ca.pem https://${host}/file.bin | sha256sum >>/sums`,
      ];
      writeFileSync(join(context, "Dockerfile"), `${dockerfile.join("\n")}\n`);
      await engine().docker("build", "-q", "--no-cache", "-t", tag, ...flags, context);
      return await engine().docker("run", "--rm", tag, "cat", "/sums");
    }

    it("an image is built through the proxy that its build is told of", async () => {
      const since = squid.requests.length;
      const flags = ["http_proxy", "https_proxy"].flatMap((name) => ["--build-arg", `${name}=${PROXY_URL}`]);
      expect(await build("told", INSIDE_WEB, flags)).toBe(`${content.file}  -\n${content.file}  -`);
      for (const scheme of SCHEMES) await wasAsked(told(scheme), "/file.bin", since);
    });

    it("an image is built without knowing of a proxy", async () => {
      const since = squid.requests.length;
      expect(await build("untold", WEB, [])).toBe(`${content.file}  -\n${content.file}  -`);
      for (const scheme of SCHEMES) await wasAsked(untold(scheme), "/file.bin", since);
    });
  });

  it("have had it asked for names alone, never for an address", () => {
    const targets = squid.requests.match(/^(?:GET|CONNECT) \S+/gm) ?? [];
    expect(targets.length).toBeGreaterThan(50);
    expect(targets.filter((target) => !/^(?:GET http:\/\/|CONNECT )(?:www|inside)\.test[:/]/.test(target))).toEqual([]);
  });
});
