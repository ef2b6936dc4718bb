/**
 * A guest in a process of its own that downloads for as long as it runs, for tests that stop the process: its link is
 * up then, and nobody reads from it.
 *
 * Arguments: the socket where VMs attach, the port of a server on the host's loopback that never stops sending.
 */
import { once } from "node:events";
import { dialPort, EmbeddedGuest } from "@hostd/guest";

const [path, port] = process.argv.slice(2);
const guest = new EmbeddedGuest({
  port: await dialPort({ transport: "unix", path, mode: "dial" }),
  mac: Uint8Array.of(2, 0, 0, 0, 1, 99),
});
await guest.configure();
// As many as it takes for their windows together to be more than a socket holds.
const streams = await Promise.all(Array.from({ length: 50 }, () => guest.connect("192.168.65.254", Number(port))));
for (const stream of streams) stream.on("error", () => {});
await Promise.all(streams.map((stream) => once(stream.resume(), "data")));
console.log("receiving");
