import { readRequestHead } from "@hostd/http1";
import { describe, expect, test } from "vitest";
import { type Failure, writeFailure } from "./error-page.ts";

/** What is answered, in its parts. */
function write(failure: Failure, requestText = "GET / HTTP/1.1\r\n\r\n") {
  const text = writeFailure(failure, readRequestHead(Buffer.from(requestText))).toString();
  const [head, ...body] = text.split("\r\n\r\n");
  const [line, ...fields] = head.split("\r\n");
  return { line, fields: new Map(fields.map((field) => splitOnce(field, ": "))), body: body.join("\r\n\r\n") };
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return [text.slice(0, at), text.slice(at + separator.length)];
}

/** Reads a list of one token with parameters that are tokens and strings, strictly (RFC 9651, 4.2). */
function parseProxyStatus(text: string): { name: string; parameters: Map<string, string> } {
  const TOKEN = "[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*";
  const STRING = '"(?:[\\x20\\x21\\x23-\\x5b\\x5d-\\x7e]|\\\\["\\\\])*"';
  const whole = new RegExp(`^(${TOKEN})((?:; *[a-z*][a-z0-9_.*-]*=(?:${TOKEN}|${STRING}))*)$`).exec(text);
  if (whole === null) throw new SyntaxError(`not a structured field: ${text}`);
  const [, name, rest] = whole;
  const parameters = new Map<string, string>();
  for (const [, key, token, string] of rest.matchAll(
    new RegExp(`; *([a-z*][a-z0-9_.*-]*)=(?:(${TOKEN})|(${STRING}))`, "g"),
  )) {
    parameters.set(key, token ?? string.slice(1, -1).replace(/\\(.)/g, "$1"));
  }
  return { name, parameters };
}

describe("an answer that says what failed", () => {
  test("is text, for programs and people at a terminal", () => {
    const { line, fields, body } = write({ status: 504, message: "origin.test:80 did not answer" });
    expect(line).toBe("HTTP/1.1 504 Gateway Timeout");
    expect(Object.fromEntries(fields)).toEqual({
      "Content-Type": "text/plain; charset=utf-8",
      "Content-Length": String(Buffer.byteLength(body)),
      "Cache-Control": "no-store",
      "Proxy-Status": 'hostd; error=connection_timeout; details="origin.test:80 did not answer"',
      Connection: "close",
    });
    expect(body).toBe("hostd: origin.test:80 did not answer\n");
  });

  test.each(["text/html", "text/html;q=0.8, */*", "application/xml, text/html"])(
    "is a page to who accepts %s",
    (accept) => {
      const { fields, body } = write(
        { status: 502, message: "it failed" },
        `GET / HTTP/1.1\r\nAccept: ${accept}\r\n\r\n`,
      );
      expect(fields.get("Content-Type")).toBe("text/html; charset=utf-8");
      expect(fields.get("Content-Length")).toBe(String(Buffer.byteLength(body)));
      expect(body).toMatch(/<title>502 Bad Gateway<\/title>[\s\S]*<p>it failed<\/p>/);
    },
  );

  test("has nothing in a page that is read as anything but text", () => {
    const message = `<script>alert("&amp;")</script> é '`;
    const { body, fields } = write({ status: 502, message }, "GET / HTTP/1.1\r\nAccept: text/html\r\n\r\n");
    expect(body).toContain('<p>&lt;script&gt;alert("&amp;amp;")&lt;/script&gt; é \'</p>');
    expect(fields.get("Content-Length")).toBe(String(Buffer.byteLength(body)));
  });

  test.each([400, 403, 407, 431, 500, 501, 502, 504])(
    "%i names the kind of its failure in a structured field",
    (status) => {
      const { line, fields } = write({ status, message: "why" });
      expect(line).toMatch(new RegExp(`^HTTP/1\\.1 ${status} [A-Z]`));
      const { name, parameters } = parseProxyStatus(fields.get("Proxy-Status") ?? "");
      expect(name).toBe("hostd");
      // RFC 9209, 2.3.
      expect([
        "http_request_error",
        "http_request_denied",
        "proxy_configuration_error",
        "proxy_internal_error",
        "destination_unavailable",
        "connection_timeout",
      ]).toContain(parameters.get("error"));
      expect(parameters.get("details")).toBe("why");
    },
  );

  test.each([
    ['quotes " and \\ and \\"', 'quotes " and \\ and \\"'],
    ["line\r\nSet-Cookie: a=b", "line??Set-Cookie: a=b"],
    ["Größe \u{1f600}", "Gr??e ??"],
    ['"'.repeat(1000), '"'.repeat(400)],
    ["\\".repeat(1000), "\\".repeat(400)],
  ])("has a field that is one whatever the message is: %j", (message, details) => {
    const { fields } = write({ status: 502, message });
    expect(fields.size).toBe(5);
    expect(parseProxyStatus(fields.get("Proxy-Status") ?? "").parameters.get("details")).toBe(details);
  });

  test("is no failure when all is well", () => {
    const { line, fields } = write({ status: 200, message: "yes" });
    expect(line).toBe("HTTP/1.1 200 OK");
    expect(fields.has("Proxy-Status")).toBe(false);
  });

  test("has no body when it answers HEAD", () => {
    const { fields, body } = write({ status: 502, message: "it failed" }, "HEAD / HTTP/1.1\r\n\r\n");
    expect(body).toBe("");
    expect(fields.get("Content-Length")).toBe("17");
  });

  test("is text to who could not be read", () => {
    expect(writeFailure({ status: 400, message: "no" }, null).toString()).toMatch(/text\/plain[\s\S]*hostd: no\n$/);
  });
});
