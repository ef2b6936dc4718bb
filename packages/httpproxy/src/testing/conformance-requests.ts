/** What is done with requests that two readers may take for different things, as data for a test and for a page. */

/** What the proxy answers itself. */
export interface Refusal {
  readonly status: number;
  /** Its reason, in words. */
  readonly reason: string;
}

export interface RequestCase {
  readonly form: string;
  /** What a client sends, to `a.test` if it is to be passed on. */
  readonly sent: string;
  /** What the origin gets; null for no connection at all. */
  readonly origin: string | null;
  /** What the client gets in place of the origin's response; null when that is passed on. */
  readonly refusal: Refusal | null;
}

export interface Group<Case> {
  readonly title: string;
  readonly cases: readonly Case[];
}

const HOST = "Host: a.test\r\n";
const GET = "GET http://a.test/ HTTP/1.1\r\n";
const POST = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\n";
const CHUNKED = "Transfer-Encoding: chunked\r\n";
const CHUNKED_POST = `POST / HTTP/1.1\r\n${HOST}${CHUNKED}\r\n`;

function refused(form: string, sent: string, reason: string, status = 400, origin: string | null = null): RequestCase {
  return { form, sent, origin, refusal: { status, reason } };
}

function passed(form: string, sent: string, origin: string): RequestCase {
  return { form, sent, origin, refusal: null };
}

/** A POST with these fields and this body. */
function post(form: string, fields: string, reason: string, status = 400): RequestCase {
  return refused(form, `${POST}${fields}\r\nhello`, reason, status);
}

function length(form: string, value: string): RequestCase {
  return post(form, `Content-Length: ${value}\r\n`, "malformed Content-Length");
}

function coding(form: string, fields: string): RequestCase {
  return post(form, fields, "the Transfer-Encoding is not chunked alone", 501);
}

/** A chunked body that is refused when the head has gone out. */
function chunks(form: string, body: string, reason: string): RequestCase {
  return refused(form, `${POST}${CHUNKED}\r\n${body}`, reason, 400, CHUNKED_POST);
}

function passedChunks(form: string, body: string): RequestCase {
  return passed(form, `${POST}${CHUNKED}\r\n${body}`, CHUNKED_POST + body);
}

function field(form: string, line: string, reason: string): RequestCase {
  return refused(form, `${GET}${HOST}${line}\r\n\r\n`, reason);
}

function passedField(form: string, line: string, asLine = line): RequestCase {
  return passed(
    form,
    `${GET}${HOST}${line}\r\n\r\n`,
    `GET / HTTP/1.1\r\n${HOST}${asLine === "" ? "" : `${asLine}\r\n`}\r\n`,
  );
}

function host(form: string, fields: string, reason: string): RequestCase {
  return refused(form, `${GET}${fields}\r\n`, reason);
}

function target(form: string, text: string, reason: string): RequestCase {
  return refused(form, `GET ${text} HTTP/1.1\r\n${HOST}\r\n`, reason);
}

function passedTarget(form: string, text: string, path: string, value = "a.test"): RequestCase {
  return passed(form, `GET ${text} HTTP/1.1\r\n${HOST}\r\n`, `GET ${path} HTTP/1.1\r\nHost: ${value}\r\n\r\n`);
}

function line(form: string, text: string): RequestCase {
  return refused(form, `${text}\r\n${HOST}\r\n`, "malformed request line");
}

function connect(form: string, text: string, reason: string, fields = ""): RequestCase {
  return refused(form, `CONNECT ${text} HTTP/1.1\r\n${HOST}${fields}\r\n`, reason);
}

const LINE_END = "a line of the head does not end in CR and LF";
const FIELD = "malformed field in the head";
const CONTROL = "a control character in a field";
const HOST_FORM = "malformed host";
const USER = "a user name before the host is not allowed";
const PORT = "the port is not 1 to 65535";
const NO_URL = "this is an HTTP proxy: a request has to name the whole URL, as clients do that are told of a proxy";
const CHUNK_END = "a line of a chunk does not end in CR and LF";
const SIZE = "malformed size of a chunk";
const LONE_CR = "a lone CR in a line of a chunk";
const TRAILER = "malformed field in the trailers";

export const REQUESTS: readonly Group<RequestCase>[] = [
  {
    title: "The length of a request's body",
    cases: [
      post("both lengths", `Content-Length: 5\r\n${CHUNKED}`, "both Transfer-Encoding and Content-Length"),
      post(
        "both lengths, the other way round",
        `${CHUNKED}Content-Length: 5\r\n`,
        "both Transfer-Encoding and Content-Length",
      ),
      post("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "malformed Content-Length"),
      length("two lengths as a list", "5, 6"),
      passed(
        "the same length twice",
        `${POST}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
        `POST / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
      ),
      passed(
        "the same length twice as a list",
        `${POST}Content-Length: 5 , 5\r\n\r\nhello`,
        `POST / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
      ),
      passed(
        "a length with zeros before it",
        `${POST}Content-Length: 005\r\n\r\nhello`,
        `POST / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
      ),
      passed(
        "GET with a body",
        `${GET}${HOST}Content-Length: 5\r\n\r\nhello`,
        `GET / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
      ),
      length("a length with a sign", "+5"),
      length("a negative length", "-5"),
      length("a length in hexadecimal", "0x5"),
      length("a length with an exponent", "5e0"),
      length("a length with a fraction", "5.0"),
      length("no length", ""),
      length("a list with an empty element", "5,"),
      length("a length with a no-break space", "\u00a05"),
      length("a length in other digits", "\u00b2"),
      length("a length that is not counted exactly", "9007199254740993"),
      field("a length with a vertical tab", "Content-Length: \v5", CONTROL),
      field("a length with a space before its colon", "Content-Length : 5", FIELD),
      field("a length on two lines", "Content-Length: 5\r\n 6", FIELD),
      coding("chunked and another coding behind it", "Transfer-Encoding: chunked, identity\r\n"),
      coding("chunked and another coding before it", "Transfer-Encoding: gzip, chunked\r\n"),
      coding("chunked twice", "Transfer-Encoding: chunked, chunked\r\n"),
      coding("chunked on two lines", `${CHUNKED}${CHUNKED}`),
      coding("a coding that only looks like chunked", "Transfer-Encoding: xchunked\r\n"),
      coding("chunked in quotes", 'Transfer-Encoding: "chunked"\r\n'),
      coding("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n"),
      coding("chunked behind a no-break space", "Transfer-Encoding: \u00a0chunked\r\n"),
      coding("identity", "Transfer-Encoding: identity\r\n"),
      coding("no coding", "Transfer-Encoding:\r\n"),
      field("chunked behind a vertical tab", "Transfer-Encoding: \vchunked", CONTROL),
      field("Transfer-Encoding with a space before its colon", "Transfer-Encoding : chunked", FIELD),
      field("Transfer-Encoding with a tab before its colon", "Transfer-Encoding\t: chunked", FIELD),
      passed(
        "chunked behind a tab, in capitals",
        `${POST}Transfer-Encoding:\tCHUNKED\r\n\r\n0\r\n\r\n`,
        `${CHUNKED_POST}0\r\n\r\n`,
      ),
      passed(
        "lengths that Connection names",
        `${POST}Connection: transfer-encoding\r\n${CHUNKED}\r\n0\r\n\r\n`,
        `${CHUNKED_POST}0\r\n\r\n`,
      ),
      refused(
        "chunked in HTTP/1.0",
        `POST http://a.test/ HTTP/1.0\r\n${HOST}${CHUNKED}\r\n0\r\n\r\n`,
        "Transfer-Encoding in HTTP/1.0",
      ),
    ],
  },
  {
    title: "Chunks of a request's body",
    cases: [
      chunks("a size with a sign", "+5\r\nhello\r\n0\r\n\r\n", SIZE),
      chunks("a negative size", "-0\r\n\r\n", SIZE),
      chunks("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n", SIZE),
      chunks("a size behind a space", " 5\r\nhello\r\n0\r\n\r\n", SIZE),
      chunks("no size", "\r\nhello\r\n0\r\n\r\n", SIZE),
      chunks("a size with an underscore", "1_0\r\n", SIZE),
      chunks("a size of 64 bits", "ffffffffffffffff\r\nhello", SIZE),
      chunks("a size that wraps around at 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n", SIZE),
      chunks("something behind the size that is no extension", "5 5\r\nhello\r\n0\r\n\r\n", SIZE),
      chunks("a size line that ends in LF", "5\nhello\r\n0\r\n\r\n", CHUNK_END),
      chunks("a size line that ends in CR", "5\rhello\r\n0\r\n\r\n", LONE_CR),
      chunks("a size line that ends in two CRs", "5\r\r\nhello\r\n0\r\n\r\n", LONE_CR),
      chunks("a chunk without its CR LF", "5\r\nhello0\r\n\r\n", "a chunk is longer than it says"),
      chunks("a chunk that ends in LF", "5\r\nhello\n0\r\n\r\n", CHUNK_END),
      chunks("a chunk that ends in CR", "5\r\nhello\r0\r\n\r\n", LONE_CR),
      chunks("a chunk that is shorter than it says", "5\r\nhell\r\n0\r\n\r\n", CHUNK_END),
      chunks("an extension with an LF", "5;a\nb\r\nhello\r\n0\r\n\r\n", CHUNK_END),
      chunks("an extension with a CR", "5;a\rb\r\nhello\r\n0\r\n\r\n", LONE_CR),
      chunks("an extension with a quoted LF", '5;a="\n"\r\nhello\r\n0\r\n\r\n', CHUNK_END),
      chunks("an extension with a zero byte", "5;a\0\r\nhello\r\n0\r\n\r\n", SIZE),
      chunks("an extension without end", `5;${"a".repeat(5000)}\r\n`, "a line of a chunk is too long"),
      chunks("a lone CR in place of the last line", "0\r\n\r\r\n\r\n", LONE_CR),
      chunks("a line in place of the trailers", "0\r\nGET http://b.test/ HTTP/1.1\r\n\r\n", TRAILER),
      chunks("a trailer on two lines", "0\r\nA: b\r\n c\r\n\r\n", TRAILER),
      chunks("a trailer with a CR", "0\r\nA: b\rc\r\n\r\n", LONE_CR),
      chunks("a trailer that ends in LF", "0\r\nA: b\n\r\n", CHUNK_END),
      passedChunks("extensions, of which one is quoted", '5;a;b="c;\\"d"\r\nhello\r\n0;z\r\n\r\n'),
      passedChunks("an extension whose quotes do not end", '5;a="\r\nhello\r\n0\r\n\r\n'),
      passedChunks("spaces behind the size", "5 \t\r\nhello\r\n0\r\n\r\n"),
      passedChunks("a length in the trailers", "0\r\nContent-Length: 5\r\n\r\n"),
    ],
  },
  {
    title: "Lines of a request's head",
    cases: [
      field("a field on two lines", "A: b\r\n c", FIELD),
      field("a CR in a field", "A: b\rContent-Length: 5", LINE_END),
      field("an LF in a field", "A: b\nContent-Length: 5", LINE_END),
      field("a zero byte in a field", "A: b\0c", LINE_END),
      field("a control character in a field", "A: b\x01c", CONTROL),
      field("DEL in a field", "A: b\x7fc", CONTROL),
      field("a field without a colon", "Content-Length", FIELD),
      field("a field without a name", ": b", FIELD),
      field("a space before the colon of a field", "A : b", FIELD),
      field("a name that is none", "A(): b", FIELD),
      refused("a space before the first field", `${GET} ${HOST}\r\n`, FIELD),
      refused("lines that end in LF", "GET http://a.test/ HTTP/1.1\nHost: a.test\n\n", LINE_END),
      refused("the empty line in LF alone", `${GET}${HOST}\n`, LINE_END),
      refused(
        "a head without end",
        `${GET}${HOST}A: ${"x".repeat(65536)}`,
        "the head of the request is longer than 65536 bytes",
        431,
      ),
      passedField("tabs and spaces around a value", "A: \t b\tc \t", "A: b\tc"),
      passedField("other characters than ASCII", "A: \u00e9\u00ff"),
      passed("empty lines before a request", `\r\n\r\n${GET}${HOST}\r\n`, `GET / HTTP/1.1\r\n${HOST}\r\n`),
    ],
  },
  {
    title: "Host",
    cases: [
      host("none in HTTP/1.1", "", "no Host"),
      host("two", `${HOST}Host: b.test\r\n`, "more than one Host"),
      host("the same one twice", `${HOST}${HOST}`, "more than one Host"),
      host("with a path", "Host: a.test/x\r\n", HOST_FORM),
      host("with a user", "Host: b.test@a.test\r\n", USER),
      host("a list", "Host: a.test, b.test\r\n", HOST_FORM),
      host("with a space", "Host: a.test b.test\r\n", HOST_FORM),
      host("with a port that is none", "Host: a.test:99999\r\n", PORT),
      passed("another one than that of the URL", `${GET}Host: b.test:81\r\n\r\n`, `GET / HTTP/1.1\r\n${HOST}\r\n`),
      passed("an empty one", `${GET}Host:\r\n\r\n`, `GET / HTTP/1.1\r\n${HOST}\r\n`),
      passed("none in HTTP/1.0", "GET http://a.test/ HTTP/1.0\r\n\r\n", `GET / HTTP/1.1\r\n${HOST}\r\n`),
      passed("one that Connection names", `${GET}${HOST}Connection: host\r\n\r\n`, `GET / HTTP/1.1\r\n${HOST}\r\n`),
    ],
  },
  {
    title: "Targets",
    cases: [
      target("a path alone", "/", NO_URL),
      target("a path that begins like an authority", "//a.test/", NO_URL),
      target("a host and a port", "a.test:80", NO_URL),
      target("* with another method than OPTIONS", "*", NO_URL),
      target("one slash", "http:/a.test/", NO_URL),
      target(
        "another scheme",
        "ftp://a.test/",
        "the scheme ftp is not served: http is, and everything else through CONNECT",
      ),
      target("no host", "http:///x", HOST_FORM),
      target("a user", "http://b.test@a.test/", USER),
      target("a user and a password", "http://b:c@a.test/", USER),
      target("a backslash before another host", "http://a.test\\@b.test/", USER),
      target("a backslash in place of a slash", "http://a.test\\x", HOST_FORM),
      target("an escape in the host", "http://a%2etest/", HOST_FORM),
      target("other characters than ASCII in the host", "http://\u00e4.test/", HOST_FORM),
      target("two dots in the host", "http://a..test/", HOST_FORM),
      target("a dot before the host", "http://.a.test/", HOST_FORM),
      target("an IPv6 address without brackets", "http://::1/", HOST_FORM),
      target("an IPv6 address that is none", "http://[1::2::3]/", "malformed IPv6 address"),
      target("an IPv6 address with a zone", "http://[fe80::1%25eth0]/", HOST_FORM),
      target("port 0", "http://a.test:0/", PORT),
      target("port 65536", "http://a.test:65536/", PORT),
      target("a port that is none", "http://a.test:80x/", HOST_FORM),
      target("a fragment", "http://a.test/#x", NO_URL),
      target("a space", "http://a.test/a b", "malformed request line"),
      target("a tab", "http://a.test/a\tb", "malformed request line"),
      target("a control character", "http://a.test/\x01", "malformed request line"),
      refused(
        "a very long one",
        `GET http://a.test/${"x".repeat(65536)} HTTP/1.1\r\n${HOST}\r\n`,
        "the head of the request is longer than 65536 bytes",
        431,
      ),
      passedTarget("a long one", `http://a.test/${"x".repeat(60000)}`, `/${"x".repeat(60000)}`),
      passedTarget("no path", "http://a.test", "/"),
      passedTarget("a query without a path", "http://a.test?x", "/?x"),
      passedTarget("dots and slashes in the path", "http://a.test//../%2e%2e/./x", "//../%2e%2e/./x"),
      passedTarget("other characters than ASCII in the path", "http://a.test/\u00e4", "/\u00e4"),
      passedTarget("capitals, and a dot at the end", "HTTP://A.TEST./", "/", "A.TEST."),
      passedTarget("an empty port", "http://a.test:/", "/", "a.test:"),
      passedTarget("zeros before the port", "http://a.test:00080/", "/", "a.test:00080"),
    ],
  },
  {
    title: "Request lines",
    cases: [
      refused("HTTP/0.9", "GET http://a.test/\r\n\r\n", "malformed request line"),
      line("HTTP/2.0", "GET http://a.test/ HTTP/2.0"),
      refused("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "malformed request line"),
      line("HTTP/1.2", "GET http://a.test/ HTTP/1.2"),
      line("a version in lower case", "GET http://a.test/ http/1.1"),
      line("no version", "GET http://a.test/ "),
      line("a space behind the version", "GET http://a.test/ HTTP/1.1 "),
      line("a space before the method", " GET http://a.test/ HTTP/1.1"),
      line("two spaces", "GET  http://a.test/ HTTP/1.1"),
      line("tabs in place of spaces", "GET\thttp://a.test/\tHTTP/1.1"),
      line("a method that is none", "G(T http://a.test/ HTTP/1.1"),
      line("a response", "HTTP/1.1 200 OK"),
      passed("a method in lower case", `get http://a.test/ HTTP/1.1\r\n${HOST}\r\n`, `get / HTTP/1.1\r\n${HOST}\r\n`),
      refused("TRACE", `TRACE http://a.test/ HTTP/1.1\r\n${HOST}\r\n`, "TRACE is not served", 501),
    ],
  },
  {
    title: "CONNECT",
    cases: [
      connect("with a body", "a.test:80", "CONNECT with a body", "Content-Length: 5\r\n"),
      connect("with a body in chunks", "a.test:80", "CONNECT with a body", CHUNKED),
      connect("without a port", "a.test", "CONNECT without a port"),
      connect("with an empty port", "a.test:", "CONNECT without a port"),
      connect("without a host", ":80", HOST_FORM),
      connect("to port 0", "a.test:0", PORT),
      connect("to port 65536", "a.test:65536", PORT),
      connect("with a path", "a.test:80/", HOST_FORM),
      connect("with a URL", "http://a.test:80", HOST_FORM),
      connect("with a user", "b.test@a.test:80", USER),
      connect("with two Hosts", "a.test:80", "more than one Host", "Host: b.test\r\n"),
    ],
  },
];
