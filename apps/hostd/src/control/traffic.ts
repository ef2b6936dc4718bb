import { DnsStatistics } from "@hostd/dns";
import { type EgressStatistics, noEgressStatistics } from "@hostd/egress";
import { StackStatistics } from "@hostd/stack";

/** What is counted of a VM, or of several. */
export interface Traffic {
  readonly stack: Readonly<StackStatistics>;
  readonly egress: EgressStatistics;
  readonly dns: Readonly<DnsStatistics>;
}

/** That of no VM at all. */
export function noTraffic(): Traffic {
  return { stack: { ...new StackStatistics() }, egress: noEgressStatistics(), dns: { ...new DnsStatistics() } };
}

/** The sum of what is counted of two. */
export function addTraffic(one: Traffic, other: Traffic): Traffic {
  return {
    stack: sum(one.stack, other.stack),
    egress: {
      tcp: sum(one.egress.tcp, other.egress.tcp),
      udp: sum(one.egress.udp, other.egress.udp),
      icmp: sum(one.egress.icmp, other.egress.icmp),
    },
    dns: sum(one.dns, other.dns),
  };
}

function sum<Name extends string>(
  one: Readonly<Record<Name, number>>,
  other: Readonly<Record<Name, number>>,
): Record<Name, number> {
  const total: Record<Name, number> = { ...one };
  for (const name in total) total[name] += other[name];
  return total;
}
