/** A part of a conversation, of which each begins when its sender has heard all that comes before. */
export interface Turn {
  readonly from: "client" | "engine";
  readonly bytes: string;
}

const client = (bytes: string): Turn => ({ from: "client", bytes });
const engine = (bytes: string): Turn => ({ from: "engine", bytes });

const REQUEST_FIELDS = "Host: api.moby.localhost\r\nUser-Agent: Docker-Client/28.3.3 (linux)\r\n";
const SERVER_FIELDS =
  "Api-Version: 1.51\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: Docker/28.3.3 (linux)\r\n";
const DATE = "Date: Fri, 21 Nov 2025 20:15:01 GMT\r\n";
const ID = "4f5e6d7c8b9a4f5e6d7c8b9a4f5e6d7c8b9a4f5e6d7c8b9a4f5e6d7c8b9a4f5e";

function post(path: string, body: string, fields = ""): string {
  return (
    `POST /v1.51${path} HTTP/1.1\r\n${REQUEST_FIELDS}${fields}Content-Length: ${Buffer.byteLength(body)}\r\n` +
    `Content-Type: application/json\r\n\r\n${body}`
  );
}

function get(path: string, fields = ""): string {
  return `GET /v1.51${path} HTTP/1.1\r\n${REQUEST_FIELDS}${fields}\r\n`;
}

function answer(status: string, body: string, fields = ""): string {
  return `HTTP/1.1 ${status}\r\n${SERVER_FIELDS}Content-Type: application/json\r\n${DATE}${fields}Content-Length: ${body.length}\r\n\r\n${body}`;
}

function chunk(content: string): string {
  return `${content.length.toString(16)}\r\n${content}\r\n`;
}

const PING = `HEAD /_ping HTTP/1.1\r\n${REQUEST_FIELDS}\r\n`;
const PONG = `HTTP/1.1 200 OK\r\n${SERVER_FIELDS}Builder-Version: 2\r\nCache-Control: no-cache, no-store, must-revalidate\r\nContent-Type: text/plain; charset=utf-8\r\nPragma: no-cache\r\nSwarm: inactive\r\n${DATE}\r\n`;
const CREATE = post(
  "/containers/create?name=web",
  '{"Image":"busybox","Cmd":["httpd","-f"],"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}}}\n',
);
const NO_CONTENT = `HTTP/1.1 204 No Content\r\n${SERVER_FIELDS}${DATE}\r\n`;
/** Two frames of the multiplexed stream, one of them with bytes that look like HTTP. */
const OUTPUT = "\x01\0\0\0\0\0\0\x06hello\n\x02\0\0\0\0\0\0\x13HTTP/1.1 200 OK\r\n\r\n";

/** What the `docker` command and others say to dockerd, and it to them, each on a connection of its own. */
export const CONVERSATIONS: Readonly<Record<string, readonly Turn[]>> = {
  run: [
    client(PING),
    engine(PONG),
    client(CREATE),
    engine(answer("201 Created", `{"Id":"${ID}","Warnings":[]}\n`)),
    client(post(`/containers/${ID}/start`, "")),
    engine(NO_CONTENT),
    client(get(`/containers/${ID}/json`)),
    engine(answer("200 OK", `{"Id":"${ID}","State":{"Running":true}}\n`)),
  ],
  refusals: [
    client(post("/containers/nope/start", "")),
    engine(answer("404 Not Found", '{"message":"No such container: nope"}\n')),
    client(post(`/containers/${ID}/start`, "")),
    engine(`HTTP/1.1 304 Not Modified\r\n${SERVER_FIELDS}${DATE}\r\n`),
    client(`DELETE /v1.51/containers/${ID}?force=1 HTTP/1.1\r\n${REQUEST_FIELDS}\r\n`),
    engine(NO_CONTENT),
    client(`OPTIONS * HTTP/1.1\r\n${REQUEST_FIELDS}\r\n`),
    engine(`HTTP/1.1 200 OK\r\n${SERVER_FIELDS}Content-Length: 0\r\n\r\n`),
  ],
  attach: [
    client(PING),
    engine(PONG),
    client(
      `POST /v1.51/containers/${ID}/attach?stderr=1&stdin=1&stdout=1&stream=1 HTTP/1.1\r\n${REQUEST_FIELDS}` +
        "Content-Length: 0\r\nConnection: Upgrade\r\nContent-Type: text/plain\r\nUpgrade: tcp\r\n\r\n",
    ),
    engine(
      "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n" +
        "Api-Version: 1.51\r\n\r\n",
    ),
    client("echo hello\nGET / HTTP/1.1\r\n\r\n"),
    engine(OUTPUT),
    client("exit\n"),
    engine(OUTPUT.repeat(5)),
  ],
  exec: [
    client(post(`/containers/${ID}/exec`, '{"AttachStdout":true,"Cmd":["ls"]}')),
    engine(answer("201 Created", `{"Id":"${ID}"}\n`)),
    client(post(`/exec/${ID}/start`, '{"Detach":false,"Tty":false}')),
    engine("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"),
    client("input"),
    engine(OUTPUT),
  ],
  attachRefused: [
    client(`POST /v1.51/containers/x/attach?stream=1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`),
    engine(answer("404 Not Found", '{"message":"No such container: x"}\n')),
    client(PING),
    engine(PONG),
  ],
  build: [
    client(PING),
    engine(PONG),
    client(
      `POST /v1.51/build?t=web HTTP/1.1\r\n${REQUEST_FIELDS}Transfer-Encoding: chunked\r\nContent-Type: application/x-tar\r\n` +
        `\r\n${chunk("x".repeat(300))}${chunk("\0".repeat(1024))}5;a="b"\r\n0\r\n\r\n\r\n0\r\nDigest: abc\r\n\r\n`,
    ),
    engine(
      `HTTP/1.1 200 OK\r\n${SERVER_FIELDS}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n` +
        chunk('{"stream":"Step 1/1 : FROM busybox"}\r\n'),
    ),
    engine(`${chunk('{"stream":"Successfully built"}\r\n')}0\r\n\r\n`),
    client(PING),
    engine(PONG),
  ],
  copy: [
    client(
      `PUT /v1.51/containers/${ID}/archive?path=%2Ftmp HTTP/1.1\r\n${REQUEST_FIELDS}Expect: 100-continue\r\n` +
        "Content-Length: 700\r\n\r\n",
    ),
    engine("HTTP/1.1 100 Continue\r\n\r\n"),
    client("PUT / HTTP/1.1\r\n\r\n".padEnd(700, "z")),
    engine(`HTTP/1.1 200 OK\r\n${SERVER_FIELDS}Content-Length: 0\r\n\r\n`),
    client(`HEAD /v1.51/containers/${ID}/archive?path=%2Ftmp HTTP/1.1\r\n${REQUEST_FIELDS}\r\n`),
    engine(`HTTP/1.1 200 OK\r\n${SERVER_FIELDS}X-Docker-Container-Path-Stat: eyJ9\r\nContent-Length: 5000\r\n\r\n`),
    client(PING),
    engine(PONG),
  ],
  events: [
    client(get("/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D")),
    engine(`HTTP/1.1 200 OK\r\n${SERVER_FIELDS}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`),
    engine(chunk('{"Type":"container","Action":"start"}\n')),
    engine(chunk('{"Type":"container","Action":"die"}\n')),
  ],
  logs: [
    client(`GET /containers/web/logs?follow=1&stdout=1 HTTP/1.0\r\n\r\n`),
    engine("HTTP/1.0 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"),
    engine(OUTPUT),
  ],
  session: [
    client(
      `POST /session HTTP/1.1\r\n${REQUEST_FIELDS}Connection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: abc\r\n\r\n`,
    ),
    engine("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    engine("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    client("\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0"),
  ],
  grpc: [
    client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    engine("\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0"),
    client("\0\0\0\x04\x01\0\0\0\0GET / HTTP/1.1\r\n\r\n"),
    engine("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxyz"),
  ],
  websocket: [
    client(
      `GET /v1.51/containers/web/attach/ws?stream=1 HTTP/1.1\r\nHost: docker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    ),
    engine(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    ),
    client("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
    engine("\x81\x05Hello"),
  ],
};
