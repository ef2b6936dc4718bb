/** What was wrong with others' published ports once, as far as it is about which ports there are. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CreatePolicy } from "../policy/create-policy.ts";
import { PortHarness, publish } from "../testing/port-harness.ts";

let harness: PortHarness;

beforeEach(async () => {
  harness = await PortHarness.start();
});
afterEach(() => harness.close());

// docker/for-mac#7722, in Docker Desktop until 4.43.
test("a start of a running container leaves its ports as they are", async () => {
  const id = harness.engine.create({ portBindings: publish("80:80", "81") });
  await harness.start(id);
  await harness.settle();
  const before = [...harness.host.log];
  harness.engine.requests.length = 0;
  expect(await harness.start(id)).toBe(304);
  expect(harness.engine.requests).toEqual([`GET /containers/${id}/json`]);
  await harness.settle();
  expect(harness.host.log).toEqual(before);
});

// A race in Docker Desktop until 4.42.1.
test("the ports lead to the container when the client gets the answer to `docker run -p`", async () => {
  const { engine } = harness;
  for (let time = 0; time < 20; time++) {
    const id = engine.create({ portBindings: publish("80:80", "81") });
    expect(await harness.start(id)).toBe(204);
    const address = engine.containers.get(id)?.addresses.get("bridge");
    expect(harness.host.listening).toEqual([`:${engine.nextPort - 1}/tcp > ${address}:81`, `:80/tcp > ${address}:80`]);
    engine.remove(id);
  }
});

// A deadlock in Docker Desktop until 4.42.1.
test("containers that are started at once and have each other's ports do not wait for each other for ever", async () => {
  const { engine } = harness;
  const bindings = [publish("80:80", "81:81", "82:82"), publish("82:82", "81:81", "80:80")];
  for (let time = 0; time < 10; time++) {
    const ids = bindings.map((portBindings) => engine.create({ portBindings }));
    const results = await Promise.all(ids.map((id) => harness.start(id)));
    expect([...results].sort()).toEqual([204, 500]);
    await harness.settle();
    expect(harness.host.open.size).toBe(3);
    for (const id of ids) engine.remove(id);
    await harness.settle();
    expect(harness.host.open.size).toBe(0);
  }
});

// A deadlock in Docker Desktop until 4.42.1.
test("a container of which the engine says nothing does not hold up the others", async () => {
  const { engine } = harness;
  const stuck = engine.create({ portBindings: publish("79:79") });
  engine.held.add(`/containers/${stuck}/json`);
  engine.startContainer(stuck);
  await engine.asked(`GET /containers/${stuck}/json`);
  expect(await harness.start(engine.create({ portBindings: publish("80:80") }))).toBe(204);
  expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.3:80"]);
  engine.held.clear();
  harness.clock.advance(10_000);
  await harness.settle();
  expect(harness.host.listening).toEqual([":79/tcp > 172.17.0.2:79", ":80/tcp > 172.17.0.3:80"]);
});

// docker/for-mac#7693.
test("what is created is what was asked for, so an inspection shows its ports at once", () => {
  const body = Buffer.from(
    `{ "Image": "a",  "HostConfig": {"PortBindings": ${JSON.stringify(publish("80:80", "81"))}} }`,
  );
  expect(new CreatePolicy({}).judgeContainer(body)).toEqual({ kind: "pass" });
});

// testcontainers/testcontainers-node#818.
test.each([[["0.0.0.0", "::"]], [["::", "0.0.0.0"]], [["0.0.0.0"]], [["::"]], [[""]]])(
  "a port without an address is one port, whether its rows are %j",
  async (families) => {
    const id = harness.engine.create({ portBindings: publish("80", "8080:81"), families });
    expect(await harness.start(id)).toBe(204);
    expect(harness.host.listening).toEqual([":20000/tcp > 172.17.0.2:80", ":8080/tcp > 172.17.0.2:81"]);
    expect(harness.host.log.filter((one) => one.startsWith("+"))).toHaveLength(2);
  },
);

// testcontainers/testcontainers-node#818: the engine may choose one for each family.
test("another number for each family is another port for each", async () => {
  const id = harness.engine.create({ portBindings: publish("80") });
  harness.engine.startContainer(id);
  const container = harness.engine.containers.get(id);
  if (container !== undefined) {
    container.ports = {
      "80/tcp": [
        { HostIp: "0.0.0.0", HostPort: "32768" },
        { HostIp: "::", HostPort: "32769" },
      ],
    };
  }
  await harness.settle();
  expect(harness.host.listening).toEqual([":32768/tcp > 172.17.0.2:80", ":32769/tcp > 172.17.0.2:80"]);
});

test("TCP and UDP on one number are two ports, of which each comes and goes alone", async () => {
  const id = harness.engine.create({ portBindings: publish("53:53", "53:53/udp") });
  await harness.start(id);
  expect(harness.host.listening).toEqual([":53/tcp > 172.17.0.2:53", ":53/udp > 172.17.0.2:53"]);
  const container = harness.engine.containers.get(id);
  if (container !== undefined) container.ports = { "53/udp": container.ports["53/udp"] };
  harness.engine.emit("container", "start", id);
  await harness.settle();
  expect(harness.host.listening).toEqual([":53/udp > 172.17.0.2:53"]);
});

// UDP port 53 could not be bound in Docker Desktop until 4.36.
test("port 53 of UDP that the host has is told as such, and TCP is not in its way", async () => {
  harness.host.taken.add("53/udp");
  const tcp = harness.engine.create({ portBindings: publish("53:53") });
  const udp = harness.engine.create({ portBindings: publish("53:53/udp") });
  expect(await harness.start(udp)).toContain("exposing port UDP 0.0.0.0:53 -> 127.0.0.1:0: listen udp4 0.0.0.0:53");
  expect(await harness.start(tcp)).toBe(204);
});

// docker/for-mac#5235.
test("ports are back after a stop and a start", async () => {
  const id = harness.engine.create({ portBindings: publish("80:80") });
  for (let time = 0; time < 10; time++) {
    expect(await harness.start(id)).toBe(204);
    expect(harness.host.open.size).toBe(1);
    harness.engine.die(id);
    await harness.settle();
    expect(harness.host.open.size).toBe(0);
  }
});

// docker/for-mac#5521.
test("ports are back after the engine's restart, which starts containers by their policy", async () => {
  const always = harness.engine.create({ portBindings: publish("80:80", "81") });
  const never = harness.engine.create({ portBindings: publish("82:82") });
  await harness.start(always);
  await harness.start(never);
  await harness.engine.reboot([always]);
  await harness.reconnect();
  expect(harness.host.listening).toEqual([":20001/tcp > 172.17.0.4:81", ":80/tcp > 172.17.0.4:80"]);
});

// docker/for-mac#5301.
test("ports are back after a network is disconnected and connected, with those chosen anew", async () => {
  const { engine, host } = harness;
  const id = engine.create({ portBindings: publish("80:80", "81") });
  await harness.start(id);
  expect(host.listening).toEqual([":20000/tcp > 172.17.0.2:81", ":80/tcp > 172.17.0.2:80"]);
  engine.disconnect(id, "bridge");
  await harness.settle();
  expect(host.listening).toEqual([]);
  engine.connect(id, "bridge");
  await harness.settle();
  expect(host.listening).toEqual([":20001/tcp > 172.17.0.3:81", ":80/tcp > 172.17.0.3:80"]);
});

// docker/desktop-feedback#338.
test("several ports that are any at once are as many", async () => {
  const id = harness.engine.create({ portBindings: publish("0:80", "0:81", "0:82/udp", "0:80") });
  expect(await harness.start(id)).toBe(204);
  expect(harness.host.listening).toEqual([
    ":20000/tcp > 172.17.0.2:80",
    ":20001/tcp > 172.17.0.2:80",
    ":20002/tcp > 172.17.0.2:81",
    ":20003/udp > 172.17.0.2:82",
  ]);
});

// jriguera/container-images, container-network: any signal took the rules of a container away.
test("`docker kill -s HUP` ends no ports", async () => {
  const id = harness.engine.create({ portBindings: publish("80:80") });
  await harness.start(id);
  harness.engine.signal(id);
  await harness.settle();
  expect(harness.host.listening).toEqual([":80/tcp > 172.17.0.2:80"]);
});

// jriguera/container-images, container-network: what was missed while it was away stayed so.
test("events that were missed are made up for when they are followed again", async () => {
  const { engine } = harness;
  const ids = ["80:80", "81:81"].map((port) => engine.create({ portBindings: publish(port) }));
  await harness.start(ids[0]);
  engine.endStreams();
  engine.remove(ids[0]);
  engine.startContainer(ids[1]);
  await harness.reconnect();
  expect(harness.host.listening).toEqual([":81/tcp > 172.17.0.3:81"]);
});

// jriguera/container-images, container-network: its end left rules behind, and its start made them again.
test("ports of our own that were there when hostd ended are there when it starts", async () => {
  await harness.start(harness.engine.create({ portBindings: publish("80:80", "81") }));
  await harness.restartKeeper();
  expect(harness.host.listening).toEqual([":20000/tcp > 172.17.0.2:81", ":80/tcp > 172.17.0.2:80"]);
});

describe("Podman", () => {
  test("spells the end of a container `died` and `remove`, in `Status`", async () => {
    harness.engine.eventStyle = "podman";
    const ids = ["80:80", "81:81"].map((port) => harness.engine.create({ portBindings: publish(port) }));
    for (const id of ids) await harness.start(id);
    harness.engine.die(ids[0]);
    await harness.settle();
    expect(harness.host.listening).toEqual([":81/tcp > 172.17.0.3:81"]);
    harness.engine.containers.delete(ids[1]);
    harness.engine.emit("container", "destroy", ids[1]);
    await harness.settle();
    expect(harness.host.listening).toEqual([]);
  });
});

describe("a swarm", () => {
  const service = (name: string, ...ports: [number, number, string][]) => ({
    ID: name.padEnd(25, "0"),
    Spec: { Name: name },
    Endpoint: {
      Ports: ports.map(([PublishedPort, TargetPort, PublishMode]) => {
        return { Protocol: "tcp", TargetPort, PublishedPort, PublishMode };
      }),
    },
  });

  test("has its services' ingress ports lead to the VM, and those of mode `host` are containers'", async () => {
    const { engine, host } = harness;
    engine.services = [service("web", [8088, 80, "ingress"], [8089, 81, "host"])];
    engine.emit("service", "create", "web".padEnd(25, "0"));
    await harness.settle();
    expect(host.listening).toEqual([":8088/tcp > vm:8088"]);
    expect(harness.keeper.list()).toMatchObject([{ owner: "web", containerPort: 80 }]);
    engine.services = [service("web", [8090, 80, "ingress"]), service("db", [5432, 5432, "ingress"])];
    engine.emit("service", "update", "web".padEnd(25, "0"));
    await harness.settle();
    expect(host.listening).toEqual([":5432/tcp > vm:5432", ":8090/tcp > vm:8090"]);
    engine.services = [];
    engine.emit("service", "remove", "web".padEnd(25, "0"));
    await harness.settle();
    expect(host.listening).toEqual([]);
  });

  test("that is left has no ports after the next list, and containers may have them", async () => {
    const { engine, host } = harness;
    engine.services = [service("web", [8088, 80, "ingress"])];
    await harness.restartKeeper();
    expect(host.listening).toEqual([":8088/tcp > vm:8088"]);
    engine.services = null;
    const id = engine.create({ portBindings: publish("8088:80") });
    expect(await harness.start(id)).toBe(204);
    expect(host.listening).toEqual([":8088/tcp > 172.17.0.2:80"]);
  });
});
