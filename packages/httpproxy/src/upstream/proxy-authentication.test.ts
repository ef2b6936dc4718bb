import { inspect } from "node:util";
import { Fields } from "@hostd/http1";
import { expect, test } from "vitest";
import type { ProxyServer } from "../route.ts";
import { proxyAuthenticationError, proxyAuthorization } from "./proxy-authentication.ts";

const SERVER: ProxyServer = { kind: "http", host: "proxy.test", port: 3128 };
const WITH_PASSWORD: ProxyServer = { ...SERVER, credentials: { user: "alice", password: "secret-word" } };

function error(server: ProxyServer, ...lines: string[]) {
  return proxyAuthenticationError(server, new Fields(lines.map((line) => ["Proxy-Authenticate", line])));
}

/** The schemes that are named as those on offer. */
function schemes(...lines: string[]): string {
  const { message } = error(SERVER, ...lines);
  return /offers (.*?)(?: only to log in \(407\)|\): give)/.exec(message)?.[1] ?? message;
}

test("a proxy that offers Basic, without credentials: how they are given", () => {
  const { status, message, route } = error(SERVER, 'Basic realm="office"');
  expect(status).toBe(407);
  expect(message).toBe(
    "the proxy http://proxy.test:3128 wants credentials (407; it offers Basic): give a user name and password in the " +
      "proxy's URL, as http://USER:PASSWORD@HOST:PORT",
  );
  expect(route).toEqual({ kind: "proxy", server: SERVER });
});

test("a proxy that offers Basic, with credentials: they were refused, and are not told", () => {
  const refused = error(WITH_PASSWORD, 'Basic realm="office"', "NTLM");
  expect(refused.message).toBe(
    "the proxy http://proxy.test:3128 refused the user name and password that it was given (407)",
  );
  expect(inspect(refused, { depth: 10, showHidden: true })).not.toMatch(/secret-word|alice/);
});

test.each(["NTLM", "Negotiate", "Kerberos", 'Digest realm="x", nonce="y"'])("a proxy that offers %s only", (line) => {
  for (const server of [SERVER, WITH_PASSWORD]) {
    const { status, message } = error(server, line);
    expect(status).toBe(407);
    expect(message).toBe(
      `the proxy http://proxy.test:3128 offers ${line.split(" ")[0]} only to log in (407), which hostd does not speak: ` +
        "run cntlm or px on this host, which do, and set that as the proxy of hostd, such as http://127.0.0.1:3128",
    );
  }
});

test("a proxy that does not say what it wants", () => {
  const text = "the proxy http://proxy.test:3128 wants credentials (407), but does not say in which form";
  expect(error(SERVER).message).toBe(text);
  expect(error(SERVER, "", " , ,").message).toBe(text);
});

test.each<[lines: string[], schemes: string]>([
  [["Negotiate", "NTLM"], "Negotiate and NTLM"],
  [["Negotiate, NTLM , Kerberos"], "Negotiate, NTLM and Kerberos"],
  [['Digest realm="a, b", qop="auth,auth-int", Basic realm="c"'], "Digest and Basic"],
  [['Basic realm="Negotiate, NTLM", charset="UTF-8"'], "Basic"],
  [['Digest realm = "a" , nonce= b ,NTLM'], "Digest and NTLM"],
  [["Negotiate YIIJvwYGKwYBBQUCoIIJszCC==, NTLM TlRMTVNTUAACAAAA="], "Negotiate and NTLM"],
  [["Negotiate oRQwEqADCgEBoQsGCSqGSIb3EgECAg"], "Negotiate"],
  [['Digest realm="quoted \\" Basic, and \\\\", NTLM'], "Digest and NTLM"],
  [["basic", "BASIC realm=x", "ntlm", "NEGOTIATE"], "Basic, NTLM and Negotiate"],
  [["Digest realm=a,,, ,NTLM,"], "Digest and NTLM"],
  [['Digest realm="never closed, Basic'], "Digest"],
  [['Digest realm="never closed \\'], "Digest"],
  [["NTLM, ä, Basic"], "NTLM"],
  [["Own-Scheme2 a=b, NTLM"], "Own-Scheme2 and NTLM"],
  [[`${"x".repeat(100)}, NTLM`], `${"x".repeat(32)} and NTLM`],
  [["a,b,c,d,e,f,g,h,i,j"], "a, b, c, d, e, f, g and h"],
])("the schemes of %j are %s", (lines, expected) => {
  expect(schemes(...lines)).toBe(expected);
});

test("a challenge of any bytes is read in time that follows its length", () => {
  for (const part of ['"', "\\", '="', "a=", "a ", "a,", "= ", "a =", '\\"', "ä"]) {
    const begin = performance.now();
    error(SERVER, `Digest ${part.repeat(30_000)}`, `Digest realm="${part.repeat(30_000)}`);
    expect(performance.now() - begin).toBeLessThan(1000);
  }
});

test("credentials are sent in UTF-8 (RFC 7617, 2.1)", () => {
  expect(proxyAuthorization(SERVER)).toBeNull();
  expect(proxyAuthorization({ ...SERVER, credentials: { user: "Aladdin", password: "open sesame" } })).toBe(
    "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
  );
  expect(proxyAuthorization({ ...SERVER, credentials: { user: "test", password: "123£" } })).toBe(
    "Basic dGVzdDoxMjPCow==",
  );
});
