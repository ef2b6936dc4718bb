import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { Api, client, FORWARDS, openFlows, PORT, serve, until } from "./support/control-lab.ts";
import { serveTcp } from "./support/host-servers.ts";
import { HOST, inLab } from "./support/lab.ts";

describe("the metrics", () => {
  it("are in Prometheus' text format and tell what there is", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { forwards: FORWARDS });
      const { guest, datagrams } = await openFlows(api);
      await guest.resolve("www.test");
      datagrams.send("again");
      const [tcpForward, udpForward] = api.daemon.control.forwards.list().map(({ id }) => id);
      const metrics = await api.scrape();
      const values = Object.fromEntries([...metrics].map(([name, { value }]) => [name, value]));
      expect(values).toMatchObject({
        hostd_vms: 1,
        hostd_dhcp_leases: 1,
        'hostd_flows{protocol="tcp"}': 3,
        'hostd_flows{protocol="udp"}': 2,
        'hostd_flows{protocol="icmp"}': 0,
        'hostd_tcp_connections_total{result="accepted"}': 2,
        'hostd_tcp_connections_total{result="dialed"}': 1,
        'hostd_egress_tcp_connections_total{result="connected"}': 1,
        'hostd_egress_tcp_connections{state="open"}': 1,
        'hostd_dns_queries_total{outcome="forwarded"}': 1,
        'hostd_dns_cache_lookups_total{result="miss"}': 1,
        'hostd_forwards{state="listening"}': 2,
        [`hostd_forward_connections_total{forward="${tcpForward}",result="connected"}`]: 1,
        [`hostd_forward_connections{forward="${tcpForward}",state="open"}`]: 1,
        [`hostd_forward_udp_flows{forward="${udpForward}"}`]: 1,
        [`hostd_forward_udp_datagrams_total{forward="${udpForward}",direction="from_vm"}`]: 1,
      });
      expect(values['hostd_link_frames_total{direction="from_vm"}']).toBeGreaterThan(10);
      expect(values.process_resident_memory_bytes).toBeGreaterThan(10_000_000);
      expect(values.process_cpu_seconds_total).toBeGreaterThan(0);
      expect(values.process_start_time_seconds).toBeGreaterThan(Date.now() / 1000 - 60);
      for (const [name, { type, value }] of metrics) {
        expect(value, name).toBeGreaterThanOrEqual(0);
        expect(type === "counter", name).toBe(/_total(\{|$)/.test(name));
      }
    }));

  it("measure the event loop from the first scrape on, between one and the next", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab);
      await api.scrape();
      // The first sample is taken from the second turn of its timer on.
      const seen = await until(async () => {
        for (const until = performance.now() + 100; performance.now() < until; );
        const { eventLoopDelay } = (await api.stats()).process;
        return (eventLoopDelay?.maximumSeconds ?? 0) > 0.05 && eventLoopDelay;
      });
      expect(seen.p50Seconds).toBeLessThanOrEqual(seen.p99Seconds);
      const metrics = await api.scrape();
      const delay = (statistic: string) => {
        return metrics.get(`hostd_event_loop_delay_seconds{statistic="${statistic}"}`)?.value ?? Number.NaN;
      };
      expect(delay("max")).toBeGreaterThanOrEqual(seen.maximumSeconds);
      expect(delay("p99")).toBeLessThanOrEqual(delay("max"));
      expect(delay("mean")).toBeGreaterThan(0);
    }));

  it("never count down when a VM goes or another comes", () =>
    inLab(async (lab) => {
      const api = await Api.start(lab, { forwards: FORWARDS });
      const scrapes = [await api.scrape()];
      for (const number of [1, 2, 3]) {
        const guest = await lab.boot(number);
        serve(guest, PORT, (stream) => stream.end("hello"));
        const host = await serveTcp(lab, (socket) => socket.end("hello"));
        expect(await text(await guest.connect(HOST, host.port))).toBe("hello");
        expect(await text(client(lab, api.portOf()))).toBe("hello");
        await guest.resolve("www.test");
        scrapes.push(await api.scrape());
        // In turn: detached here, gone in order, gone without a word.
        const [{ name }] = await api.vms();
        if (number === 1) await api.ask("DELETE", `/v1/vms?vm=${encodeURIComponent(name)}`);
        else if (number === 2) await guest.close();
        else await guest.kill();
        scrapes.push(await api.scrape());
        await until(async () => (await api.vms()).length === 0);
        scrapes.push(await api.scrape());
      }
      for (const [index, scrape] of scrapes.slice(1).entries()) {
        for (const [name, { type, value }] of scrapes[index]) {
          if (type === "counter") expect(scrape.get(name)?.value, name).toBeGreaterThanOrEqual(value);
        }
      }
      const last = scrapes[scrapes.length - 1];
      expect(last.get('hostd_egress_tcp_connections_total{result="connected"}')?.value).toBe(3);
      expect(last.get('hostd_dns_queries_total{outcome="cache"}')?.value).toBe(2);
      expect(last.get("hostd_vms")?.value).toBe(0);
      expect(last.get('hostd_flows{protocol="tcp"}')?.value).toBe(0);
    }));
});
