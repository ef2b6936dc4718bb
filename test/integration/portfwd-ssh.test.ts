import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import type { EmbeddedGuest } from "@hostd/guest";
import { formatIpv4 } from "@hostd/stack";
import type { SettingsInput } from "hostd";
import { describe, expect, it, vi } from "vitest";
import { ensureSshServer } from "../vm/host-packages.ts";
import { inLab, type Lab, type LabDaemon } from "./support/lab.ts";
import { makeSshKey, publicKey, SshServer } from "./support/ssh-server.ts";

const missing = ensureSshServer();

/** What is waited for comes soon, but the machine may be busy. */
const WAIT = { timeout: 10_000, interval: 5 };
const until = (condition: () => boolean) => vi.waitUntil(condition, WAIT);

const sha256 = (data: Uint8Array) => createHash("sha256").update(data).digest("hex");

/** The SHA-256 of what comes until the end; the other direction goes on. */
async function hashOf(stream: Duplex): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) hash.update(chunk);
  return hash.digest("hex");
}

/** All that comes until the end; the other direction goes on. */
const rest = async (stream: Duplex) => (await buffer(stream.iterator({ destroyOnReturn: false }))).toString();

/** A Unix socket in the guest, which is a folder of this host; its connections are for the test. */
async function serveSocket(lab: Lab, connected: (socket: Socket) => void, name = "guest.sock"): Promise<string> {
  const path = join(lab.folder, name);
  const server = createServer({ allowHalfOpen: true });
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket.on("error", () => {}));
    connected(socket);
  });
  server.listen(path);
  await once(server, "listening");
  lab.defer(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return path;
}

interface Options {
  readonly path: string;
  readonly forward?: Partial<NonNullable<SettingsInput["forwards"]>[number]>;
  readonly publish?: SettingsInput["publish"];
  /** Further lines of the SSH server's configuration. */
  readonly sshd?: readonly string[];
}

/** A guest with an SSH server, and a forward to one of its sockets from a socket of the host. */
async function start(lab: Lab, { path, forward = {}, publish = {}, sshd = [] }: Options) {
  const server = await SshServer.start(lab, sshd);
  const listen = join(lab.folder, "host.sock");
  const to = `ssh://${server.user}@vm${path}`;
  const daemon = await lab.start({
    forwards: [{ listen: `unix://${listen}`, to, identity: server.identity, ...forward }],
    publish: { waitSeconds: 0, ...publish },
  });
  const guest = await lab.boot();
  return { server, daemon, guest, listen, stop: server.serve(guest) };
}

/** Connects to the host's socket; what becomes of it is for the test to see. */
function client(lab: Lab, path: string): Socket {
  const socket = connect({ path, allowHalfOpen: true });
  socket.on("error", () => {});
  lab.defer(() => socket.destroy());
  return socket;
}

/** A client has to be turned away without an answer; a Unix socket has no reset, only an end. */
async function expectEnd(socket: Socket): Promise<void> {
  await once(socket.resume(), "end");
  expect(socket.bytesRead).toBe(0);
}

/** The guest's address, as it is in a file of known hosts. */
function addressOf({ lease }: EmbeddedGuest): string {
  if (lease === null) throw new Error("the guest has no address");
  return formatIpv4(lease.address);
}

const warnings = ({ log }: LabDaemon) => log.filter(({ level }) => level === "warn").map(({ msg }) => msg);

describe.skipIf(missing !== undefined)("a forward to a Unix socket in the guest over OpenSSH", () => {
  it("carries a request and its answer, from a Unix socket and from a port", () =>
    inLab(async (lab) => {
      const path = await serveSocket(lab, (socket) => socket.pipe(socket));
      const { server, listen, daemon } = await start(lab, { path });
      const socket = client(lab, listen);
      socket.end("request");
      expect(await text(socket)).toBe("request");
      expect(daemon.forwards).toEqual([`unix://${listen}`]);
      expect(server.log).toContain(`Accepted publickey for ${server.user}`);

      await daemon.close();
      const to = `ssh://${server.user}@vm${path}`;
      const other = await lab.start({ forwards: [{ listen: 0, to, identity: server.identity }] });
      server.serve(await lab.boot(2));
      const overTcp = connect(Number(other.forwards[0].split(":").at(-1)), "127.0.0.1");
      overTcp.end("request");
      expect(await text(overTcp)).toBe("request");
    }));

  it("goes on in one direction when the other has ended, whoever ends first", () =>
    inLab(async (lab) => {
      const data = randomBytes(2_000_000);
      const received = Promise.withResolvers<string>();
      const clientFirst = await serveSocket(lab, (socket) => socket.resume().once("end", () => socket.end(data)));
      const { listen, server, daemon } = await start(lab, { path: clientFirst });
      const first = client(lab, listen);
      first.end("that is all");
      expect(await hashOf(first)).toBe(sha256(data));
      await daemon.close();

      const serverFirst = await serveSocket(
        lab,
        (socket) => {
          socket.end("that is all");
          received.resolve(hashOf(socket));
        },
        "other.sock",
      );
      const to = `ssh://${server.user}@vm${serverFirst}`;
      await lab.start({ forwards: [{ listen: `unix://${listen}`, to, identity: server.identity }] });
      server.serve(await lab.boot(2));
      const second = client(lab, listen);
      expect(await rest(second)).toBe("that is all");
      second.end(data);
      expect(await received.promise).toBe(sha256(data));
    }));

  it("serves 100 clients at once over one SSH connection", () =>
    inLab(async (lab) => {
      const path = await serveSocket(lab, (socket) => socket.pipe(socket));
      const { listen, server } = await start(lab, { path });
      const requests = Array.from({ length: 100 }, (_, index) => `client ${index} `.repeat(1000));
      const answers = requests.map((request) => {
        const socket = client(lab, listen);
        socket.end(request);
        return rest(socket);
      });
      expect(await Promise.all(answers)).toEqual(requests);
      expect(server.connections).toBe(1);
    }));

  it("carries 50 MB both ways at once, unchanged, while keys are exchanged anew", () =>
    inLab(async (lab) => {
      const [up, down] = [randomBytes(50_000_000), randomBytes(50_000_000)];
      const received = Promise.withResolvers<string>();
      const path = await serveSocket(lab, (socket) => {
        socket.end(down);
        received.resolve(hashOf(socket));
      });
      const { listen, server } = await start(lab, { path, sshd: ["RekeyLimit 8M", "LogLevel DEBUG1"] });
      const socket = client(lab, listen);
      socket.end(up);
      expect(await hashOf(socket)).toBe(sha256(down));
      expect(await received.promise).toBe(sha256(up));
      expect(
        server.log.match(/rekey in progress|rekeying in progress|SSH2_MSG_NEWKEYS received/g)?.length,
      ).toBeGreaterThan(5);
    }));

  it("resets its clients when the SSH server is killed, and leads to it again once it is back", () =>
    inLab(async (lab) => {
      const path = await serveSocket(lab, (socket) => socket.pipe(socket));
      const { listen, server, guest, stop } = await start(lab, { path, publish: { waitSeconds: 30 } });
      const before = client(lab, listen);
      before.write("ping");
      await once(before, "data");
      stop();
      const hasEnded = once(before.resume(), "end");
      await server.kill();
      await hasEnded;

      // This one waits: nothing listens in the guest.
      const after = client(lab, listen);
      after.end("again");
      const answer = rest(after);
      await once(after, "connect");
      await server.start();
      server.serve(guest);
      expect(await answer).toBe("again");
      expect(server.connections).toBe(2);
    }));

  it("has clients wait for an SSH server that starts late", () =>
    inLab(async (lab) => {
      const path = await serveSocket(lab, (socket) => socket.pipe(socket));
      const { listen, server, guest, stop, daemon } = await start(lab, { path, publish: { waitSeconds: 30 } });
      stop();
      const socket = client(lab, listen);
      socket.end("early");
      await until(() => daemon.log.some(({ msg }) => msg.includes("connection refused by the guest")));
      server.serve(guest);
      expect(await rest(socket)).toBe("early");
    }));

  it("turns clients away and says why when the server does not take the key", () =>
    inLab(async (lab) => {
      const path = await serveSocket(lab, (socket) => socket.pipe(socket));
      const identity = makeSshKey(join(lab.folder, "wrong"));
      const { daemon, listen, server } = await start(lab, { path, forward: { identity } });
      await expectEnd(client(lab, listen));
      await expectEnd(client(lab, listen));
      expect(warnings(daemon)).toEqual([
        expect.stringContaining(`does not take ${identity} for the user ${server.user}; add its public key to`),
      ]);
    }));

  it.each([
    ["an encrypted key of OpenSSH's own format", ["-t", "ed25519", "-N", "secret", "-a", "2"]],
    ["an RSA key in a PEM file", ["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]],
    ["an ECDSA key", ["-t", "ecdsa", "-b", "384", "-N", ""]],
  ])("takes %s", (_, options) =>
    inLab(async (lab) => {
      const path = await serveSocket(lab, (socket) => socket.pipe(socket));
      const identity = makeSshKey(join(lab.folder, "other"), options);
      const keys = ["AuthorizedKeysFile", `${identity}.pub`].join(" ");
      const passphrase = options.includes("secret") ? { passphrase: "secret" } : {};
      // The first line of a name counts in sshd's configuration.
      const { listen } = await start(lab, { path, sshd: [keys], forward: { identity, ...passphrase } });
      const socket = client(lab, listen);
      socket.end("in");
      expect(await rest(socket)).toBe("in");
    }),
  );

  it("turns clients away and says why when there is no such socket, and serves those of one that comes", () =>
    inLab(async (lab) => {
      const path = join(lab.folder, "late.sock");
      const { daemon, listen, server } = await start(lab, { path });
      await expectEnd(client(lab, listen));
      expect(warnings(daemon)).toEqual([expect.stringContaining(`cannot open ${path}: connect failed: open failed`)]);
      await serveSocket(lab, (socket) => socket.pipe(socket), "late.sock");
      const socket = client(lab, listen);
      socket.end("there");
      expect(await rest(socket)).toBe("there");
      expect(server.connections).toBe(1);
    }));

  it.each([
    ["plainly", []],
    ["hashed", ["-H"]],
  ])("knows the server by its key, which is written %s", (_, hash) =>
    inLab(async (lab) => {
      const path = await serveSocket(lab, (socket) => socket.pipe(socket));
      const knownHosts = join(lab.folder, "known_hosts");
      const { listen, server, guest } = await start(lab, { path, forward: { knownHosts } });
      await expectEnd(client(lab, listen));

      writeFileSync(knownHosts, `${addressOf(guest)} ${server.hostKey}\n`);
      if (hash.length > 0) execFileSync("ssh-keygen", ["-q", ...hash, "-f", knownHosts], { stdio: "ignore" });
      expect(readFileSync(knownHosts, "utf8").startsWith("|1|")).toBe(hash.length > 0);
      const socket = client(lab, listen);
      socket.end("known");
      expect(await rest(socket)).toBe("known");
    }),
  );

  it("turns clients away and says why when the server shows another key than is known", () =>
    inLab(async (lab) => {
      const path = await serveSocket(lab, (socket) => socket.pipe(socket));
      const knownHosts = join(lab.folder, "known_hosts");
      const { daemon, listen, guest, server } = await start(lab, { path, forward: { knownHosts } });
      const other = makeSshKey(join(lab.folder, "other"));
      writeFileSync(knownHosts, `${addressOf(guest)} ${publicKey(other)}\n`);
      await expectEnd(client(lab, listen));
      expect(warnings(daemon)).toEqual([expect.stringContaining(`is none of those that ${knownHosts} has for`)]);
      expect(server.log).not.toContain("Accepted publickey");
    }));

  it("notices a client that went away while its stream was opened", () =>
    inLab(async (lab) => {
      const ended = Promise.withResolvers<void>();
      const path = await serveSocket(lab, (socket) => socket.resume().once("end", () => ended.resolve()));
      const { listen, server, guest, stop } = await start(lab, { path, publish: { waitSeconds: 30 } });
      stop();
      const socket = client(lab, listen);
      await once(socket, "connect");
      socket.destroy();
      server.serve(guest);
      await ended.promise;
    }));

  it("ends with the VM, and leads to the next one", () =>
    inLab(async (lab) => {
      const path = await serveSocket(lab, (socket) => socket.pipe(socket));
      const { listen, server, guest } = await start(lab, { path, publish: { waitSeconds: 30 } });
      const socket = client(lab, listen);
      socket.write("ping");
      await once(socket, "data");
      const hasEnded = once(socket.resume(), "end");
      await guest.kill();
      await hasEnded;

      const next = client(lab, listen);
      next.end("again");
      server.serve(await lab.boot());
      expect(await rest(next)).toBe("again");
    }));
});
