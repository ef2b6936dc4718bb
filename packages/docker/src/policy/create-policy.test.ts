import { describe, expect, test } from "vitest";
import type { AskedPort } from "../ports/container-ports.ts";
import { CreatePolicy, type CreatePolicyOptions } from "./create-policy.ts";

/** What `docker run` of the command line sends, with a number that a double cannot hold. */
const BODY =
  '{"Hostname":"","Env":["A=1"],"Image":"nginx","HostConfig":{"Binds":["data:/data","/srv:/srv:ro"],"Memory":9007199254740993,' +
  '"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]},"ExtraHosts":["db:10.0.0.1"],"NetworkMode":"default",' +
  '"Mounts":[{"Type":"tmpfs","Target":"/tmp"}]},"NetworkingConfig":{"EndpointsConfig":{}}}\n';

function judge(body: string | object, options: CreatePolicyOptions = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const verdict = new CreatePolicy(options).judgeContainer(Buffer.from(text));
  if (verdict.kind === "rewrite") return verdict.body.toString();
  return verdict.kind === "pass" ? "pass" : `${verdict.status} ${verdict.message}`;
}

const FORBIDDEN: CreatePolicyOptions = { forbiddenMounts: ["/run/docker.sock", "/secret"] };
const DENIED = "403 mounts denied: /secret/a may not be mounted, since /secret is not for containers";

describe("a container that nothing is said against", () => {
  test("is created as it was asked for", () => {
    const everything: CreatePolicyOptions = {
      ...FORBIDDEN,
      hostGateway: "192.168.65.254",
      refusePort: () => null,
    };
    expect(judge(BODY, everything)).toBe("pass");
  });
});

describe("a request that the engine may read otherwise than hostd", () => {
  test.each([
    ['{"HostConfig":{"Binds":[]},"HostConfig":{}}', 'the member "HostConfig" twice at character 39'],
    ['{"HostConfig":{},"hostconfig":{}}', "HostConfig is there twice, as HostConfig and hostconfig"],
    [
      '{"HostConfig":{"Mounts":[{"Type":"tmpfs","type":"bind"}]}}',
      "HostConfig.Mounts[0].Type is there twice, as Type and type",
    ],
    ['{"HostConfig":{"Binds":"/a:/b"}}', "HostConfig.Binds is no array"],
    ['{"HostConfig":{"Binds":[1]}}', "HostConfig.Binds[0] is no string"],
    ['{"HostConfig":[]}', "HostConfig is no object"],
    ["[]", "it is no object"],
    ["{} trailing", "something follows the value at character 3"],
    ["", "no value at character 0"],
    [`{"a":${"[".repeat(100)}${"]".repeat(100)}}`, "more than 64 levels at character 68"],
  ])("is refused: %s", (body, reason) => {
    expect(judge(body)).toBe(`400 the request cannot be understood: ${reason}`);
  });

  test("is judged where it is read the same: in any case, and beside HostConfig", () => {
    for (const body of [
      '{"hostconfig":{"binds":["/secret/a:/a"]}}',
      '{"HO\u017fTCONFIG":{"BIND\u017f":["/secret/a:/a"]}}',
      '{"Binds":["/secret/a:/a"]}',
      '{"Binds":["/secret/a:/a"],"HostConfig":null}',
      '{"Binds":["/secret/a:/a"],"HostConfig":{}}',
    ]) {
      expect(judge(body, FORBIDDEN), body).toBe(DENIED);
    }
  });

  test("may have null where there is nothing", () => {
    expect(judge({ Env: null, HostConfig: { Binds: null, Mounts: [null], PortBindings: { "80/tcp": null } } })).toBe(
      "pass",
    );
  });
});

describe("a forbidden mount", () => {
  const mount = (one: object) => ({ HostConfig: { Mounts: [{ Type: "tmpfs", Target: "/t" }, one] } });
  const options = (driverOptions: object) =>
    mount({ Type: "volume", Target: "/a", VolumeOptions: { DriverConfig: { Name: "local", Options: driverOptions } } });

  test("is refused in Binds and in Mounts alike", () => {
    expect(judge({ HostConfig: { Binds: ["/secret/a:/a"] } }, FORBIDDEN)).toBe(DENIED);
    expect(judge({ HostConfig: { Binds: ["data:/d", "/srv/../secret/./a/:/a:ro,z"] } }, FORBIDDEN)).toContain(
      "403 mounts denied",
    );
    expect(judge(mount({ Type: "bind", Source: "/secret/a", Target: "/a" }), FORBIDDEN)).toBe(DENIED);
    expect(judge(mount({ TYPE: "bind", source: "/secret/a", Target: "/a" }), FORBIDDEN)).toBe(DENIED);
    expect(judge({ HostConfig: { Binds: ["/:/host"] } }, FORBIDDEN)).toBe(
      "403 mounts denied: / may not be mounted, since /run/docker.sock is not for containers",
    );
  });

  test("is refused as the device of a volume, however its options name it", () => {
    expect(judge(options({ type: "none", o: "bind", device: "/secret/a" }), FORBIDDEN)).toBe(DENIED);
    expect(
      judge(options({ type: "overlay", device: "overlay", o: "lowerdir=/srv:/secret/a,index=off" }), FORBIDDEN),
    ).toBe(DENIED);
    expect(judge(options({ type: "nfs", o: "addr=10.0.0.1", device: ":/secret/a" }), FORBIDDEN)).toBe("pass");
  });

  test("is refused when a volume is made of it", () => {
    const policy = new CreatePolicy(FORBIDDEN);
    const body = { Name: "v", Driver: "local", driveropts: { type: "none", o: "bind", device: "/secret/a" } };
    expect(policy.judgeVolume(Buffer.from(JSON.stringify(body)))).toEqual({
      kind: "answer",
      status: 403,
      message: DENIED.slice(4),
    });
    expect(policy.judgeVolume(Buffer.from('{"Name":"v"}'))).toEqual({ kind: "pass" });
  });

  test("is refused for the containers of a service", () => {
    const body = { Name: "s", TaskTemplate: { ContainerSpec: { Mounts: [{ Type: "bind", Source: "/secret/a" }] } } };
    const policy = new CreatePolicy(FORBIDDEN);
    expect(policy.judgeService(Buffer.from(JSON.stringify(body)))).toMatchObject({ kind: "answer", status: 403 });
    expect(policy.judgeService(Buffer.from('{"TaskTemplate":null}'))).toEqual({ kind: "pass" });
  });

  test("is one of a kind that is not known, unless nothing is forbidden", () => {
    const body = mount({ Type: "portal", Source: "x" });
    expect(judge(body, FORBIDDEN)).toBe('403 mounts denied: a mount of the type "portal" is not known');
    expect(judge(body)).toBe("pass");
  });

  test("is none: volumes by their name, what is only in the container, and other paths", () => {
    const body = {
      Volumes: { "/secret": {} },
      HostConfig: {
        Binds: ["/secret", "secret:/secret", "/srv:/secret"],
        Mounts: [{ Type: "volume", Source: "secret" }],
      },
    };
    expect(judge(body, FORBIDDEN)).toBe("pass");
  });
});

describe("a port of the host", () => {
  const ports = (PortBindings: object, NetworkMode = "default") => ({ HostConfig: { PortBindings, NetworkMode } });
  const refusePort = ({ address, first, last }: AskedPort) =>
    address === "127.0.0.1" ? null : `${address}:${first}-${last} is not for you`;

  test("that containers may not have is refused at once, in the words of a start", () => {
    expect(judge(ports({ "80/tcp": [{ HostIp: "10.0.0.1", HostPort: "8080" }] }), { refusePort })).toBe(
      "403 ports are not available: exposing port TCP 10.0.0.1:8080 -> 127.0.0.1:0: 10.0.0.1:8080-8080 is not for you",
    );
    expect(judge(ports({ "80/tcp": [{ hostip: "10.0.0.1", hostport: "8080" }] }), { refusePort })).toContain(
      "403 ports",
    );
    expect(judge(ports({ "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "8080" }] }), { refusePort })).toBe("pass");
  });

  test("of the engine's choice is judged by all that it may choose from", () => {
    const asked: AskedPort[] = [];
    const refuse = (one: AskedPort) => {
      asked.push(one);
      return null;
    };
    const rows = [{ HostPort: "" }, { HostPort: "0" }, { HostIp: "::1", HostPort: "8000-8010" }, {}];
    expect(judge(ports({ "53/udp": rows }), { refusePort: refuse })).toBe("pass");
    const any = { protocol: "udp", containerPort: 53, address: "", first: 0, last: 0 };
    expect(asked).toEqual([any, any, { ...any, address: "::1", first: 8000, last: 8010 }, any]);
    expect(judge(ports({ "80/tcp": [{ HostPort: "8000-8010" }] }), { refusePort })).toBe(
      "403 ports are not available: exposing port TCP 0.0.0.0:8000 -> 127.0.0.1:0: :8000-8010 is not for you",
    );
  });

  test("is judged beside HostConfig too, and each of several", () => {
    const body = { PortBindings: { "80/tcp": [{ HostIp: "127.0.0.1", HostPort: "80" }, { HostPort: "81" }] } };
    expect(judge(body, { refusePort })).toContain("403 ports are not available: exposing port TCP 0.0.0.0:81");
  });

  test("of SCTP is refused", () => {
    expect(judge(ports({ "80/SCTP": [{ HostPort: "80" }] }))).toBe(
      "403 ports are not available: exposing port SCTP 0.0.0.0:80 -> 127.0.0.1:0: " +
        "this protocol is not supported, only TCP and UDP are",
    );
  });

  test("is not asked for in the network of the host", () => {
    expect(judge(ports({ "80/tcp": [{ HostPort: "80" }] }, "host"), { refusePort })).toBe("pass");
  });
});

describe("host-gateway", () => {
  test("becomes the host's address, and all else stays as it is written", () => {
    const body =
      '{ "HostConfig" : {"Memory":9007199254740993, "ExtraHosts": ["a:1.2.3.4", "b:host-gateway","c=host-gateway"] } }';
    expect(judge(body, { hostGateway: "192.168.65.254" })).toBe(
      '{ "HostConfig" : {"Memory":9007199254740993, "ExtraHosts": ["a:1.2.3.4", "b:192.168.65.254","c:192.168.65.254"] } }',
    );
  });

  test("stays the engine's own unless an address is given", () => {
    expect(judge({ HostConfig: { ExtraHosts: ["b:host-gateway"] } })).toBe("pass");
  });
});

describe("proxy variables", () => {
  const options = { proxyEnvironment: { proxy: "http://p:3128", noProxy: 'a"b' } };
  const http =
    '"HTTP_PROXY=http://p:3128","http_proxy=http://p:3128","HTTPS_PROXY=http://p:3128","https_proxy=http://p:3128"';
  const no = '"NO_PROXY=a\\"b","no_proxy=a\\"b"';

  test.each([
    ['{"Env":["A=1"],"B":2}', `{"Env":["A=1",${http},${no}],"B":2}`],
    [
      '{ "N": 9007199254740993, "Env" : ["A=\\u00e4" ] }\n',
      `{ "N": 9007199254740993, "Env" : ["A=\\u00e4" ,${http},${no}] }\n`,
    ],
    ['{"Env":[ ]}', `{"Env":[ ${http},${no}]}`],
    ['{"env":null}', `{"env":[${http},${no}]}`],
    ['{"B":2}', `{"Env":[${http},${no}],"B":2}`],
    ["{}", `{"Env":[${http},${no}]}`],
  ])("are added to %s", (body, expected) => {
    expect(judge(body, options)).toBe(expected);
  });

  test("are not added in either case where the container sets them in any, or unsets them", () => {
    expect(judge({ Env: ["HTTP_PROXY=mine", "https_proxy="] }, options)).toBe(
      `{"Env":["HTTP_PROXY=mine","https_proxy=",${no}]}`,
    );
    expect(judge({ Env: ["http_proxy", "No_Proxy=", "HTTPS_PROXY=mine"] }, options)).toBe("pass");
    expect(judge({ Env: ["X_HTTP_PROXY=mine", "http_proxy_2=mine"] }, options)).toContain(http);
  });

  test("are added to the containers of a service, where it has any", () => {
    const judgeService = (body: string) => {
      const verdict = new CreatePolicy(options).judgeService(Buffer.from(body));
      return verdict.kind === "rewrite" ? verdict.body.toString() : verdict.kind;
    };
    expect(judgeService('{"Env":[],"TaskTemplate": {"ContainerSpec": {"Image":"nginx", "Env":["NO_PROXY="] }}}')).toBe(
      `{"Env":[],"TaskTemplate": {"ContainerSpec": {"Image":"nginx", "Env":["NO_PROXY=",${http}] }}}`,
    );
    expect(judgeService('{"tasktemplate":{"containerspec":{}}}')).toBe(
      `{"tasktemplate":{"containerspec":{"Env":[${http},${no}]}}}`,
    );
    for (const body of ['{"Name":"s"}', '{"TaskTemplate":{"ContainerSpec":null,"PluginSpec":{}}}']) {
      expect(judgeService(body), body).toBe("pass");
    }
  });

  test("come together with other changes of the same request", () => {
    const body = '{"HostConfig":{"ExtraHosts":["a:host-gateway"]},"Env":[]}';
    expect(judge(body, { ...options, hostGateway: "192.168.65.254" })).toBe(
      `{"HostConfig":{"ExtraHosts":["a:192.168.65.254"]},"Env":[${http},${no}]}`,
    );
  });
});
