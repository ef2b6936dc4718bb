/** ICMP echo messages as a ping socket takes and gives them (RFC 792). */

export const ECHO_HEADER_LENGTH = 8;
/** The most data that an echo message in one IPv4 datagram carries, in bytes. */
export const MAX_ECHO_DATA = 65507;

const TYPE_ECHO_REPLY = 0;
const TYPE_ECHO_REQUEST = 8;

/** Writes the header of an echo request in front of `length` bytes of data that are already in place. */
export function writeEchoRequest(message: Buffer, identifier: number, sequence: number, length: number): void {
  message[0] = TYPE_ECHO_REQUEST;
  message[1] = 0;
  message.writeUInt16BE(0, 2);
  message.writeUInt16BE(identifier, 4);
  message.writeUInt16BE(sequence, 6);
  message.writeUInt16BE(checksum(message, ECHO_HEADER_LENGTH + length), 2);
}

/** Where the parts of an echo reply are. */
export interface EchoReplyView {
  readonly identifier: number;
  readonly sequence: number;
  /** Where its data begins. */
  readonly offset: number;
  readonly length: number;
}

/** Reads an echo reply, with its IP header (macOS) or without (Linux); null when it is anything else. */
export function readEchoReply(message: Buffer): EchoReplyView | null {
  // An IPv4 header begins with its version, an echo reply with 0.
  const start = message.length > 0 && message[0] >>> 4 === 4 ? (message[0] & 15) * 4 : 0;
  if (message.length < start + ECHO_HEADER_LENGTH || message[start] !== TYPE_ECHO_REPLY || message[start + 1] !== 0) {
    return null;
  }
  return {
    identifier: message.readUInt16BE(start + 4),
    sequence: message.readUInt16BE(start + 6),
    offset: start + ECHO_HEADER_LENGTH,
    length: message.length - start - ECHO_HEADER_LENGTH,
  };
}

/** The Internet checksum of the first `length` bytes (RFC 1071). */
function checksum(bytes: Buffer, length: number): number {
  let sum = 0;
  for (let index = 0; index + 1 < length; index += 2) sum += bytes.readUInt16BE(index);
  if (length % 2 === 1) sum += bytes[length - 1] << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
