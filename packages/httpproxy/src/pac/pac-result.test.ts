import { describe, expect, it } from "vitest";
import { formatRoute } from "../route.ts";
import { PacError } from "./pac-error.ts";
import { parsePacResult } from "./pac-result.ts";

const read = (text: string) => parsePacResult(text).routes.map(formatRoute);

describe("parsePacResult", () => {
  it.each([
    ["DIRECT", ["direct"]],
    ["direct", ["direct"]],
    ["", ["direct"]],
    [" ; ;", ["direct"]],
    ["PROXY proxy.example:3128", ["http://proxy.example:3128"]],
    ["proxy\tPROXY.example.:3128 ;", ["http://proxy.example:3128"]],
    ["HTTP 10.0.0.1:8080", ["http://10.0.0.1:8080"]],
    ["HTTPS proxy.example:8443", ["https://proxy.example:8443"]],
    ["PROXY [2001:DB8:0::1]:3128", ["http://[2001:db8::1]:3128"]],
    ["SOCKS proxy.example:1080", ["socks5h://proxy.example:1080"]],
    ["SOCKS5 proxy.example:1080", ["socks5h://proxy.example:1080"]],
    ["PROXY a; HTTPS b; SOCKS5 c", ["http://a:80", "https://b:443", "socks5h://c:1080"]],
    ["PROXY a:1;PROXY b:2 ; DIRECT", ["http://a:1", "http://b:2", "direct"]],
    ["PROXY reject.docker.internal:*", ["refuse"]],
    ["PROXY Reject.Docker.Internal:1234", ["refuse"]],
    ["PROXY reject.docker.internal:any", ["refuse"]],
    ["PROXY a:1; PROXY reject.docker.internal", ["http://a:1", "refuse"]],
  ])("reads %j", (text, routes) => {
    expect(read(text)).toEqual(routes);
    expect(parsePacResult(text).problems).toEqual([]);
  });

  it.each([
    ["SOCKS4 a:1080; DIRECT", '"SOCKS4 a:1080": SOCKS 4 is not supported'],
    ["QUIC a:443; DIRECT", '"QUIC a:443": allowed are DIRECT, PROXY, HTTP, HTTPS, SOCKS, SOCKS5'],
    ["PROXY; DIRECT", '"PROXY": PROXY and host:port are expected'],
    ["PROXY a:1 b:2; DIRECT", '"PROXY a:1 b:2": PROXY and host:port are expected'],
    ["DIRECT a:1; DIRECT", '"DIRECT a:1": nothing comes after DIRECT'],
    ["PROXY a:0; DIRECT", '"PROXY a:0": the host or the port is none; an IPv6 address is in brackets'],
    ["PROXY a:65536; DIRECT", '"PROXY a:65536": the host or the port is none; an IPv6 address is in brackets'],
    ["PROXY ::1:80; DIRECT", '"PROXY ::1:80": the host or the port is none; an IPv6 address is in brackets'],
    ["PROXY u:p@a:1; DIRECT", '"PROXY u:p@a:1": the host or the port is none; an IPv6 address is in brackets'],
    ["PROXY http://a:1; DIRECT", '"PROXY http://a:1": the host or the port is none; an IPv6 address is in brackets'],
    ["SOCKS5 reject.docker.internal:*; DIRECT", undefined],
  ])("leaves out what it cannot use of %j and says so", (text, problem) => {
    const { routes, problems } = parsePacResult(text);
    expect(routes.map(formatRoute)).toEqual(["direct"]);
    expect(problems).toHaveLength(1);
    if (problem !== undefined) expect(problems[0]).toBe(problem);
  });

  it("fails when nothing is left", () => {
    const parse = () => parsePacResult("SOCKS4 a:1; nonsense");
    expect(parse).toThrow(PacError);
    expect(parse).toThrow(
      /names no way that can be taken: "SOCKS4 a:1": SOCKS 4 is not supported; "nonsense": allowed/,
    );
  });

  it("shows no control characters and no more than the start of a part", () => {
    const { problems } = parsePacResult(`${"x".repeat(500)}\x1b[31m; \x1b[2J a; DIRECT`);
    expect(problems[0]).toMatch(/^"x{100}\.\.\.": /);
    expect(problems[1]).toMatch(/^"\\u001b\[2J a": /);
  });

  it("takes no more than 16 routes", () => {
    const text = Array.from({ length: 20 }, (_, index) => `PROXY p${index}:1`).join(";");
    const { routes, problems } = parsePacResult(text);
    expect(routes).toHaveLength(16);
    expect(problems).toEqual(["only the first 16 of 20 are taken"]);
  });
});
