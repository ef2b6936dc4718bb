import { describe, expect, test } from "vitest";
import { parseScutilProxy, SCUTIL_PROGRAM } from "./scutil.ts";

/** A Mac without proxies, as it is set up. */
const NONE = `<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
    1 : 169.254/16
  }
  FTPPassive : 1
  HTTPEnable : 0
  HTTPSEnable : 0
  ProxyAutoConfigEnable : 0
  ProxyAutoDiscoveryEnable : 0
  SOCKSEnable : 0
  __SCOPED__ : <dictionary> {
    en0 : <dictionary> {
      ExceptionsList : <array> {
        0 : *.local
        1 : 169.254/16
      }
      FTPPassive : 1
    }
  }
}
`;

const MANUAL = `<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
    1 : 169.254/16
    2 : intranet.corp.example
    3 : *.lab.example
  }
  ExcludeSimpleHostnames : 1
  FTPPassive : 1
  HTTPEnable : 1
  HTTPPort : 3128
  HTTPProxy : proxy.corp.example
  HTTPSEnable : 1
  HTTPSPort : 3129
  HTTPSProxy : Secure.Corp.Example.
  ProxyAutoConfigEnable : 0
  ProxyAutoConfigURLString : http://old.corp.example/proxy.pac
  ProxyAutoDiscoveryEnable : 0
  SOCKSEnable : 0
  SOCKSPort : 1080
  SOCKSProxy : old-socks.corp.example
}
`;

const PAC = `<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
    1 : 169.254/16
  }
  FTPPassive : 1
  HTTPEnable : 0
  HTTPSEnable : 0
  ProxyAutoConfigEnable : 1
  ProxyAutoConfigURLString : http://wpad.corp.example:8080/proxy.pac?site=1
  ProxyAutoDiscoveryEnable : 0
  SOCKSEnable : 0
}
`;

const SOCKS = `<dictionary> {
  ExceptionsList : <array> {
  }
  FTPPassive : 1
  HTTPEnable : 0
  HTTPSEnable : 1
  HTTPSPort : 8443
  HTTPSProxy : 2001:db8::80
  SOCKSEnable : 1
  SOCKSPort : 1080
  SOCKSProxy : 10.0.0.5
}
`;

/** A tunnel has a proxy for programs that ask for its interface; there is none for others. */
const VPN_SCOPED = `<dictionary> {
  FTPPassive : 1
  __SCOPED__ : <dictionary> {
    en0 : <dictionary> {
      FTPPassive : 1
    }
    utun4 : <dictionary> {
      ExceptionsList : <array> {
        0 : *.corp.example
      }
      HTTPEnable : 1
      HTTPPort : 8080
      HTTPProxy : proxy.vpn.example
      HTTPSEnable : 1
      HTTPSPort : 8080
      HTTPSProxy : proxy.vpn.example
    }
  }
}
`;

/** A tunnel that is the way to everything: its proxies are those of the host, and the scoped ones stay. */
const VPN_FULL = `<dictionary> {
  ExceptionsList : <array> {
    0 : *.corp.example
  }
  HTTPEnable : 1
  HTTPPort : 8080
  HTTPProxy : proxy.vpn.example
  HTTPSEnable : 1
  HTTPSPort : 8080
  HTTPSProxy : proxy.vpn.example
  SupplementalMatchDomains : <array> {
    0 : 
  }
  __SCOPED__ : <dictionary> {
    en0 : <dictionary> {
      FTPPassive : 1
      HTTPEnable : 1
      HTTPPort : 3128
      HTTPProxy : proxy.home.example
    }
    utun4 : <dictionary> {
      HTTPEnable : 1
      HTTPPort : 8080
      HTTPProxy : proxy.vpn.example
    }
  }
  __SUPPLEMENTAL__ : <array> {
    0 : <dictionary> {
      HTTPEnable : 1
      HTTPPort : 9090
      HTTPProxy : proxy.supplemental.example
      __MATCH_DOMAIN_SUPPLEMENTAL__ : 
    }
  }
}
`;

/** The dynamic store is empty when there is no network. */
const OFFLINE = `<dictionary> {
}
`;

function exclude(text: string, host: string): string | null {
  const [{ list }] = parseScutilProxy(text).settings!.exclusions;
  return list.match(host, 443);
}

describe("scutil --proxy", () => {
  test.each([
    ["a Mac without proxies", NONE],
    ["a Mac without a network", OFFLINE],
    ["proxies for programs that ask for an interface", VPN_SCOPED],
  ])("says nothing with %s", (_, text) => {
    expect(parseScutilProxy(text)).toEqual({ settings: null, problems: [] });
  });

  test("gives a proxy for each scheme, and no values that are off", () => {
    const { settings, problems } = parseScutilProxy(MANUAL);
    expect(problems).toEqual([]);
    expect(settings).toMatchObject({
      http: [{ kind: "http", host: "proxy.corp.example", port: 3128 }],
      https: [{ kind: "http", host: "secure.corp.example", port: 3129 }],
      pac: null,
      allowed: null,
      from: "the settings of macOS",
    });
  });

  test("takes exceptions as macOS does: a name alone, what is below a star, short networks, names without a dot", () => {
    expect(exclude(MANUAL, "intranet.corp.example")).toBe("intranet.corp.example");
    expect(exclude(MANUAL, "www.intranet.corp.example")).toBeNull();
    expect(exclude(MANUAL, "a.b.lab.example")).toBe("*.lab.example");
    expect(exclude(MANUAL, "lab.example")).toBeNull();
    expect(exclude(MANUAL, "169.254.1.2")).toBe("169.254/16");
    expect(exclude(MANUAL, "printer")).toBe("<local>");
  });

  test("does not take names without a dot for exceptions unless it is told to", () => {
    expect(exclude(PAC, "printer")).toBeNull();
    expect(exclude(PAC, "printer.local")).toBe("*.local");
  });

  test("gives a PAC script, with its query", () => {
    const { settings, problems } = parseScutilProxy(PAC);
    expect(problems).toEqual([]);
    expect(settings).toMatchObject({
      http: [],
      https: [],
      pac: "http://wpad.corp.example:8080/proxy.pac?site=1",
    });
  });

  test("prefers a PAC script to proxies", () => {
    const both = MANUAL.replace("ProxyAutoConfigEnable : 0", "ProxyAutoConfigEnable : 1");
    expect(parseScutilProxy(both).settings).toMatchObject({
      http: [],
      https: [],
      pac: "http://old.corp.example/proxy.pac",
    });
  });

  test("gives a SOCKS proxy, which resolves names, to schemes without a proxy of their own", () => {
    expect(parseScutilProxy(SOCKS).settings).toMatchObject({
      http: [{ kind: "socks5h", host: "10.0.0.5", port: 1080 }],
      https: [{ kind: "http", host: "2001:db8::80", port: 8443 }],
    });
  });

  test("takes the proxies of a tunnel for everything, and none of those beside them", () => {
    const { settings, problems } = parseScutilProxy(VPN_FULL);
    expect(problems).toEqual([]);
    const proxy = { kind: "http", host: "proxy.vpn.example", port: 8080 };
    expect(settings).toMatchObject({ http: [proxy], https: [proxy] });
  });

  test("says that a password of the keychain and automatic discovery are out of reach", () => {
    const text = MANUAL.replace("HTTPProxy :", "HTTPUser : alice\n  HTTPProxy :").replace(
      "ProxyAutoDiscoveryEnable : 0",
      "ProxyAutoDiscoveryEnable : 1",
    );
    const { settings, problems } = parseScutilProxy(text);
    expect(settings?.http).toEqual([{ kind: "http", host: "proxy.corp.example", port: 3128 }]);
    expect(problems).toEqual([
      "the settings of macOS: automatic discovery (WPAD) is not supported",
      "the settings of macOS: the password of HTTPUser is in the keychain, which is not read: set the proxy with its credentials",
    ]);
  });

  test("leaves out what is no proxy, and says so", () => {
    const text = MANUAL.replace("HTTPPort : 3128", "HTTPPort : 99999").replace("intranet.corp.example", "a..b");
    const { settings, problems } = parseScutilProxy(text);
    expect(settings).toMatchObject({ http: [], https: [{ host: "secure.corp.example" }] });
    expect(problems).toEqual([
      expect.stringMatching(/^the settings of macOS: HTTPProxy: .*the port is no number from 1 to 65535/),
      'the settings of macOS: the exclusion "a..b": it has an empty label',
    ]);
  });

  test.each([
    ["nothing", ""],
    ["an error", "No proxy configuration available\n"],
    ["half of a dictionary", MANUAL.slice(0, 200)],
    ["a dictionary without end", `<dictionary> {\n${"  a : <dictionary> {\n".repeat(100_000)}`],
  ])("refuses %s", (_, text) => {
    expect(() => parseScutilProxy(text)).toThrow(/^(what )?scutil --proxy wrote/);
  });

  test("is watched by the key that has the proxies of all programs", () => {
    expect(SCUTIL_PROGRAM.watch).toEqual([
      { program: "/usr/sbin/scutil", args: [], input: "n.add State:/Network/Global/Proxies\nn.watch\n" },
    ]);
  });
});
