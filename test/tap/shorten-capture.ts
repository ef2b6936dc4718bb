/**
 * Copies a capture and keeps of each frame no more than its headers, so that gigabytes can be looked at.
 *
 *     node shorten-capture.ts FROM TO
 *
 * Both are files in the classic pcap format; FROM may be a pipe, which is read until its writer is gone.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";

const FILE_HEADER = 24;
const RECORD_HEADER = 16;
/** Ethernet, IPv4 without options, and the longest TCP header. */
const KEPT = 14 + 20 + 60;

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) throw new Error("usage: shorten-capture.ts FROM TO");

async function* shorten(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  /** What has come and makes no whole header yet, and how much of the chunks to come is left out. */
  let pending = Buffer.alloc(0);
  let skip = 0;
  let isFirst = true;
  for await (const chunk of chunks) {
    if (skip >= chunk.length) {
      skip -= chunk.length;
      continue;
    }
    const bytes = Buffer.concat([pending, chunk.subarray(skip)]);
    skip = 0;
    let at = 0;
    if (isFirst && bytes.length >= FILE_HEADER) {
      isFirst = false;
      yield bytes.subarray(0, FILE_HEADER);
      at = FILE_HEADER;
    }
    while (!isFirst && at + RECORD_HEADER <= bytes.length) {
      const length = bytes.readUInt32LE(at + 8);
      const kept = Math.min(length, KEPT);
      if (at + RECORD_HEADER + kept > bytes.length) break;
      const record = Buffer.from(bytes.subarray(at, at + RECORD_HEADER + kept));
      record.writeUInt32LE(kept, 8);
      yield record;
      at += RECORD_HEADER + length;
    }
    skip = Math.max(0, at - bytes.length);
    pending = bytes.subarray(Math.min(at, bytes.length));
  }
}

const options = { highWaterMark: 1024 * 1024 };
await pipeline(createReadStream(from, options), shorten, createWriteStream(to, options));
