/** Programs that fetch something from a web server, each with its own idea of proxies. */
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What guests know the proxy on the gateway as. */
export const PROXY_URL = "http://http.docker.internal:3128";

export interface Fetch {
  readonly scheme: "http" | "https";
  readonly host: string;
  /** The proxy that the program is told of; null for none. */
  readonly proxy: string | null;
  /** A file with the certificate that the web server's is checked against. */
  readonly ca: string;
}

export interface ProxyClient {
  readonly name: string;
  /** The shell's commands that fetch something, in an empty folder, and write its SHA-256 as sha256sum does. */
  readonly script: (fetch: Fetch) => string;
  /** The SHA-256 of what is fetched. */
  readonly hash: (content: WebContent) => string;
  /** The path that it asks for, below which there may be more. */
  readonly path: string;
}

/** What a web server has for the programs. */
export interface WebContent {
  readonly file: string;
  readonly package: string;
  readonly repository: string;
}

const FILE = "/file.bin";
const PACKAGE = "hostd-probe";
const NODE_FETCH = "for await (const part of (await fetch(process.argv[1])).body) process.stdout.write(part)";
const PYTHON_FETCH =
  "import shutil, sys, urllib.request; shutil.copyfileobj(urllib.request.urlopen(sys.argv[1]), sys.stdout.buffer)";

const url = ({ scheme, host }: Fetch, path: string) => `${scheme}://${host}${path}`;
/** As most programs of Unix are told. */
const environment = ({ proxy }: Fetch) => (proxy === null ? "" : `export http_proxy=${proxy} https_proxy=${proxy}; `);
const ofFile = { hash: ({ file }: WebContent) => file, path: FILE };

/** Nothing of the host's own packages is looked at or changed. */
function aptConfiguration({ ca, proxy }: Fetch): string {
  const lines = [
    'Dir { Etc "$PWD"; State "$PWD/state"; State::status "/dev/null"; Cache "$PWD/cache"; };',
    'APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "0";',
    `Acquire::https::CAInfo "${ca}";`,
    ...(proxy === null ? [] : [`Acquire::http::Proxy "${proxy}";`]),
  ];
  return lines.join("\n");
}

export const PROXY_CLIENTS: readonly ProxyClient[] = [
  {
    name: "curl",
    script: (fetch) => `${environment(fetch)}curl -sS --cacert ${fetch.ca} ${url(fetch, FILE)} | sha256sum`,
    ...ofFile,
  },
  {
    name: "wget",
    script: (fetch) => `${environment(fetch)}wget -q --ca-certificate=${fetch.ca} -O - ${url(fetch, FILE)} | sha256sum`,
    ...ofFile,
  },
  {
    name: "apt-get",
    script: (fetch) =>
      `mkdir -p apt.conf.d preferences.d state/lists/partial cache/archives/partial && cat >apt.conf <<END
${aptConfiguration(fetch)}
END
echo 'deb [trusted=yes] ${url(fetch, "/apt")} ./' >sources.list && export APT_CONFIG=$PWD/apt.conf &&
apt-get -qq update >&2 && apt-get -qq download ${PACKAGE} >&2 && sha256sum <$(echo *.deb)`,
    hash: (content) => content.package,
    path: "/apt",
  },
  {
    name: "git",
    script: (fetch) =>
      `${environment(fetch)}export GIT_CONFIG_NOSYSTEM=1 GIT_SSL_CAINFO=${fetch.ca} &&
git clone -q ${url(fetch, "/repository.git")} clone && sha256sum <clone/content`,
    hash: ({ repository }) => repository,
    path: "/repository.git",
  },
  {
    name: "Node's fetch",
    script: (fetch) =>
      `${environment(fetch)}${fetch.proxy === null ? "" : "export NODE_USE_ENV_PROXY=1; "}NODE_EXTRA_CA_CERTS=${fetch.ca} \\
${process.execPath} --input-type=module -e '${NODE_FETCH}' ${url(fetch, FILE)} | sha256sum`,
    ...ofFile,
  },
  {
    name: "Python's urllib",
    script: (fetch) =>
      `${environment(fetch)}SSL_CERT_FILE=${fetch.ca} /usr/bin/python3 -c '${PYTHON_FETCH}' ${url(fetch, FILE)} | sha256sum`,
    ...ofFile,
  },
];

/** Fills a folder with what the programs fetch. */
export function makeContent(web: string): WebContent {
  const folder = mkdtempSync(join(tmpdir(), "hostd-content-"));
  try {
    const file = randomBytes(5_000_000);
    writeFileSync(join(web, FILE), file);
    const content = randomBytes(3_000_000);
    makeRepository(join(web, "repository.git"), folder, content);
    const archive = makePackage(join(web, "apt"), folder);
    return { file: sha256(file), package: sha256(archive), repository: sha256(content) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A bare repository that a plain web server can serve (gitprotocol-http(5), dumb clients). */
function makeRepository(path: string, folder: string, content: Buffer): void {
  const work = join(folder, "work");
  const env = { PATH: process.env.PATH, HOME: folder, GIT_CONFIG_NOSYSTEM: "1" };
  const git = (...words: string[]) => execFileSync("git", words, { env, stdio: "pipe" });
  git("init", "-q", "-b", "main", work);
  writeFileSync(join(work, "content"), content);
  git("-C", work, "add", "content");
  git("-C", work, "-c", "user.name=Tester", "-c", "user.email=tester@example.com", "commit", "-q", "-m", "Content");
  git("clone", "-q", "--bare", work, path);
  git("-C", path, "update-server-info");
}

/** A repository of one Debian package, without folders of its own. */
function makePackage(path: string, folder: string): Buffer {
  const root = join(folder, "package");
  mkdirSync(join(root, "DEBIAN"), { recursive: true });
  mkdirSync(path);
  const control = [
    `Package: ${PACKAGE}`,
    "Version: 1.0",
    "Architecture: all",
    "Maintainer: Tester <tester@example.com>",
    "Description: something to be fetched",
  ];
  writeFileSync(join(root, "DEBIAN", "control"), `${control.join("\n")}\n`);
  writeFileSync(join(root, "content"), randomBytes(1_000_000));
  const name = `${PACKAGE}_1.0_all.deb`;
  execFileSync("dpkg-deb", ["--build", "--root-owner-group", root, join(path, name)], { stdio: "pipe" });
  const archive = readFileSync(join(path, name));
  const index = [...control, `Filename: ./${name}`, `Size: ${archive.length}`, `SHA256: ${sha256(archive)}`, ""].join(
    "\n",
  );
  writeFileSync(join(path, "Packages"), `${index}\n`);
  const size = Buffer.byteLength(`${index}\n`);
  const hash = sha256(Buffer.from(`${index}\n`));
  writeFileSync(join(path, "Release"), `Suite: test\nSHA256:\n ${hash} ${size} Packages\n`);
  return archive;
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
