/** What the control API is about, without HTTP. */
import type { DnsQueryReport, DnsReport, DnsZoneReport } from "./dns-report.ts";

/** What the control API tells of the daemon. */
export interface ApiSubject {
  /** VMs that are attached. */
  sessions(): number;
  dns(): DnsReport;
  /**
   * How a name would be resolved.
   *
   * @param vm - for which VM; null for the only one.
   * @throws {RequestError} when something in it does not fit.
   */
  dnsQuery(name: string, type: string, vm: string | null): Promise<DnsQueryReport>;
  /**
   * Adds a zone to those that are there, until hostd ends.
   *
   * @param zone - as an item of `dns.zones` in the configuration, and for which VM alone it is in `vm`.
   * @returns the zone as it is then, with what was there before.
   * @throws {RequestError} when something in it does not fit; then nothing has changed.
   */
  addZone(zone: unknown): DnsZoneReport;
  /**
   * Takes a zone out, whole.
   *
   * @param vm - that of the zone; null for one that is for all VMs.
   * @throws {RequestError} when there is none.
   */
  removeZone(name: string, vm: string | null): { readonly removed: string };
}

/** A request that cannot be answered as it is. The message says what is allowed. */
export class RequestError extends Error {
  override readonly name = "RequestError";
}
