import type { QueryContext } from "@hostd/dns";
import type { ContainerDirectory } from "@hostd/docker";
import { FailureLog, type Logger, systemClock } from "@hostd/streams";
import type { DnsService } from "../dns/service.ts";
import { containerRecords } from "./container-records.ts";

/** How many names a log line has. */
const MAX_LOGGED = 10;

export interface ContainerZoneOptions {
  /** The domain. */
  readonly name: string;
  readonly dns: Pick<DnsService, "setContainers">;
  /** Which clients have it. */
  readonly isFor: (context: QueryContext) => boolean;
  readonly logger: Logger;
}

/** The domain in which containers are answered by name. It is there from the start, with nothing in it. */
export class ContainerZone {
  readonly #options: ContainerZoneOptions;
  readonly #failures: FailureLog;
  #leftOut: ReadonlySet<string> = new Set();

  constructor(options: ContainerZoneOptions) {
    this.#options = options;
    this.#failures = new FailureLog(options.logger, systemClock);
    this.update(new Map());
  }

  /** Has the containers answered that there are now, and no others. */
  update(names: ContainerDirectory["names"]): void {
    const { name, dns, isFor } = this.#options;
    const { records, leftOut } = containerRecords(names, name);
    dns.setContainers({ name, records }, isFor);
    const added = leftOut.filter((each) => !this.#leftOut.has(each));
    this.#leftOut = new Set(leftOut);
    if (added.length === 0) return;
    const fields = { zone: name, names: added.slice(0, MAX_LOGGED), count: added.length };
    this.#failures.warn("names", fields, "names of containers are not answered: they are no domain names, or too many");
  }

  /** Has none of them answered any more, nor the domain itself. */
  close(): void {
    this.#options.dns.setContainers(null);
  }
}
