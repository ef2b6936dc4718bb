/** A server on the host's loopback for `exchange-client.ts`. Tells its parent the port, then a report per connection. */
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type Exchange, play, serverPart } from "./exchange.ts";

const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  readHeader(socket);
});
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit());

/** Waits for the first line, and leaves what follows it to be read. */
function readHeader(socket: Socket): void {
  let line = Buffer.alloc(0);
  const look = () => {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    line = Buffer.concat([line, chunk]);
    const end = line.indexOf("\n");
    if (end < 0) return;
    socket.off("readable", look);
    socket.unshift(line.subarray(end + 1));
    const exchange: Exchange = JSON.parse(line.toString("latin1", 0, end));
    play(socket, serverPart(exchange)).then((report) => process.send?.(report));
  };
  socket.on("readable", look);
}
