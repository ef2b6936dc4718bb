import { createSocket } from "node:dgram";
import { once } from "node:events";
import { networkInterfaces } from "node:os";

/** An address for documentation (RFC 5737), which is reached by the default route. */
const ELSEWHERE = "192.0.2.1";
/** The discard service (RFC 863); nothing is sent to it. */
const DISCARD = 9;

/**
 * The IPv4 address from which this host reaches others, or one that it has while it reaches none. Null when it has but
 * loopback addresses.
 */
export async function ownAddress(): Promise<string | null> {
  const socket = createSocket("udp4");
  try {
    const connected = once(socket, "connect");
    socket.connect(DISCARD, ELSEWHERE);
    await connected;
    return socket.address().address;
  } catch {
    return addresses()[0] ?? null;
  } finally {
    socket.close();
  }
}

/** What tells one network of this host from another: its IPv4 addresses. A VPN that is connected adds one. */
export function hostNetwork(): string {
  return addresses().sort().join(" ");
}

function addresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.filter(({ family, internal }) => family === "IPv4" && !internal).map(({ address }) => address);
}
