/**
 * What an exclusion list means to us and to others. The columns of curl, Go, undici and Node are what these programs did
 * when they were run; that of macOS is what has been measured of CFNetwork (docs/decisions/proxy-exclusions.md).
 */

export const READERS = ["hostd", "curl", "Go", "undici", "Node", "macOS"] as const;
export type Reader = (typeof READERS)[number];

/** Whether a host is reached without the proxy; null when nobody has looked. */
export type Outcome = boolean | null;

export interface ExclusionCase {
  readonly list: string;
  /** As in a URL: an IPv6 address is in brackets, and a port is there when it is not 80. */
  readonly authority: string;
  readonly host: string;
  readonly port: number;
  readonly direct: Readonly<Record<Reader, Outcome>>;
  /** The versions that the column of curl holds for; all from 7.86 on when there is none. */
  readonly curlVersion?: string;
}

export interface ExclusionTopic {
  readonly about: string;
  readonly cases: readonly ExclusionCase[];
}

/** The versions of curl that read IPv6 networks as text, and white space as a separator. */
const OLD_CURL = "7.88.";

/** @param outcomes - of {@link READERS}: `D` direct, `-` through the proxy, `?` not known. */
function row(list: string, authority: string, outcomes: string, curlVersion?: string): ExclusionCase {
  const [, bracketed, plain, port = "80"] = /^(?:\[(.+)\]|([^:]+))(?::([0-9]+))?$/.exec(authority)!;
  const columns = outcomes.split(" ").map((mark): Outcome => (mark === "?" ? null : mark === "D"));
  const [hostd, curl, Go, undici, Node, macOS] = columns;
  const direct = { hostd, curl, Go, undici, Node, macOS };
  const common = { list, authority, host: bracketed ?? plain, port: Number(port), direct };
  return curlVersion === undefined ? common : { ...common, curlVersion };
}

export const EXCLUSION_TABLE: readonly ExclusionTopic[] = [
  {
    about: "A name",
    cases: [
      row("example.com", "example.com", "D D D D D D"),
      row("example.com", "www.example.com", "D D D D - -"),
      row("example.com", "a.b.example.com", "D D D D - -"),
      row("example.com", "notexample.com", "- - - - - -"),
      row("example.com", "example.com.evil.test", "- - - - - -"),
      row("EXAMPLE.com", "Www.Example.COM", "D D D D - -"),
      row("example.com.", "example.com", "D D - D - D"),
      row("example.com", "example.com.", "D D - D - D"),
      row("*.example.com", "www.example.com.", "D - - D - D"),
      row("bücher.example", "bücher.example", "D - D - - ?"),
      row("bücher.example", "xn--bcher-kva.example", "D - D - - ?"),
      row("xn--bcher-kva.example", "bücher.example", "D D D D D ?"),
      row("intranet", "intranet", "D D D D D D"),
      row("my_service", "my_service", "D D D D D D"),
    ],
  },
  {
    about: "A dot or a star in front",
    cases: [
      row(".example.com", "example.com", "D D - D D -"),
      row(".example.com", "www.example.com", "D D D D D D"),
      row(".example.com", "notexample.com", "- - - - - -"),
      row("*.example.com", "example.com", "D - - D - -"),
      row("*.example.com", "www.example.com", "D - D D D D"),
      row("*.example.com", "a.b.example.com", "D - D D D D"),
      row("*.example.com", "notexample.com", "- - - - - -"),
      row("*", "example.com", "D D D D D -"),
      row("*", "10.1.2.3", "D D D D D ?"),
      row("other.test,*", "example.com", "D - D - D ?"),
    ],
  },
  {
    about: "Patterns",
    cases: [
      row("*example.com", "notexample.com", "D - - - - -"),
      row("*example.com", "www.example.com", "D - - - - -"),
      row("www.*", "www.example.com", "D - - - - D"),
      row("www.*", "www", "- - - - - D"),
      row("*exam*", "www.example.com", "D - - - - -"),
      row("w*.example.com", "www.example.com", "D - - - - -"),
      row("*.*.example.com", "a.b.example.com", "D - - - - ?"),
      row("*.*.example.com", "b.example.com", "- - - - - ?"),
      row("192.168.*", "192.168.1.2", "D - - - - D"),
      row("192.168.*", "192.169.1.2", "- - - - - -"),
      row("192.168.*", "192.168.evil.test", "- - - - - ?"),
      row("10.*", "10.1.2.3", "D - - - - D"),
      row("10.*.*.*", "10.1.2.3", "D - - - - ?"),
      row("192.168.1*", "192.168.10.1", "D - - - - -"),
    ],
  },
  {
    about: "Addresses",
    cases: [
      row("10.1.2.3", "10.1.2.3", "D D D D D D"),
      row("10.1.2.3", "10.1.2.30", "- - - - - -"),
      row("10.1.2", "10.1.2.3", "- - - - - -"),
      row("10.1.2.", "10.1.2.3", "- - - - - -"),
      row("010.1.2.3", "10.1.2.3", "- - - - - -"),
      row("2.3", "1.2.3", "- - D - - ?"),
      row("::1", "[::1]", "D D D D D D"),
      row("[::1]", "[::1]", "D - D D - ?"),
      row("2001:db8::1", "[2001:db8:0:0::1]", "D D D D D ?"),
      row("2001:DB8:0::1", "[2001:db8::1]", "D - D - - ?", OLD_CURL),
      row("2001:db8::1", "[2001:db8::2]", "- - - - - ?"),
      row("10.1.2.3", "[::ffff:10.1.2.3]", "D - D - - -"),
      row("::ffff:10.1.2.3", "10.1.2.3", "D - D - - ?"),
    ],
  },
  {
    about: "Networks",
    cases: [
      row("10.0.0.0/8", "10.1.2.3", "D D D - - D"),
      row("10.0.0.0/8", "11.1.2.3", "- - - - - -"),
      row("10.9.9.9/8", "10.1.2.3", "D D D - - ?"),
      row("10.0.0.0/8", "10.example.com", "- - - - - ?"),
      row("192.168.1.0/25", "192.168.1.127", "D D D - - ?"),
      row("192.168.1.0/25", "192.168.1.128", "- - - - - ?"),
      row("0.0.0.0/0", "10.1.2.3", "D - D - - ?"),
      row("169.254/16", "169.254.1.1", "D - - - - D"),
      row("169.254/16", "169.0.0.254", "- - - - - -"),
      row("10/8", "10.1.2.3", "D - - - - ?"),
      row("10.0.0.0/33", "10.1.2.3", "- - - - - ?"),
      row("10.0.0.0/255.0.0.0", "10.1.2.3", "- - - - - ?"),
      row("10.1.2.1-10.1.2.9", "10.1.2.3", "- - - - D ?"),
      row("2001:db8::/32", "[2001:db8:1::1]", "D - D - - ?", OLD_CURL),
      row("2001:db8::/32", "[2001:db9::1]", "- - - - - ?"),
      row("fe80::/10", "[fe81::1]", "D - D - - ?", OLD_CURL),
      row("::/0", "10.1.2.3", "- - - - - ?"),
      row("10.0.0.0/8", "[::ffff:10.1.2.3]", "D - D - - ?"),
      row("::ffff:10.0.0.0/104", "10.1.2.3", "D - D - - ?"),
    ],
  },
  {
    about: "Ports",
    cases: [
      row("example.com:8080", "example.com:8080", "D - D D D -"),
      row("example.com:8080", "example.com", "- - - - - -"),
      row("example.com:8080", "www.example.com:8080", "D - D D - -"),
      row(".example.com:8080", "www.example.com:8080", "D - D D - -"),
      row("example.com", "example.com:8080", "D D D D D D"),
      row("example.com:80", "example.com", "D - D D D -"),
      row("10.1.2.3:8080", "10.1.2.3:8080", "D - D D D -"),
      row("10.1.2.3:8080", "10.1.2.3", "- - - - - -"),
      row("[2001:db8::1]:8080", "[2001:db8::1]:8080", "D - D D - ?"),
      row("[2001:db8::1]:8080", "[2001:db8::1]", "- - - - - ?"),
      row("*:8080", "example.com:8080", "D - - - - -"),
      row("*:8080", "example.com", "- - - - - -"),
      row("10.0.0.0/8:8080", "10.1.2.3:8080", "- D - - - ?", OLD_CURL),
      row("example.com:http", "example.com", "- - - - - -"),
      row("example.com:", "example.com", "- - D - - ?"),
    ],
  },
  {
    about: "Loopback and names without a dot",
    cases: [
      row("other.test", "localhost", "- - D - - D"),
      row("other.test", "127.0.0.1", "- - D - - D"),
      row("other.test", "127.0.0.2", "- - D - - -"),
      row("other.test", "[::1]", "- - D - - D"),
      row("localhost", "localhost", "D D D D D D"),
      row("localhost", "app.localhost", "D D D D - -"),
      row("<local>", "intranet", "D - - - - -"),
      row("<local>", "www.example.com", "- - - - - -"),
      row("<local>", "10.1.2.3", "- - - - - ?"),
      row("<local>", "[::2]", "- - - - - ?"),
      row("<-loopback>", "example.com", "- - - - - -"),
    ],
  },
  {
    about: "Separators, and entries that are none",
    cases: [
      row("a.test,example.com", "example.com", "D D D D D ?"),
      row("a.test, example.com", "example.com", "D D D D D ?"),
      row("a.test example.com", "example.com", "D D - D - ?", OLD_CURL),
      row("a.test\texample.com", "example.com", "D D - D - ?", OLD_CURL),
      row("a.test;example.com", "example.com", "D - - - - ?"),
      row(" example.com ", "example.com", "D D D D D -"),
      row(",,example.com,", "example.com", "D D D D D ?"),
      row("http://example.com", "example.com", "- - - - - ?"),
      row("a..example.com", "a..example.com", "- D D D D ?"),
      row("..example.com", "www.example.com", "- - - - - ?"),
      row("10.0.0.0/99,example.com", "example.com", "D D D D D ?"),
    ],
  },
];
