import { describe, expect, it } from "vitest";
import { readDestination } from "./read-destination.ts";

describe("what a request would be for", () => {
  it.each([
    ["http://www.example.com", "http", "www.example.com", 80],
    ["HTTP://WWW.example.com.:8080/path?query#fragment", "http", "www.example.com", 8080],
    ["https://alice:s3cret@www.example.com/", "https", "www.example.com", 443],
    ["https://[2001:DB8::1]:8443", "https", "2001:db8::1", 8443],
    ["www.example.com:22", "https", "www.example.com", 22],
    ["www.example.com:443", "https", "www.example.com", 443],
    ["[::1]:80", "https", "::1", 80],
    ["http://127.1/", "http", "127.0.0.1", 80],
    ["b\u00fccher.example:443", "https", "xn--bcher-kva.example", 443],
  ] as const)("is read of %s", (text, scheme, host, port) => {
    expect(readDestination(text)).toEqual({ scheme, host, port });
  });

  it.each([
    ["", "it is a host and a port"],
    ["www.example.com", "it is a host and a port"],
    ["www.example.com:443/path", "it is a host and a port"],
    ["alice:s3cret@www.example.com:443", "it is a host and a port"],
    ["ftp://www.example.com", "nothing with ftp:// passes an HTTP proxy but as HOST:PORT"],
    ["http://", "there is no such host, or no such port"],
    ["http://a b/", "there is no such host, or no such port"],
    ["www.example.com:0", "there is no such host, or no such port"],
    ["www.example.com:65536", "there is no such host, or no such port"],
    ["2001:db8::1:443", "there is no such host, or no such port"],
  ])("is refused with what is allowed: %j", (text, reason) => {
    const allowed = "allowed: http://HOST[:PORT], https://HOST[:PORT] or HOST:PORT";
    const refusal = expect.objectContaining({ status: 400, message: expect.stringContaining(reason) });
    expect(() => readDestination(text)).toThrow(refusal);
    expect(() => readDestination(text)).toThrow(allowed);
    expect(() => readDestination(text)).not.toThrow("s3cret");
  });
});
