import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PortForwarder } from "@hostd/portfwd";
import { afterEach } from "vitest";
import { type HostdConfig, parseConfig } from "../config/resolve.ts";
import type { SettingsInput } from "../config/schema.ts";
import { EventHub, type HostdEvent } from "../control/event-hub.ts";
import { forwarderSettings } from "../forwarder-settings.ts";
import { ForwardBook } from "../forwards/forward-book.ts";
import { ForwardStore } from "../forwards/forward-store.ts";
import { createLogger, type Logger } from "../logging.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

export interface TestBook {
  readonly config: HostdConfig;
  readonly forwarder: PortForwarder;
  readonly store: ForwardStore;
  readonly book: ForwardBook;
  readonly hub: EventHub;
  readonly events: HostdEvent[];
  readonly logger: Logger;
  readonly log: { readonly level: string; readonly msg: string }[];
  close(): Promise<void>;
}

/** A folder that is gone after the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hostd-book-"));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A book of forwards over sockets of this host, without VMs. */
export async function openBook(settings: SettingsInput = {}): Promise<TestBook> {
  const state = settings.state ?? (await temporaryFolder());
  const config = parseConfig({ qemu: [], publish: { waitSeconds: 0 }, ...settings, state }, "test");
  const log: { level: string; msg: string }[] = [];
  const write = (line: string) => void log.push(JSON.parse(line));
  const logger = createLogger({ level: "debug", format: "json" }, { isTerminal: false, hasColors: false, write });
  const hub = new EventHub();
  const events: HostdEvent[] = [];
  hub.listen((event) => events.push(event));
  const forwarder = new PortForwarder({ ...forwarderSettings(config), logger });
  const store = await ForwardStore.open(config, logger);
  const book = new ForwardBook({ forwarder, store, events: hub, logger });
  let closing: Promise<void> | null = null;
  const close = () => {
    closing ??= (async () => {
      book.close();
      await forwarder.close();
      await store.close();
    })();
    return closing;
  };
  cleanups.push(close);
  return { config, forwarder, store, book, hub, events, logger, log, close };
}
