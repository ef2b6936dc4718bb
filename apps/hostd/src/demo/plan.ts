/** What the guest of the demonstration is to do, and how it reports it. */

/** The steps, in the order in which they are shown. */
export const STEPS = [
  { id: "lease", title: "DHCP lease" },
  { id: "ping", title: "ping the gateway" },
  { id: "host", title: "host.docker.internal" },
  { id: "download", title: "HTTP download" },
  { id: "lookup", title: "DNS look-up" },
  { id: "udp", title: "UDP echo" },
  { id: "refused", title: "closed port" },
  { id: "down", title: "throughput down" },
  { id: "up", title: "throughput up" },
] as const;

export type StepId = (typeof STEPS)[number]["id"];

/** Where the guest finds what it is to use. All of it is on the host's loopback, reached by the host's name. */
export interface Plan {
  readonly hostName: string;
  readonly gateway: string;
  /** A name that only the host's name server knows. */
  readonly outsideName: string;
  readonly httpPort: number;
  readonly udpPort: number;
  readonly closedPort: number;
  /** Bytes of the UDP datagram. */
  readonly udpLength: number;
  /** Seconds that each direction's throughput is measured. */
  readonly seconds: number;
}

/** What the guest says of a step: text in a form that {@link readReport} checks. */
export interface Report {
  readonly id: StepId;
  readonly text: string;
}

/** The mark in front of a report, on the guest's console or standard output. */
export const REPORT_MARK = "@hostd-demo";

/** Reads a report out of a line of the guest; null when the line is something else. */
export function readReport(line: string): Report | null {
  const match = new RegExp(`${REPORT_MARK} (\\w+) (.*?)\\s*$`).exec(line);
  const step = STEPS.find(({ id }) => id === match?.[1]);
  return match === null || step === undefined ? null : { id: step.id, text: match[2] };
}
