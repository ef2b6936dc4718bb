/** Types of frames (RFC 9113, 6.5 and 6.8). */
const SETTINGS = 0x4;
const GOAWAY = 0x7;
/** The error of a server that wants HTTP/1.1 instead (RFC 9113, 7). */
const HTTP_1_1_REQUIRED = 0xd;

/**
 * What a server sends that has read the preface of HTTP/2 and does not speak it: the settings, which come first of all, and
 * the end of the connection with its reason (RFC 9113, 3.4 and 6.8).
 */
export function writeHttp2Refusal(reason: string): Buffer {
  const code = Buffer.alloc(8);
  // In front of it stands the last stream that was served, 0 for none.
  code.writeUInt32BE(HTTP_1_1_REQUIRED, 4);
  return Buffer.concat([frame(SETTINGS, Buffer.alloc(0)), frame(GOAWAY, Buffer.concat([code, Buffer.from(reason)]))]);
}

/** A frame about the whole connection, without flags (RFC 9113, 4.1). */
function frame(type: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  return Buffer.concat([head, payload]);
}
