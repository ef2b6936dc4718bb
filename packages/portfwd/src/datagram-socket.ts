import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIPv4 } from "node:net";
import { formatListen, type ListenAddress } from "./forward-rule.ts";

/**
 * Bytes of the receive buffer, if the system allows as much (Linux up to `net.core.rmem_max`, and doubles it). What
 * Linux gives unless asked holds three datagrams of 65507 bytes, and a fast sender fills it before this process runs.
 */
const RECEIVE_BUFFER = 2 * 1024 * 1024;
/** Bytes of the send buffer: macOS sends no datagram that is larger than it, and gives 9216 unless asked. */
const SEND_BUFFER = 128 * 1024;

/** What a system without IPv6 says to a socket of it. */
const NO_IPV6: ReadonlySet<string | undefined> = new Set(["EAFNOSUPPORT", "EADDRNOTAVAIL"]);

/**
 * Binds a UDP socket. Its `send` acts before it returns.
 *
 * @param descriptor - of a socket that is bound there already; closed with the socket.
 * @throws {NodeJS.ErrnoException} the system's error.
 */
export async function bindDatagramSocket({ host, port }: ListenAddress, descriptor?: number): Promise<Socket> {
  if (descriptor !== undefined) return await adopt({ host, port }, descriptor);
  // Each family is bound by itself, so that `::` beside `0.0.0.0` is no conflict.
  if (host !== "") return await bind(host, port, true);
  try {
    return await bind("::", port, false);
  } catch (error) {
    if (!NO_IPV6.has((error as NodeJS.ErrnoException).code)) throw error;
    return await bind("0.0.0.0", port, true);
  }
}

async function bind(address: string, port: number, ipv6Only: boolean): Promise<Socket> {
  return await start(makeSocket(isIPv4(address), ipv6Only), { address, port, exclusive: true });
}

async function adopt(listen: ListenAddress, fd: number): Promise<Socket> {
  const isIpv4Wanted = isIPv4(listen.host);
  const socket = await start(makeSocket(isIpv4Wanted, false), { fd, exclusive: true });
  const { family } = socket.address();
  if ((family === "IPv4") === isIpv4Wanted) return socket;
  socket.close();
  throw new Error(
    `the socket that was passed for ${formatListen(listen)} is of ${family}: ` +
      `it takes one of ${isIpv4Wanted ? "IPv4" : "IPv6"}`,
  );
}

function makeSocket(isOfIpv4: boolean, ipv6Only: boolean): Socket {
  return createSocket({
    type: isOfIpv4 ? "udp4" : "udp6",
    ipv6Only: !isOfIpv4 && ipv6Only,
    // It is only ever given addresses. Node's own lookup answers in the next tick.
    lookup: (address, _options, callback) => callback(null, address, isOfIpv4 ? 4 : 6),
  });
}

async function start(socket: Socket, options: Parameters<Socket["bind"]>[0] & object): Promise<Socket> {
  try {
    const listening = once(socket, "listening");
    socket.bind(options);
    await listening;
  } catch (error) {
    socket.close();
    throw error;
  }
  try {
    if (socket.getRecvBufferSize() < RECEIVE_BUFFER) socket.setRecvBufferSize(RECEIVE_BUFFER);
    if (socket.getSendBufferSize() < SEND_BUFFER) socket.setSendBufferSize(SEND_BUFFER);
  } catch {
    // A system that allows less refuses instead of giving what it allows; the socket works as it is.
  }
  return socket;
}
