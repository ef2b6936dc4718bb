import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import {
  createServer,
  Agent as HttpAgent,
  type IncomingMessage,
  type RequestOptions,
  request,
  type Server,
} from "node:http";
import * as http2 from "node:http2";
import type { Server as NetServer, Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { buffer } from "node:stream/consumers";
import { parseIpv4 } from "@hostd/stack";
import { describe, expect, test } from "vitest";
import { idle, startPair, startProxy } from "../../packages/docker/src/testing/proxy-harness.ts";
import { AttachedVm } from "../../packages/portfwd/src/attached-vm.ts";
import { SshTunnels } from "../../packages/portfwd/src/ssh-tunnels.ts";
import { SOCKET, SshGuest } from "../../packages/portfwd/src/testing/ssh-guest.ts";
import { pattern } from "../../packages/stack/src/testing/random.ts";
import { LinkedStacks } from "../../packages/streams/src/testing/linked-stacks.ts";
import { sha256 } from "../../packages/streams/src/testing/pattern.ts";
import { cleanUp, dialPath, makeFolder, Peer, settle, startServer } from "../../packages/streams/src/testing/peer.ts";
import { RecordingLogger } from "../../packages/streams/src/testing/recording-logger.ts";
import { inLab } from "./support/lab.ts";

const UPGRADE = "POST /v1.44/containers/web/attach?stream=1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const UPGRADED = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
const GET = "GET /info HTTP/1.1\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** A server of Node's on a Unix socket, and a proxy to it. */
async function serve(server: NetServer) {
  const path = join(await makeFolder(), "engine.sock");
  server.listen(path);
  await once(server, "listening");
  cleanUp(() => server.close());
  return { path, ...(await startProxy({ dial: () => dialPath(path) })) };
}

/** What a client sees of an answer. */
interface Answer {
  readonly status: number | undefined;
  readonly reason: string | undefined;
  readonly headers: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
  readonly interim: readonly number[];
}

/** Makes a request with Node's client. */
async function ask(options: RequestOptions, write: (call: ReturnType<typeof request>) => void): Promise<Answer> {
  const call = request(options);
  const interim: number[] = [];
  call.on("information", ({ statusCode }) => interim.push(statusCode));
  call.on("continue", () => interim.push(100));
  const answered = once(call, "response") as Promise<[IncomingMessage]>;
  write(call);
  const [answer] = await answered;
  const content = await buffer(answer);
  const { statusCode: status, statusMessage: reason, rawHeaders, rawTrailers: trailers } = answer;
  // The time may have passed to the next second.
  const headers = rawHeaders.filter((_, at) => rawHeaders[at & ~1] !== "Date");
  return { status, reason, headers, body: sha256(content), trailers, interim };
}

function makeHttpEngine(): Server {
  const server = createServer();
  server.on("request", (incoming, answer) => {
    if (incoming.url === "/empty") {
      answer.writeHead(204, "Nothing Here").end();
    } else if (incoming.url === "/unchanged") {
      answer.writeHead(304, { ETag: "x" }).end();
    } else if (incoming.url === "/head") {
      answer.writeHead(200, { "Content-Length": "12345" }).end();
    } else if (incoming.url === "/hints") {
      answer.writeEarlyHints({ link: "</a>; rel=preload" });
      answer.end("hints");
    } else {
      answer.writeHead(200, [
        ["x-Twice", "one"],
        ["X-TWICE", "two"],
        ["Trailer", "Digest"],
      ]);
      const hash = createHash("sha256");
      incoming.on("data", (bytes: Buffer) => {
        hash.update(bytes);
        if (!answer.write(bytes)) incoming.pause();
      });
      answer.on("drain", () => incoming.resume());
      incoming.on("end", () => {
        answer.addTrailers([
          ["Digest", hash.digest("hex")],
          ["X-Sent", JSON.stringify(incoming.rawTrailers)],
        ]);
        answer.end();
      });
    }
  });
  return server;
}

describe("HTTP between Node's client and server", () => {
  test("is the same through the proxy as without, over connections that are kept", async () => {
    const engine = makeHttpEngine();
    const { path, proxy } = await serve(engine);
    let connections = 0;
    engine.on("connection", () => connections++);
    const content = pattern(0, 3_000_000);
    const calls: [string, RequestOptions, (call: ReturnType<typeof request>) => void][] = [
      ["HEAD", { method: "HEAD", path: "/head" }, (call) => call.end()],
      ["204", { method: "DELETE", path: "/empty" }, (call) => call.end()],
      ["304", { path: "/unchanged" }, (call) => call.end()],
      ["103", { path: "/hints" }, (call) => call.end()],
      [
        "a length",
        { method: "PUT", path: "/", headers: { "Content-Length": content.length } },
        (call) => call.end(content),
      ],
      [
        "chunks and trailers",
        { method: "POST", path: "/", headers: { Trailer: "X-End" } },
        (call) => {
          for (let at = 0; at < content.length; at += 30_000) call.write(content.subarray(at, at + 30_000));
          call.addTrailers({ "X-End": "yes" });
          call.end();
        },
      ],
      [
        "100",
        { method: "POST", path: "/", headers: { Expect: "100-continue", "Content-Length": 5 } },
        (call) => call.on("continue", () => call.end("hello")),
      ],
    ];
    for (const [, options, write] of calls) {
      const agents = [path, proxy.path].map(() => new HttpAgent({ keepAlive: true, maxSockets: 1 }));
      const answers: Answer[] = [];
      connections = 0;
      for (const [at, agent] of agents.entries()) {
        for (let round = 0; round < 3; round++) {
          answers.push(await ask({ ...options, agent, socketPath: [path, proxy.path][at] }, write));
        }
        agent.destroy();
      }
      for (const answer of answers) expect(answer).toEqual(answers[0]);
      // One without the proxy, and one with it.
      expect(connections).toBe(2);
    }
    await idle(proxy);
  });

  test("becomes a stream by Node's upgrade, with each end on its own", async () => {
    const engine = createServer();
    engine.on("upgrade", (_request, socket: Duplex, first: Buffer) => {
      socket.write(UPGRADED);
      const hash = createHash("sha256").update(first);
      socket.on("data", (bytes: Buffer) => hash.update(bytes));
      // It answers when it has heard all.
      socket.on("end", () => socket.end(hash.digest("hex")));
    });
    const { proxy } = await serve(engine);
    const content = pattern(0, 20_000_000);
    const call = request({
      socketPath: proxy.path,
      method: "POST",
      path: "/v1.44/exec/1/start",
      headers: { Connection: "Upgrade", Upgrade: "tcp" },
    });
    call.end();
    const [answer, socket] = (await once(call, "upgrade")) as [IncomingMessage, Socket];
    expect(answer.statusMessage).toBe("UPGRADED");
    socket.end(content);
    expect((await buffer(socket)).toString()).toBe(sha256(content));
    await idle(proxy);
  });

  test("becomes a websocket", async () => {
    const engine = createServer();
    engine.on("upgrade", ({ headers }, socket: Duplex) => {
      const key = createHash("sha1").update(`${headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
      socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
          `Sec-WebSocket-Accept: ${key.digest("base64")}\r\n\r\n`,
      );
      socket.on("data", (frame: Buffer) => {
        // A short text frame, masked (RFC 6455, 5.2), comes back in capitals and unmasked; then the close.
        const mask = frame.subarray(2, 6);
        const text = Buffer.from(frame.subarray(6).map((byte, at) => byte ^ mask[at & 3])).toString();
        socket.write(Buffer.concat([Buffer.of(0x81, text.length), Buffer.from(text.toUpperCase())]));
        socket.end(Buffer.of(0x88, 0));
      });
    });
    const { proxy } = await serve(engine);
    const key = randomBytes(16).toString("base64");
    const call = request({
      socketPath: proxy.path,
      path: "/v1.44/containers/web/attach/ws?stream=1",
      headers: { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13" },
    });
    call.end();
    const [answer, socket] = (await once(call, "upgrade")) as [IncomingMessage, Socket];
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    expect(answer.headers["sec-websocket-accept"]).toBe(accept);
    const mask = randomBytes(4);
    const masked = Buffer.from("hello").map((byte, at) => byte ^ mask[at & 3]);
    socket.write(Buffer.concat([Buffer.of(0x81, 0x80 | masked.length), mask, masked]));
    const frames = await buffer(socket);
    expect(frames.toString("latin1")).toBe("\x81\x05HELLO\x88\0");
    await idle(proxy);
  });
});

test("HTTP/2 with prior knowledge passes, with many streams of one connection", async () => {
  const engine = http2.createServer();
  engine.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
    stream.respond({ ":status": 200, "x-path": headers[":path"] }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.pipe(stream);
  });
  const { proxy } = await serve(engine);
  const socket = await dialPath(proxy.path);
  const session = http2.connect("http://docker", { createConnection: () => socket });
  const contents = Array.from({ length: 20 }, (_, at) => pattern(at * 1000, 200_000 + at));
  const answers = await Promise.all(
    contents.map(async (content, at) => {
      const stream = session.request({ ":method": "POST", ":path": `/moby.buildkit.v1.Control/${at}` });
      const trailers = once(stream, "trailers");
      const answered = once(stream, "response");
      stream.end(content);
      const body = await buffer(stream);
      const [[head], [tail]] = await Promise.all([answered, trailers]);
      return [head["x-path"], tail["grpc-status"], sha256(body)];
    }),
  );
  expect(answers).toEqual(contents.map((content, at) => [`/moby.buildkit.v1.Control/${at}`, "0", sha256(content)]));
  session.close();
  await once(session, "close");
  await idle(proxy);
});

test("HTTP/2 passes hostd as long as no mounts are forbidden, which could not be judged in it", () =>
  inLab(async (lab) => {
    const engine = http2.createServer();
    engine.on("stream", (stream: http2.ServerHttp2Stream) => stream.respond({ ":status": 200 }, { endStream: true }));
    const upstream = join(lab.folder, "engine.sock");
    engine.listen(upstream);
    await once(engine, "listening");
    lab.defer(() => engine.close());
    const serve = async (name: string, forbiddenMounts: string[]) => {
      const path = join(lab.folder, `${name}.sock`);
      const docker = { listen: `unix://${path}`, upstream: `unix://${upstream}`, forbiddenMounts };
      const { log } = await lab.start({ qemu: [`unix://${join(lab.folder, `${name}.vm`)}`], docker });
      const socket = await dialPath(path);
      const session = http2.connect("http://docker", { createConnection: () => socket });
      session.on("error", () => {});
      lab.defer(() => session.destroy());
      return { log, session };
    };

    const open = await serve("open", []);
    const [head] = await once(open.session.request({ ":path": "/v1.51/containers/json" }), "response");
    expect(head[":status"]).toBe(200);

    const closed = await serve("closed", ["/etc"]);
    closed.session.request({ ":path": "/v1.51/containers/json" }).on("error", () => {});
    const [code, , reason] = (await once(closed.session, "goaway")) as [number, number, Buffer];
    expect(code).toBe(http2.constants.NGHTTP2_HTTP_1_1_REQUIRED);
    expect(String(reason)).toBe("hostd takes HTTP/1.1 only: docker.forbiddenMounts cannot be judged in HTTP/2");
    expect(closed.log.filter(({ level }) => level === "warn")).toMatchObject([
      { msg: "a Docker client that speaks HTTP/2 is refused", reason: expect.stringContaining("forbiddenMounts") },
    ]);
  }));

describe("an engine in the guest", () => {
  /** A proxy whose engine is behind two stacks, and a client whose connection has become a stream. */
  async function startGuest() {
    const linked = new LinkedStacks();
    cleanUp(() => linked.close());
    const accepted: Peer[] = [];
    linked.listen(2375, (stream) => accepted.push(new Peer(stream)));
    const proxy = await startProxy({ dial: () => linked.connect(2375) });
    const client = await proxy.connect();
    client.write(UPGRADE);
    while (accepted.length === 0) await settle(1);
    const [server] = accepted;
    await server.gets(UPGRADE);
    server.write(UPGRADED);
    await client.gets(UPGRADED);
    return { linked, client, server, ...proxy };
  }

  test("is sent and sends megabytes, and each end comes behind them", async () => {
    const { client, server, proxy, linked } = await startGuest();
    const [there, back] = [pattern(0, 4_000_000), pattern(7, 4_000_000)];
    client.end(there);
    await server.ends();
    expect(sha256(server.received.subarray(UPGRADE.length))).toBe(sha256(there));
    server.end(back);
    await client.ends();
    expect(sha256(client.received.subarray(UPGRADED.length))).toBe(sha256(back));
    await idle(proxy);
    expect(linked.resets).toBe(0);
  });

  test("that does not read holds its client up, and hears all in the end", async () => {
    const { client, server } = await startGuest();
    server.stream.pause();
    let sent = 0;
    while (client.stream.writableLength < 200_000) {
      client.write(pattern(sent, 50_000));
      sent += 50_000;
      await settle(10);
      expect(sent).toBeLessThan(20_000_000);
    }
    server.stream.resume();
    client.end();
    await server.ends();
    expect(sha256(server.received.subarray(UPGRADE.length))).toBe(sha256(pattern(0, sent)));
  });

  test("hears at once when a client has gone", async () => {
    const { client, server, proxy } = await startGuest();
    client.destroy();
    await server.until(() => server.hasEnded || server.isClosed);
    await idle(proxy);
  });

  test("that resets ends its client's connection both ways", async () => {
    const { client, server, proxy } = await startGuest();
    server.write("last words");
    await client.gets(`${UPGRADED}last words`);
    server.destroy();
    await client.ends();
    await idle(proxy);
    client.write("x");
    await client.closes();
    expect(client.failure).toBe("EPIPE");
  });

  test("that goes with its VM ends its client's connection", async () => {
    const { client, linked, proxy } = await startGuest();
    linked.vanish();
    await client.ends();
    await idle(proxy);
  });
});

describe("an engine behind SSH", () => {
  async function startSsh() {
    const guest = new SshGuest();
    const attached = new AttachedVm(guest, {
      maxQueuedBytes: 1 << 20,
      outOfMemory: () => {},
      ready: () => {},
      detached: () => {},
    });
    const tunnels = new SshTunnels({ logger: new RecordingLogger(), gateway: parseIpv4("192.168.65.1") });
    cleanUp(() => tunnels.close());
    const channels: Peer[] = [];
    guest.sockets.set(SOCKET, (channel) => channels.push(new Peer(channel)));
    const proxy = await startProxy({ dial: () => tunnels.open(attached, guest.target()) });
    const channel = async (count: number) => {
      while (channels.length < count) await settle(1);
      return channels[count - 1];
    };
    return { guest, channel, ...proxy };
  }

  test("answers requests, becomes a stream, and ends each direction by itself", async () => {
    const { channel, connect, proxy } = await startSsh();
    const client = await connect();
    client.write(GET);
    const server = await channel(1);
    await server.gets(GET);
    server.write(OK);
    await client.gets(OK);
    client.write(UPGRADE);
    await server.gets(GET + UPGRADE);
    server.write(UPGRADED);
    await client.gets(OK + UPGRADED);
    const [there, back] = [pattern(0, 3_000_000), pattern(7, 3_000_000)];
    client.end(there);
    await server.ends();
    expect(sha256(server.received.subarray((GET + UPGRADE).length))).toBe(sha256(there));
    server.end(back);
    await client.ends();
    expect(sha256(client.received.subarray((OK + UPGRADED).length))).toBe(sha256(back));
    await idle(proxy);
  });

  test("hears at once when a client has gone, and the next one is served", async () => {
    const { channel, connect, proxy } = await startSsh();
    const client = await connect();
    client.write(GET);
    const server = await channel(1);
    await server.gets(GET);
    client.destroy();
    await server.ends();
    await idle(proxy);
    const next = await connect();
    next.write(GET);
    const again = await channel(2);
    await again.gets(GET);
    again.end(OK);
    await next.gets(OK);
    await next.ends();
  });

  test("that cannot be reached is told to the client", async () => {
    const { guest, connect } = await startSsh();
    guest.sockets.clear();
    const client = await connect();
    client.write(GET);
    await client.ends();
    expect(client.text).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
  });

  test("whose connection is lost ends its client's", async () => {
    const { guest, channel, connect, proxy } = await startSsh();
    const client = await connect();
    client.write(UPGRADE);
    const server = await channel(1);
    await server.gets(UPGRADE);
    server.write(UPGRADED);
    await client.gets(UPGRADED);
    guest.kill();
    await client.ends();
    await idle(proxy);
  });
});

/** How many descriptors this process has open. */
function countDescriptors(): number {
  return readdirSync("/dev/fd").length;
}

test("a thousand connections of all kinds leave nothing", async () => {
  const engine = await startServer();
  const { proxy, connect, clock } = await startProxy({
    dial: engine.dial,
    intercept: ({ target }) =>
      target === "/judged"
        ? { bodyLimit: 100, decide: async () => ({ kind: "pass", answered: () => settle(1) }) }
        : null,
  });
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => warnings.push(warning);
  process.on("warning", onWarning);
  cleanUp(() => process.off("warning", onWarning));
  const kinds: ((client: Peer, server: () => Promise<Peer>) => Promise<void>)[] = [
    // In order.
    async (client, next) => {
      client.end(GET);
      const server = await next();
      await server.ends();
      server.end(OK);
      await client.ends();
    },
    // The client goes in the middle.
    async (client, next) => {
      client.write(GET);
      const server = await next();
      await server.getsBytes(GET.length);
      client.destroy();
      await server.ends();
      server.destroy();
    },
    // The engine goes in the middle of a stream.
    async (client, next) => {
      client.write(UPGRADE);
      const server = await next();
      await server.getsBytes(UPGRADE.length);
      server.write(UPGRADED);
      await client.gets(UPGRADED);
      server.destroy();
      await client.ends();
      client.destroy();
    },
    // A refusal, and a client that lingers.
    async (client) => {
      client.write("nonsense\r\n\r\n");
      await client.ends();
      client.destroy();
    },
    // Looked at.
    async (client, next) => {
      client.write("POST /judged HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody");
      const server = await next();
      await server.getsBytes(40);
      server.end(OK);
      await client.gets(OK);
      client.end();
      await server.ends();
    },
  ];
  let before = 0;
  for (let count = 0; count < 1050; count++) {
    if (count === 50) before = countDescriptors();
    const client = await connect();
    await kinds[count % kinds.length](client, () => engine.next());
    client.destroy();
    await idle(proxy);
  }
  for (const peer of engine.peers) await peer.closes();
  await settle();
  expect(countDescriptors()).toBeLessThanOrEqual(before);
  expect(proxy.connections).toBe(0);
  expect(clock.timers).toBe(0);
  expect(warnings).toEqual([]);
});

test("a thousand requests on one connection leave no listener", async () => {
  const sockets: Socket[] = [];
  const engine = await startServer();
  const { client } = await startPair({
    dial: async () => {
      const socket = await engine.dial();
      sockets.push(socket);
      return socket;
    },
  });
  const listeners = () => sockets[0].eventNames().map((name) => [name, sockets[0].listenerCount(name)]);
  const body = "x".repeat(200_000);
  const request = `POST /build HTTP/1.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  let server: Peer | null = null;
  let first: unknown = null;
  for (let count = 1; count <= 1000; count++) {
    // Some are larger than what is taken at once.
    const [sent, got] = count % 10 === 1 ? [request, answer] : [GET, OK];
    client.write(sent);
    server ??= await engine.next();
    await server.getsBytes(sent.length);
    server.clear();
    server.write(got);
    await client.getsBytes(got.length);
    client.clear();
    if (count === 1) first = listeners();
  }
  expect(listeners()).toEqual(first);
  expect(sockets.length).toBe(1);
});
