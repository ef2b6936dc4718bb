/** Filters in the language of tcpdump, of which a part is understood: docs/capture.md has the whole of it. */
import { FilterError } from "./filter-error.ts";
import {
  and,
  atLeast,
  atMost,
  type Direction,
  ETHER_TYPES,
  etherType,
  every,
  IP_PROTOCOLS,
  ipv4Multicast,
  ipv4Network,
  ipv4Protocol,
  ipv6Multicast,
  ipv6Network,
  ipv6Protocol,
  macAddress,
  multicast,
  not,
  or,
  PORT_PROTOCOLS,
  ports,
  type Test,
  YES,
} from "./filter-tests.ts";
import { readTokens, type Token } from "./filter-tokens.ts";
import {
  type Ipv4Value,
  type Ipv6Value,
  readAddress,
  readMacAddress,
  readNetwork,
  readNumber,
} from "./filter-values.ts";

/** Whether the frame of `length` bytes at `offset` is wanted. Allocates nothing and never throws. */
export type FrameFilter = (bytes: Uint8Array, offset: number, length: number) => boolean;

/** The longest filter, in characters: one is looked at for every frame. */
const MAX_LENGTH = 4096;
/** How deep parentheses and negations may be in each other. */
const MAX_DEPTH = 100;

/**
 * Makes a filter of an expression; an empty one wants every frame.
 *
 * @throws {FilterError} when the expression is not understood.
 */
export function compileFilter(expression: string): FrameFilter {
  if (expression.length > MAX_LENGTH) {
    throw new FilterError(`${expression.slice(0, 20)}...`, MAX_LENGTH + 1, `allowed: ${MAX_LENGTH} characters`);
  }
  const test = new FilterParser(expression).parse();
  return (bytes, offset, length) => test(bytes, offset, length) === YES;
}

/** The protocols that are a filter by themselves. */
const PROTOCOLS: ReadonlyMap<string, Test> = new Map([
  ["ip", etherType(ETHER_TYPES.ip)],
  ["ip6", etherType(ETHER_TYPES.ip6)],
  ["arp", etherType(ETHER_TYPES.arp)],
  ["rarp", etherType(ETHER_TYPES.rarp)],
  ["icmp", ipv4Protocol(IP_PROTOCOLS.icmp)],
  ["igmp", ipv4Protocol(IP_PROTOCOLS.igmp)],
  ["icmp6", ipv6Protocol(IP_PROTOCOLS.icmp6)],
  ...PORT_PROTOCOLS.map((name): [string, Test] => {
    return [name, or(ipv4Protocol(IP_PROTOCOLS[name]), ipv6Protocol(IP_PROTOCOLS[name]))];
  }),
]);

const BROADCAST = macAddress("dst", new Uint8Array(6).fill(0xff));

/** The frames that go to many. */
const GROUPS: ReadonlyMap<string, Test> = new Map([
  ["broadcast", BROADCAST],
  ["ether broadcast", BROADCAST],
  ["multicast", multicast],
  ["ether multicast", multicast],
  ["ip multicast", ipv4Multicast],
  ["ip6 multicast", ipv6Multicast],
]);

const TYPES = ["host", "net", "port", "portrange"] as const;
type Type = (typeof TYPES)[number];

/** Of which protocols something can be asked. */
const ALLOWED_PROTOCOLS: Readonly<Record<Type, readonly string[]>> = {
  host: ["ether", "ip", "ip6", "arp", "rarp"],
  net: ["ip", "ip6", "arp", "rarp"],
  port: PORT_PROTOCOLS,
  portrange: PORT_PROTOCOLS,
};

const STARTS =
  "[src|dst] host, net, port and portrange, a protocol (ether, ip, ip6, arp, rarp, icmp, icmp6, igmp, tcp, udp, sctp) " +
  "before them or alone, broadcast, multicast, less, greater, not and (";

const EXAMPLES: Readonly<Record<Type, string>> = {
  host: "an address, as 192.168.65.3 or fe80::1",
  net: "a network, as 192.168.65.0/24 or fe80::/10",
  port: "a number of 0 to 65535",
  portrange: "two numbers of 0 to 65535, as 8000-8010",
};

/** What a value is, as said by the words before it. */
interface Qualifiers {
  readonly protocol: string | undefined;
  readonly direction: Direction;
  readonly type: Type;
}

class FilterParser {
  readonly #expression: string;
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;
  /** Those of the value before, which hold for one that has none: `host a or b`. Null where there is nothing to take. */
  #qualifiers: Qualifiers | null = null;

  constructor(expression: string) {
    this.#expression = expression;
    this.#tokens = readTokens(expression);
  }

  parse(): Test {
    if (this.#peek() === "") return every;
    const test = this.#list(() => this.#item());
    if (this.#peek() !== "") throw this.#unexpected("and, or, and the end");
    return test;
  }

  /** Items with `and` and `or` between them, which bind alike, from the left. */
  #list(item: () => Test): Test {
    let test = item();
    for (;;) {
      if (this.#skip("and")) test = and(test, item());
      else if (this.#skip("or")) test = or(test, item());
      else return test;
    }
  }

  #item(): Test {
    if (this.#skip("not")) return not(this.#deeper(() => this.#item()));
    if (this.#peek() === "(") return this.#parentheses(() => this.#item());
    const word = this.#peek();
    if (word === "less" || word === "greater") return this.#lengthTest();
    if (GROUPS.has(word)) return this.#groupTest();
    if (word === "ether" || PROTOCOLS.has(word)) return this.#protocolTest();
    if (word === "src" || word === "dst" || isType(word)) return this.#valueTest(undefined);
    if (this.#qualifiers !== null && isValue(word)) return this.#value(this.#qualifiers);
    throw this.#unexpected(STARTS);
  }

  #parentheses(item: () => Test): Test {
    this.#next++;
    const test = this.#deeper(() => this.#list(item));
    if (!this.#skip(")")) throw this.#unexpected("and, or, and )");
    return test;
  }

  #deeper(read: () => Test): Test {
    if (++this.#depth > MAX_DEPTH) throw this.#fail(`deeper than ${MAX_DEPTH} parentheses and negations`);
    const test = read();
    this.#depth--;
    return test;
  }

  #lengthTest(): Test {
    const make = this.#take().text === "less" ? atMost : atLeast;
    const limit = readNumber(this.#peek(), 2 ** 31 - 1);
    if (limit === undefined) throw this.#unexpected("a number of bytes");
    this.#next++;
    this.#qualifiers = null;
    return make(limit);
  }

  #groupTest(protocol?: string): Test {
    const name = protocol === undefined ? this.#peek() : `${protocol} ${this.#peek()}`;
    const test = GROUPS.get(name);
    if (test === undefined) throw this.#fail(`"${name}" is not understood; allowed: ${[...GROUPS.keys()].join(", ")}`);
    this.#next++;
    this.#qualifiers = null;
    return test;
  }

  #protocolTest(): Test {
    const { text: protocol } = this.#take();
    const word = this.#peek();
    if (GROUPS.has(word)) return this.#groupTest(protocol);
    if (word === "src" || word === "dst" || isType(word)) return this.#valueTest(protocol);
    const test = PROTOCOLS.get(protocol);
    if (test === undefined) throw this.#unexpected("[src|dst] host, broadcast and multicast");
    this.#qualifiers = null;
    return test;
  }

  /** `[src|dst] [host|net|port|portrange] VALUE`, and several values in parentheses. */
  #valueTest(protocol: string | undefined): Test {
    const direction = this.#direction();
    const word = this.#peek();
    const type = isType(word) ? word : "host";
    const allowed = ALLOWED_PROTOCOLS[type];
    if (protocol !== undefined && !allowed.includes(protocol)) {
      throw this.#fail(`${type} does not go with ${protocol}; allowed before it: ${allowed.join(", ")}`);
    }
    if (isType(word)) this.#next++;
    return this.#values({ protocol, direction, type });
  }

  #direction(): Direction {
    const first = this.#peek();
    if (first !== "src" && first !== "dst") return "either";
    this.#next++;
    const [conjunction, second] = [this.#peek(), this.#peek(1)];
    const other = first === "src" ? "dst" : "src";
    if (second !== other || (conjunction !== "or" && conjunction !== "and")) return first;
    // `src or dst port 80` says both of the port; in `src host a or dst host b` a value comes between.
    this.#next += 2;
    return conjunction === "or" ? "either" : "both";
  }

  #values(qualifiers: Qualifiers): Test {
    if (this.#skip("not")) return not(this.#deeper(() => this.#values(qualifiers)));
    if (this.#peek() === "(") return this.#parentheses(() => this.#values(qualifiers));
    return this.#value(qualifiers);
  }

  #value(qualifiers: Qualifiers): Test {
    const { protocol, direction, type } = qualifiers;
    const { text } = this.#tokens[this.#next];
    const test =
      type === "host" && protocol === "ether"
        ? this.#macTest(text, direction)
        : type === "host" || type === "net"
          ? this.#addressTest(text, qualifiers)
          : portTest(text, qualifiers);
    if (test === undefined) throw this.#unexpected(EXAMPLES[type]);
    this.#next++;
    this.#qualifiers = qualifiers;
    return test;
  }

  #macTest(text: string, direction: Direction): Test {
    const address = readMacAddress(text);
    if (address === undefined) throw this.#unexpected("a MAC address, as 52:54:00:12:34:56");
    return macAddress(direction, address);
  }

  #addressTest(text: string, { protocol, direction, type }: Qualifiers): Test | undefined {
    const value = this.#address(text, type);
    if (value === undefined) return undefined;
    if (value.family === "ipv6") {
      if (protocol !== undefined && protocol !== "ip6") throw this.#fail(`${text} is of IPv6; allowed: ip6 ${type}`);
      return ipv6Network(direction, value.address, value.mask);
    }
    if (protocol === "ip6") throw this.#fail(`${text} is of IPv4; allowed: ip, arp and rarp ${type}`);
    const { address, mask } = value;
    return IPV4_CARRIERS.filter((carrier) => protocol === undefined || protocol === carrier)
      .map((carrier) => ipv4Network(carrier, direction, address, mask))
      .reduce(or);
  }

  #address(text: string, type: Type): Ipv4Value | Ipv6Value | undefined {
    if (type !== "net") return readAddress(text);
    try {
      return readNetwork(text);
    } catch (error) {
      throw error instanceof RangeError ? this.#fail(error.message) : error;
    }
  }

  #peek(ahead = 0): string {
    return this.#tokens[Math.min(this.#next + ahead, this.#tokens.length - 1)].text;
  }

  #take(): Token {
    return this.#tokens[this.#next++];
  }

  #skip(text: string): boolean {
    if (this.#peek() !== text) return false;
    this.#next++;
    return true;
  }

  #unexpected(allowed: string): FilterError {
    const text = this.#peek();
    const what = text === "" ? "it ends here" : `${JSON.stringify(text)} is not understood`;
    return this.#fail(`${what}; allowed: ${allowed}`);
  }

  #fail(reason: string): FilterError {
    return new FilterError(this.#expression, this.#tokens[this.#next].position, reason);
  }
}

/** Where IPv4 addresses are looked for when no protocol is said. */
const IPV4_CARRIERS = ["ip", "arp", "rarp"] as const;

function isType(word: string): word is Type {
  return (TYPES as readonly string[]).includes(word);
}

/** Whether a word may be meant as an address or a number. */
function isValue(word: string): boolean {
  return /^[\da-f:][\da-f.:/-]*$/i.test(word);
}

function portTest(text: string, { protocol, direction, type }: Qualifiers): Test | undefined {
  const parts = type === "port" ? [text, text] : text.split("-");
  const [first, second] = parts.map((part) => readNumber(part, 65_535));
  if (parts.length !== 2 || first === undefined || second === undefined) return undefined;
  const [low, high] = [Math.min(first, second), Math.max(first, second)];
  return PORT_PROTOCOLS.filter((name) => protocol === undefined || protocol === name)
    .map((name) => ports(IP_PROTOCOLS[name], direction, low, high))
    .reduce(or);
}
