/** A VM that attaches by the API, and calls of it with a VM there and from inside of it. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type Framing, StreamPort } from "@hostd/frontends";
import { EmbeddedGuest } from "@hostd/guest";
import { ask, askOver, encodeRequest, type Outcome } from "./ask.ts";
import type { Subject } from "./subject.ts";

/** The MAC address to which gvproxy leases 192.168.127.2. */
const MAC = Uint8Array.of(0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee);
const ADDRESS = "192.168.127.2";
const GATEWAY = "192.168.127.1";
const HTTP_PORT = 80;
/** What Go's client sends for a request that takes over its connection. */
const TAKE_OVER = ["Host: ", "User-Agent: Go-http-client/1.1", "Content-Length: 0", "", ""].join("\r\n");

/** What came of each step, by its name. */
export type GuestOutcomes = ReadonlyMap<string, Outcome | string>;

/**
 * Attaches a VM by `/connect` and has it publish ports.
 *
 * @param ports - free ones of this host, two of them.
 */
export async function runGuestScript(
  subject: Subject,
  ports: readonly number[],
  framing: Framing,
): Promise<GuestOutcomes> {
  const outcomes = new Map<string, Outcome | string>();
  const [first, second] = ports;
  const link = await begin(subject, "/connect");
  // Nothing tells when the real program has taken the connection over, and until then it forgets what it is sent.
  await sleep(200);
  const guest = new EmbeddedGuest({ port: new StreamPort(link, "guest", { framing }), mac: MAC });
  try {
    const read = async (name: string, path: string) => {
      outcomes.set(name, await ask(subject.unix, encodeRequest({ path })));
    };
    const post = async (name: string, path: string, body: unknown) => {
      const request = encodeRequest({ path: `/services/forwarder/${path}`, body: JSON.stringify(body) });
      outcomes.set(name, await ask(subject.unix, request));
    };
    const postFromGuest = async (name: string, path: string, body: unknown) => {
      const request = encodeRequest({ path: `/services/forwarder/${path}`, body: JSON.stringify(body) });
      outcomes.set(name, await askOver(await guest.connect(GATEWAY, HTTP_PORT), request));
    };
    const { address } = await guest.configure();
    outcomes.set("the address by DHCP", [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join("."));
    await read("MAC addresses with a VM", "/cam");
    await read("leases with a VM", "/leases");
    // Sends back what it is sent, and ends when it is ended.
    guest.listen(HTTP_PORT, (stream) => stream.on("error", () => {}).pipe(stream));

    await post("expose a port of the VM", "expose", { local: `127.0.0.1:${first}`, remote: `${ADDRESS}:${HTTP_PORT}` });
    const kept = connect(first, "127.0.0.1");
    outcomes.set("an echo by a port", await echo(kept, "one"));
    await post("unexpose a port of the VM", "unexpose", { local: `127.0.0.1:${first}` });
    outcomes.set("a connection to a port that is no more", await refusal(first));
    outcomes.set("an echo by a connection that was there", await echo(kept, "two"));
    outcomes.set("the end of that connection", await ending(kept));

    const tunnel = await begin(subject, `/tunnel?ip=${ADDRESS}&port=${HTTP_PORT}`);
    outcomes.set("what a tunnel begins with", (await received(tunnel, 2)).toString());
    outcomes.set("an echo by a tunnel", await echo(tunnel, "three"));
    outcomes.set("the end of a tunnel", await ending(tunnel));
    const refused = await begin(subject, `/tunnel?ip=${ADDRESS}&port=81`);
    outcomes.set("a tunnel to a port that nobody listens on", (await refused.setEncoding("latin1").toArray()).join(""));

    await postFromGuest("expose from the guest", "expose", {
      local: `:${second}`,
      remote: `:${HTTP_PORT}`,
      protocol: "tcp",
    });
    const client = connect(second, "127.0.0.1");
    outcomes.set("an echo by a port that the guest published", await echo(client, "four"));
    client.destroy();
    await read("forwards that the guest has", "/services/forwarder/all");
    outcomes.set(
      "forwards as the guest sees them",
      await askOver(await guest.connect(GATEWAY, HTTP_PORT), encodeRequest({ path: "/services/forwarder/all" })),
    );
    outcomes.set(
      "what is not for guests",
      await askOver(await guest.connect(GATEWAY, HTTP_PORT), encodeRequest({ path: "/services/dhcp/leases" })),
    );
    await postFromGuest("expose without a remote, from the guest", "expose", { local: `:${first}` });
    await postFromGuest("a protocol that is none, from the guest", "expose", {
      local: `:${first}`,
      remote: ":80",
      protocol: "x",
    });
    await postFromGuest("unexpose from the guest", "unexpose", { local: `:${second}`, protocol: "tcp" });
    await postFromGuest("unexpose from the guest again", "unexpose", { local: `:${second}`, protocol: "tcp" });
    await post("expose a port for the guest to see", "expose", {
      local: `127.0.0.1:${first}`,
      remote: `${ADDRESS}:${HTTP_PORT}`,
    });
    outcomes.set(
      "forwards of the host as the guest sees them",
      await askOver(await guest.connect(GATEWAY, HTTP_PORT), encodeRequest({ path: "/services/forwarder/all" })),
    );
    await postFromGuest("unexpose what the host has, from the guest", "unexpose", { local: `127.0.0.1:${first}` });
    await postFromGuest("expose another address, from the guest", "expose", {
      local: `:${second}`,
      remote: "192.168.127.9:80",
    });
    return outcomes;
  } finally {
    await guest.kill();
  }
}

/** Makes a connection that a request takes over. */
async function begin({ unix }: Subject, path: string): Promise<Socket> {
  const socket = connect({ ...unix, allowHalfOpen: true });
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.pause();
  socket.write(`POST ${path} HTTP/1.1\r\n${TAKE_OVER}`);
  return socket;
}

async function echo(stream: Duplex, text: string): Promise<string> {
  stream.write(text);
  return (await received(stream, text.length)).toString();
}

/** Ends a stream at this side, and reads what comes until the other side has. */
async function ending(stream: Duplex): Promise<string> {
  stream.end("last words");
  let text = "";
  for await (const chunk of stream) text += chunk;
  return `${text}, and its end`;
}

async function received(stream: Duplex, length: number): Promise<Buffer> {
  let bytes: Buffer = Buffer.alloc(0);
  while (bytes.length < length) {
    const chunk: Buffer | null = stream.read();
    if (chunk !== null) bytes = Buffer.concat([bytes, chunk]);
    else if (stream.readableEnded || stream.destroyed) break;
    else await Promise.race([once(stream, "readable"), once(stream, "end"), once(stream, "close")]);
  }
  return bytes;
}

async function refusal(port: number): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return "connected";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  } finally {
    socket.destroy();
  }
}
