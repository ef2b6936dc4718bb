/** Calls of gvproxy's API that cover each route with good and bad requests. */
import { type CallRequest, encodeRequest } from "./ask.ts";

export interface Call {
  /** Different from every other's. */
  readonly name: string;
  readonly request: Buffer;
  /** Over TCP, in place of the Unix socket. */
  readonly overTcp: boolean;
}

/** Calls that are made one after the other, of a program that was just started. */
export interface CallGroup {
  readonly name: string;
  readonly calls: readonly Call[];
}

/** What the calls are about. */
export interface Surroundings {
  /** Free ports of this host, six of them. */
  readonly ports: readonly number[];
  /** A port of 127.0.0.1 that is taken. */
  readonly taken: number;
  /** A folder that is empty but for a file named `file`. */
  readonly folder: string;
}

const ALL = "/services/forwarder/all";
const EXPOSE = "/services/forwarder/expose";
const UNEXPOSE = "/services/forwarder/unexpose";
const ADD_ZONE = "/services/dns/add";
const ZONES = "/services/dns/all";

const call = (name: string, request: CallRequest, overTcp = false): Call => ({
  name,
  request: encodeRequest(request),
  overTcp,
});
const post = (name: string, path: string, body: unknown, overTcp = false): Call =>
  call(name, { path, body: typeof body === "string" ? body : JSON.stringify(body) }, overTcp);
const raw = (name: string, text: string): Call => ({ name, request: Buffer.from(text), overTcp: false });

export function makeScript({ ports, taken, folder }: Surroundings): CallGroup[] {
  const [first, second, third, fourth, fifth, sixth] = ports;
  const vm = "192.168.127.2";
  const socket = `${folder}/web.sock`;
  return [
    {
      name: "requests and paths",
      calls: [
        call("forwards of a fresh program", { path: ALL }),
        call("leases of a fresh program", { path: "/services/dhcp/leases" }),
        call("leases at their short path", { path: "/leases" }),
        call("MAC addresses of a fresh program", { path: "/cam" }),
        call("statistics of a fresh program", { path: "/stats" }),
        call("zones of a fresh program", { path: ZONES }),
        call("a query that nobody reads", { path: "/leases?a=b&c" }),
        call("HEAD", { path: "/leases", method: "HEAD" }),
        call("HEAD of a long answer", { path: "/stats", method: "HEAD" }),
        call("HEAD of nothing", { path: "/nothing", method: "HEAD" }),
        call("OPTIONS", { path: "/leases", method: "OPTIONS" }),
        call("DELETE", { path: "/leases", method: "DELETE" }),
        call("POST to what is read", { path: ALL, body: "x" }),
        call("a path that is none", { path: "/nothing" }),
        call("the root", { path: "/" }),
        call("a path of services that is none", { path: "/services/nothing" }),
        call("a path with a slash too many", { path: "/leases/" }),
        call("a path below another", { path: "/services/dhcp/leases/all" }),
        call("services without a slash", { path: "/services" }),
        call("services", { path: "/services/" }),
        call("a service without a slash", { path: "/services/forwarder" }),
        call("a service without a slash, with a query", { path: "/services/dns?a=b" }),
        call("a service", { path: "/services/dhcp/" }),
        call("where a service without a slash leads", { path: "/forwarder/" }),
        call("an empty segment", { path: "//leases" }),
        call("an empty segment inside, with a query", { path: "/services//dns/all?x=1" }),
        call("an empty segment before a service without a slash", { path: "//services/forwarder" }),
        call("an empty segment before services", { path: "//services" }),
        call("dots", { path: "/services/./dns/../dhcp/leases" }),
        call("too many dots", { path: "/../../leases" }),
        call("dots to nothing", { path: "/x/../nothing/" }),
        call("an empty segment, with what HTML has a meaning for", { path: "/a//<b>&'\"" }),
        call("an empty segment by POST", { path: "//leases", body: "" }),
        call("an empty segment by HEAD", { path: "//leases", method: "HEAD" }),
        call("a whole URL", { path: "http://example.com/leases" }),
        call("an escape in a path", { path: "/%6ceases" }),
        call("profiles, without -debug", { path: "/debug/pprof/" }),
        call("a connection that is to be closed", { path: "/leases", headers: ["Connection: close"] }),
        raw("HTTP/1.0", "GET /cam HTTP/1.0\r\n\r\n"),
        raw("an empty Host", "GET /cam HTTP/1.1\r\nHost: \r\n\r\n"),
        raw("no Host", "GET /cam HTTP/1.1\r\n\r\n"),
        raw("no HTTP", "garbage\r\n\r\n"),
        raw("a header field without a colon", "GET /cam HTTP/1.1\r\nHost: x\r\nbad\r\n\r\n"),
        raw("two requests", "GET /cam HTTP/1.1\r\nHost: x\r\n\r\nGET /leases HTTP/1.1\r\nHost: x\r\n\r\n"),
        raw("a body that is announced", `POST ${EXPOSE} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}`),
        raw(
          "a body in chunks",
          `POST ${EXPOSE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
        ),
      ],
    },
    {
      name: "JSON",
      calls: jsonCalls(),
    },
    {
      name: "forwards",
      calls: [
        call("expose by GET", { path: EXPOSE }),
        call("expose by PUT", { path: EXPOSE, method: "PUT", body: "{}" }),
        call("unexpose by GET", { path: UNEXPOSE }),
        post("a port", EXPOSE, { local: `127.0.0.1:${first}`, remote: `${vm}:80`, protocol: "tcp" }),
        post("a port without a protocol", EXPOSE, { local: `127.0.0.1:${second}`, remote: `${vm}:443` }),
        post("keys in any case, and others", EXPOSE, { LOCAL: `:${third}`, Remote: `${vm}:8080`, x: [1, { y: null }] }),
        post("a port of UDP", EXPOSE, { local: `127.0.0.1:${first}`, remote: `${vm}:53`, protocol: "udp" }),
        post("an address of IPv6", EXPOSE, { local: `[::1]:${fourth}`, remote: `${vm}:80` }),
        post("localhost", EXPOSE, { local: `localhost:${fifth}`, remote: `${vm}:80` }),
        post("any port", EXPOSE, { local: "127.0.0.1:0", remote: `${vm}:80` }),
        post("any port of every address", EXPOSE, { local: ":0", remote: `${vm}:80` }),
        post("no address at all", EXPOSE, { local: "", remote: `${vm}:80` }),
        post("an address without a port", EXPOSE, { local: "127.0.0.1:", remote: `${vm}:81` }),
        post("a port with zeros and a sign", EXPOSE, { local: `127.0.0.1:+0${sixth}`, remote: `${vm}:+080` }),
        post("brackets around IPv4", EXPOSE, { local: "[127.0.0.1]:0", remote: `${vm}:80` }),
        post(
          "JSON with something behind it",
          EXPOSE,
          '{"local":"127.0.0.1:0","remote":"192.168.127.9:1","protocol":"udp"} x',
        ),
        call("forwards", { path: ALL }),
        call("forwards by HEAD", { path: ALL, method: "HEAD" }),
        post("another address of a port that has every one", EXPOSE, {
          local: `127.0.0.1:${third}`,
          remote: `${vm}:80`,
        }),
        post("every address of a port that one has", EXPOSE, { local: `:${first}`, remote: `${vm}:80` }),
        post("the same port of UDP under another name", EXPOSE, {
          local: `localhost:${first}`,
          remote: `${vm}:53`,
          protocol: "udp",
        }),
        post("unexpose a port", UNEXPOSE, { local: `127.0.0.1:${first}`, protocol: "tcp" }),
        post("unexpose it again", UNEXPOSE, { local: `127.0.0.1:${first}`, protocol: "tcp" }),
        post("unexpose without a protocol", UNEXPOSE, { local: `127.0.0.1:${second}` }),
        post("unexpose with a remote that is no text", UNEXPOSE, { local: `:${third}`, remote: 5 }),
        post("unexpose under another name", UNEXPOSE, { local: `127.0.0.1:${fifth}` }),
        post("unexpose any port", UNEXPOSE, { local: ":0" }),
        post("unexpose a protocol that is none", UNEXPOSE, { local: ":0", protocol: "x" }),
        post("unexpose nothing", UNEXPOSE, {}),
        call("the forwards that are left", { path: ALL }),
        post("a port that was given up", EXPOSE, { local: `127.0.0.1:${first}`, remote: `${vm}:80` }),
      ],
    },
    {
      name: "forwards that cannot be",
      calls: [
        post("a taken port", EXPOSE, { local: `127.0.0.1:${taken}`, remote: `${vm}:80` }),
        post("a taken port of every address", EXPOSE, { local: `:${taken}`, remote: `${vm}:80` }),
        post("an address of another machine", EXPOSE, { local: `192.0.2.1:${first}`, remote: `${vm}:80` }),
        post("an address of another machine, by UDP", EXPOSE, {
          local: `192.0.2.1:${first}`,
          remote: `${vm}:80`,
          protocol: "udp",
        }),
        post("a port alone", EXPOSE, { local: `${first}`, remote: `${vm}:80` }),
        post("a port alone, by UDP", EXPOSE, { local: `${first}`, remote: `${vm}:80`, protocol: "udp" }),
        post("IPv6 without brackets", EXPOSE, { local: `::1:${first}`, remote: `${vm}:80` }),
        post("a bracket that is not closed", EXPOSE, { local: "[::1", remote: `${vm}:80` }),
        post("a port that is a word", EXPOSE, { local: ":x", remote: `${vm}:80` }),
        post("a port that is a word, by UDP", EXPOSE, { local: ":x", remote: `${vm}:80`, protocol: "udp" }),
        post("a port that is too high", EXPOSE, { local: ":99999", remote: `${vm}:80` }),
        post("a port that is too high, by UDP", EXPOSE, { local: ":99999", remote: `${vm}:80`, protocol: "udp" }),
        post("a port below 0", EXPOSE, { local: ":-1", remote: `${vm}:80` }),
        post("an address that is a name with a space", EXPOSE, { local: `a b:${first}`, remote: `${vm}:80` }),
        post("no remote", EXPOSE, { local: `:${first}` }),
        post("an empty remote", EXPOSE, { local: `:${first}`, remote: "" }),
        post("a remote without a port", EXPOSE, { local: `:${first}`, remote: vm }),
        post("a remote with two ports", EXPOSE, { local: `:${first}`, remote: `${vm}:80:1` }),
        post("a remote with an empty port", EXPOSE, { local: `:${first}`, remote: `${vm}:` }),
        post("a remote whose port is a word", EXPOSE, { local: `:${first}`, remote: `${vm}:http` }),
        post("a remote whose port is too high for a number", EXPOSE, {
          local: `:${first}`,
          remote: `${vm}:${"9".repeat(20)}`,
        }),
        post("a remote of IPv6", EXPOSE, { local: `:${first}`, remote: "[::1]:80" }),
        post("a remote of IPv6, with a local that is wrong", EXPOSE, { local: "wrong", remote: "[::1]:80" }),
        post("a remote with a bracket too few", EXPOSE, { local: `:${first}`, remote: "[::1:80" }),
        post("a remote with a bracket too many", EXPOSE, { local: `:${first}`, remote: "a]b:80" }),
        post("a remote with a bracket in it", EXPOSE, { local: `:${first}`, remote: "a[b:80" }),
        post("a remote with something behind the brackets", EXPOSE, { local: `:${first}`, remote: "[::1]80" }),
        post("a remote that is a port, over a Unix socket", EXPOSE, { local: `:${first}`, remote: ":80" }),
        post("a protocol that is none", EXPOSE, { local: `:${first}`, remote: `${vm}:80`, protocol: "x" }),
        post("a protocol in capitals", EXPOSE, { local: `:${first}`, remote: `${vm}:80`, protocol: "TCP" }),
        post("a protocol that is none, and no remote", EXPOSE, { local: `:${first}`, protocol: "x" }),
        call("no forwards", { path: ALL }),
      ],
    },
    {
      name: "forwards that hostd refuses",
      calls: [
        post("a remote that is a name", EXPOSE, { local: `127.0.0.1:${first}`, remote: "example:80" }),
        post("a remote with port 0", EXPOSE, { local: `127.0.0.1:${second}`, remote: `${vm}:0` }),
        post("a remote whose port is too high", EXPOSE, { local: `127.0.0.1:${third}`, remote: `${vm}:99999` }),
        post("a remote that is loopback", EXPOSE, { local: `127.0.0.1:${fourth}`, remote: "127.0.0.1:80" }),
        post("a remote that is the gateway", EXPOSE, { local: `127.0.0.1:${fifth}`, remote: "192.168.127.1:80" }),
        post("a remote that is a port, over TCP", EXPOSE, { local: `127.0.0.1:${sixth}`, remote: ":80" }, true),
        post("a name that nobody has", EXPOSE, { local: `host.invalid:${first}`, remote: `${vm}:80` }),
      ],
    },
    {
      name: "a forward that is there",
      calls: [
        post("a port to be there", EXPOSE, { local: `127.0.0.1:${first}`, remote: `${vm}:80` }),
        post("a port that is there", EXPOSE, { local: `127.0.0.1:${first}`, remote: `${vm}:80` }),
        post("a port that is there, to another one", EXPOSE, { local: `127.0.0.1:${first}`, remote: `${vm}:81` }),
      ],
    },
    {
      name: "Unix sockets",
      calls: [
        post("a Unix socket", EXPOSE, { local: socket, remote: `tcp://${vm}:80`, protocol: "unix" }),
        post("a Unix socket to a remote with a path", EXPOSE, {
          local: `${folder}/path.sock`,
          remote: `TCP://${vm}:80/path`,
          protocol: "unix",
        }),
        call("forwards of Unix sockets", { path: ALL }),
        post("unexpose a Unix socket", UNEXPOSE, { local: socket, protocol: "unix" }),
        post("a Unix socket that was given up", EXPOSE, { local: socket, remote: `tcp://${vm}:80`, protocol: "unix" }),
        ...(
          [
            ["a path", "/run/x.sock"],
            ["nothing", ""],
            ["an address without a scheme", `${vm}:80`],
            ["no scheme in front of a colon", ":80"],
            ["another scheme", `http://${vm}:80`],
            ["no port", `tcp://${vm}`],
            ["a port that is a word", `tcp://${vm}:http`],
            ["two ports", `tcp://${vm}:1:2`],
            ["IPv6", "tcp://[::1]:80"],
            ["an address with a space", "tcp://a b:80"],
            ["a wrong escape", "tcp://%zz:80"],
            ["a path in place of an address", `tcp:${vm}:80`],
            ["SSH without a key", `ssh-tunnel://core@${vm}:22/run/x.sock`],
            ["SSH without a path", `ssh-tunnel://core@${vm}:22?key=/key`],
            ["SSH to the root", `ssh-tunnel://core@${vm}:22/?key=/key`],
          ] as const
        ).map(([name, remote]) =>
          post(`a Unix socket to ${name}`, EXPOSE, { local: `${folder}/none.sock`, remote, protocol: "unix" }),
        ),
        post("a named pipe", EXPOSE, { local: "npipe:////./pipe/x", remote: `tcp://${vm}:80`, protocol: "npipe" }),
        post("a named pipe to an address without a scheme", EXPOSE, {
          local: "npipe:////./pipe/x",
          remote: `${vm}:80`,
          protocol: "npipe",
        }),
      ],
    },
    {
      name: "Unix sockets that hostd refuses",
      calls: [
        post("a Unix socket to a name", EXPOSE, { local: socket, remote: "tcp://example:80", protocol: "unix" }),
        post("a Unix socket that is a file", EXPOSE, {
          local: `${folder}/file`,
          remote: `tcp://${vm}:80`,
          protocol: "unix",
        }),
        post("a Unix socket without a path", EXPOSE, { local: "", remote: `tcp://${vm}:80`, protocol: "unix" }),
        post("a Unix socket in a folder that is not there", EXPOSE, {
          local: `${folder}/new/web.sock`,
          remote: `tcp://${vm}:80`,
          protocol: "unix",
        }),
        post("SSH with a key that is not there", EXPOSE, {
          local: `${folder}/ssh.sock`,
          remote: `ssh-tunnel://core@${vm}:22/run/x.sock?key=${folder}/none`,
          protocol: "unix",
        }),
        post("SSH without a user", EXPOSE, {
          local: `${folder}/user.sock`,
          remote: `ssh-tunnel://${vm}:22/run/x.sock?key=${folder}/none`,
          protocol: "unix",
        }),
      ],
    },
    {
      name: "zones",
      calls: [
        call("add a zone by GET", { path: ADD_ZONE }),
        post("a zone", ADD_ZONE, {
          Name: "lab.test.",
          Records: [{ Name: "db", IP: "192.0.2.7" }],
          DefaultIP: "192.0.2.1",
        }),
        post("a zone, its keys in small letters", ADD_ZONE, {
          name: "small.test.",
          records: [{ name: "db", ip: "192.0.2.8" }],
          defaultip: "192.0.2.2",
        }),
        post("more of a zone", ADD_ZONE, { Name: "lab.test.", Records: [{ Name: "web", IP: "192.0.2.9" }] }),
        post("a zone with a default address alone", ADD_ZONE, { Name: "default.test.", DefaultIP: "192.0.2.3" }),
        post("a zone with nothing", ADD_ZONE, { Name: "nothing.test." }),
        post("a zone with null", ADD_ZONE, { Name: "null.test.", Records: null, DefaultIP: null }),
        post("a regular expression that is none", ADD_ZONE, {
          Name: "bad.test.",
          Records: [{ Regexp: "(", IP: "192.0.2.7" }],
        }),
        post("zones: an address that is none", ADD_ZONE, { Name: "bad.test.", DefaultIP: "192.0.2" }),
        post("zones: an address with a zero in front", ADD_ZONE, { Name: "bad.test.", DefaultIP: "192.0.2.01" }),
        post("zones: a record with an address that is none", ADD_ZONE, { Name: "bad.test.", Records: [{ IP: "x" }] }),
        post("zones: a default address that is a number", ADD_ZONE, { Name: "bad.test.", DefaultIP: 5 }),
        post("zones: a record's address that is a list", ADD_ZONE, {
          Name: "bad.test.",
          Records: [{ IP: [1, 2, 3, 4] }],
        }),
        post("zones: a record's name that is a number", ADD_ZONE, { Name: "bad.test.", Records: [{ Name: 5 }] }),
        post("zones: a regular expression that is a number", ADD_ZONE, { Name: "bad.test.", Records: [{ Regexp: 5 }] }),
        post("zones: records that are an object", ADD_ZONE, { Name: "bad.test.", Records: {} }),
        post("zones: a record that is a number", ADD_ZONE, { Name: "bad.test.", Records: [5] }),
        post("zones: two errors", ADD_ZONE, { Name: 5, DefaultIP: "x" }),
        post("zones: a list", ADD_ZONE, []),
        post("zones: nothing", ADD_ZONE, ""),
      ],
    },
    {
      name: "a zone with addresses of each kind",
      calls: [
        post("addresses of IPv6", ADD_ZONE, {
          Name: "six.test.",
          Records: [
            { Name: "mapped", IP: "::ffff:192.0.2.4" },
            { Name: "six", IP: "2001:DB8:0:0:0:0:0:1" },
            { Regexp: "a(.*)<b>", IP: "192.0.2.5" },
          ],
          DefaultIP: "2001:db8::2",
        }),
        call("zones with addresses of each kind", { path: ZONES }),
      ],
    },
    {
      name: "zones that hostd refuses",
      calls: [
        post("a zone without a name", ADD_ZONE, {}),
        post("a zone whose name is none", ADD_ZONE, { Name: "a b." }),
        post("a record without a name", ADD_ZONE, { Name: "lab.test.", Records: [{ IP: "192.0.2.7" }] }),
        post("a record that is null", ADD_ZONE, { Name: "lab.test.", Records: [null] }),
        post("a record without an address", ADD_ZONE, { Name: "lab.test.", Records: [{ Name: "db" }] }),
      ],
    },
    {
      name: "what takes over its connection",
      calls: [
        call("a tunnel to nowhere", { path: "/tunnel", method: "POST" }),
        call("a tunnel to an empty address", { path: "/tunnel?ip=&port=80", method: "POST" }),
        call("a tunnel without a port", { path: `/tunnel?ip=${vm}`, method: "POST" }),
        call("a tunnel whose port is a word", { path: `/tunnel?ip=${vm}&port=x`, method: "POST" }),
        call("a tunnel whose port is too high for a number", { path: `/tunnel?ip=${vm}&port=${"9".repeat(20)}` }),
        call("a tunnel to a name", { path: "/tunnel?ip=example&port=" }),
        call("below /connect", { path: "/connect/" }),
        call("an empty segment before /connect", { path: "//connect" }),
        raw("/connect without a Host", "POST /connect HTTP/1.1\r\n\r\n"),
      ],
    },
  ];
}

function jsonCalls(): Call[] {
  const bodies: readonly (readonly [name: string, body: string])[] = [
    ["nothing", ""],
    ["a space", " \r\n\t"],
    ["an object that does not end", "{"],
    ["a list that does not end", "["],
    ["a text that does not end", '{"local'],
    ["an escape that does not end", '{"local\\'],
    ["a key that does not end", '{"local"'],
    ["a value that is missing at the end", '{"local":'],
    ["a number that does not end", '{"local":-'],
    ["a word that does not end", '{"local":tru'],
    ["an empty object", "{}"],
    ["null", "null"],
    ["a word", "x"],
    ["a number", "12"],
    ["a number with a sign", "-1.5e+3"],
    ["a text", '"a"'],
    ["true", "true"],
    ["a list", "[]"],
    ["a list of values", '[1,"a",true,null,{"a":[]}]'],
    ["a number for a text", '{"local":1}'],
    ["null for a text", '{"local":null}'],
    ["a list for a text", '{"local":[]}'],
    ["an object for a text", '{"local":{}}'],
    ["a word for a text", '{"local":true}'],
    ["a number for a protocol", '{"protocol":1}'],
    ["a key in capitals", '{"REMOTE":5}'],
    ["a key with a letter that folds", '{"local":"x","remote":"y","protoco\u2113":1}'],
    ["two errors", '{"remote":1,"local":[]}'],
    ["a value that is missing", '{"a":}'],
    ["a comma too many", '{"a":1,}'],
    ["a comma too many in a list", "[1,]"],
    ["a comma too few", '{"a":1 2}'],
    ["a comma too few in a list", "[1 2]"],
    ["a colon too few", '{"a" 1}'],
    ["a key without quotes", "{a:1}"],
    ["a wrong word", '{"a":tru1}'],
    ["another wrong word", '{"a":nil}'],
    ["a third wrong word", '{"a":fa1se}'],
    ["a sign alone", '{"a":-}'],
    ["a point alone", '{"a":1.}'],
    ["an exponent alone", '{"a":1e}'],
    ["an exponent with a sign alone", '{"a":1e+}'],
    ["a zero in front", '{"a":01}'],
    ["a plus sign", '{"a":+1}'],
    ["a wrong escape", '{"a":"\\x"}'],
    ["a wrong escape of a number", '{"a":"\\u12x4"}'],
    ["a line in a text", '{"a":"\n"}'],
    ["a quote", "'a'"],
    ["a double quote", '{"a":1"'],
    ["a letter of two bytes", "\u00e9"],
    ["a byte that is not printable", "\u0001"],
    ["a character that begins no value", "]"],
    ["something behind it", '{"local":1} x'],
    ["deep lists", "[".repeat(10_001)],
    ["deep lists that are allowed", "[".repeat(10_000)],
  ];
  return [
    ...bodies.map(([name, body]) => post(`expose with ${name}`, EXPOSE, body)),
    post("unexpose with nothing", UNEXPOSE, ""),
    post("unexpose with a list", UNEXPOSE, "[]"),
    post("unexpose with a number for a text", UNEXPOSE, '{"local":5,"protocol":3}'),
    post("unexpose with a word", UNEXPOSE, "x"),
  ];
}
