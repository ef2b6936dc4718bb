/** Forwards as gvproxy's API has them: by their protocol and the text that says where they listen. */
import {
  BindError,
  BindRefusedError,
  type ForwardRule,
  formatListen,
  isGuestSocket,
  isSocketPath,
} from "@hostd/portfwd";
import { formatIpv4, TokenBucket } from "@hostd/stack";
import type { Control } from "../control/control.ts";
import type { BookedForward } from "../forwards/forward-book.ts";
import type { VmSession } from "../vm-session.ts";
import { readRule } from "./forward-request.ts";
import { GoHttpError } from "./go-http.ts";
import { type GoType, goString, goStruct } from "./go-json.ts";
import { GoAddressError, splitHostPort } from "./go-net.ts";

/** What a forward is opened by. */
export interface ExposeRequest {
  readonly local: string;
  readonly remote: string;
  /** TCP where it is empty. */
  readonly protocol: string;
}

/** What a forward is removed by. */
export type UnexposeRequest = Omit<ExposeRequest, "remote">;

/** A forward as it is listed, its fields in this order. */
export interface ListedForward {
  readonly local: string;
  readonly remote: string;
  readonly protocol: string;
}

/** Who asks, and from which address of TCP; without one it is a Unix socket. */
export interface Asker {
  /** The VM that asks by way of the gateway; null for the user of this host. */
  readonly vm: VmSession | null;
  readonly address: string | undefined;
}

const protocol = goString("types.TransportProtocol");

export const exposeRequest: GoType<ExposeRequest> = goStruct("types.ExposeRequest", {
  local: goString(),
  remote: goString(),
  protocol,
});

export const unexposeRequest: GoType<UnexposeRequest> = goStruct("types.UnexposeRequest", {
  local: goString(),
  protocol,
});

/** The most forwards that VMs may have opened by themselves, all together. */
export const MAX_GUEST_FORWARDS = 1000;
/** How often VMs may ask for one a second, in the mean: each is logged. */
const GUEST_REQUESTS_PER_SECOND = 10;

const INSTANCES = new WeakMap<Control, GvproxyForwards>();

/** A forward that was opened here, as it was written. */
interface Written {
  readonly shown: ListedForward;
  readonly vm: VmSession | null;
}

export class GvproxyForwards {
  readonly #control: Control;
  readonly #written = new WeakMap<BookedForward, Written>();
  /** The keys of those that are being opened. */
  readonly #opening = new Set<string>();
  readonly #guestRequests = new TokenBucket(GUEST_REQUESTS_PER_SECOND, MAX_GUEST_FORWARDS);
  /** The VMs that have opened any. */
  readonly #vms = new Set<VmSession>();
  #guestsOpening = 0;

  /** The one for a daemon, whichever of its sockets a request comes from. */
  static of(control: Control): GvproxyForwards {
    const known = INSTANCES.get(control);
    if (known !== undefined) return known;
    const forwards = new GvproxyForwards(control);
    INSTANCES.set(control, forwards);
    return forwards;
  }

  private constructor(control: Control) {
    this.#control = control;
  }

  /** Every forward, as gvproxy would list it; for a VM those that it has opened itself. */
  list({ vm }: Asker): ListedForward[] {
    const listed: ListedForward[] = [];
    for (const entry of this.#entries(vm)) listed.push(this.#show(entry));
    return listed.sort((one, other) => compare(one.local, other.local) || compare(one.protocol, other.protocol));
  }

  /**
   * Opens a forward.
   *
   * @throws {GoHttpError} with gvproxy's status and words.
   */
  async expose(request: ExposeRequest, asker: Asker): Promise<void> {
    const { vm } = asker;
    const kind = request.protocol === "" ? "tcp" : request.protocol;
    if (vm !== null) this.#checkGuest(kind);
    const isSocket = kind === "unix" || kind === "npipe";
    const remote = isSocket ? request.remote : completeRemote(request.remote, asker.address);
    const shown = { local: request.local, remote, protocol: kind };
    const key = keyOf(shown);
    if (this.#opening.has(key) || this.#find(key, null) !== undefined) {
      throw new GoHttpError(500, "proxy already running");
    }
    this.#opening.add(key);
    if (vm !== null) this.#guestsOpening++;
    try {
      const rule = await readRule(shown, this.#control.config(), vm);
      await this.#open(rule, { shown, vm });
    } finally {
      this.#opening.delete(key);
      if (vm !== null) this.#guestsOpening--;
    }
  }

  /**
   * Removes a forward. Connections over it go on until they end.
   *
   * @throws {GoHttpError} when there is none.
   */
  async unexpose({ local, protocol: given }: UnexposeRequest, { vm }: Asker): Promise<void> {
    const entry = this.#find(keyOf({ local, protocol: given === "" ? "tcp" : given }), vm);
    if (entry === undefined) throw new GoHttpError(500, "proxy not found");
    await this.#control.forwards.remove(entry.id, entry.rule.protocol === "tcp");
  }

  async #open(rule: ForwardRule, written: Written): Promise<void> {
    const { forwards } = this.#control;
    const { vm } = written;
    let entry: BookedForward;
    try {
      entry = await forwards.open(rule, { origin: vm === null ? "gvproxy" : "guest" });
    } catch (error) {
      if (error instanceof BindRefusedError) throw new GoHttpError(403, error.message);
      throw new GoHttpError(500, error instanceof BindError ? error.goMessage : String((error as Error).message));
    }
    this.#written.set(entry, written);
    if (vm === null) return;
    if (!this.#control.vms().includes(vm)) await forwards.remove(entry.id);
    else this.#closeWith(vm);
  }

  /** What a VM has opened ends with it: the containers that it was for do, and publish their ports when they are back. */
  #closeWith(vm: VmSession): void {
    if (this.#vms.has(vm)) return;
    this.#vms.add(vm);
    vm.ended.then(async () => {
      this.#vms.delete(vm);
      for (const { id } of [...this.#entries(vm)]) await this.#control.forwards.remove(id);
    });
  }

  /** @throws {GoHttpError} when the VM may not ask for that, or not now. */
  #checkGuest(kind: string): void {
    if (kind === "unix" || kind === "npipe") {
      throw new GoHttpError(403, `protocol ${kind}: a guest may not have sockets of this host's files`);
    }
    if (!this.#guestRequests.take(performance.now())) {
      throw new GoHttpError(429, `guests may publish ${GUEST_REQUESTS_PER_SECOND} ports a second`);
    }
    const opened = this.#control.forwards.list().filter(({ origin }) => origin === "guest").length;
    if (opened + this.#guestsOpening < MAX_GUEST_FORWARDS) return;
    throw new GoHttpError(403, `guests may have published ${MAX_GUEST_FORWARDS} ports at once`);
  }

  /** The forwards that listen; of a VM those that it has opened. */
  *#entries(vm: VmSession | null): IterableIterator<BookedForward> {
    for (const entry of this.#control.forwards.list()) {
      if (entry.forward === null) continue;
      if (vm === null || this.#written.get(entry)?.vm === vm) yield entry;
    }
  }

  #find(key: string, vm: VmSession | null): BookedForward | undefined {
    for (const entry of this.#entries(vm)) if (keyOf(this.#show(entry)) === key) return entry;
    return undefined;
  }

  /** A forward as gvproxy has it. Where it leads to the VM that is attached, that is the address of the first. */
  #show(entry: BookedForward): ListedForward {
    const written = this.#written.get(entry);
    if (written !== undefined) return written.shown;
    const { rule, forward } = entry;
    const { protocol, to } = rule;
    const listening = forward?.listening ?? rule.listen;
    const server = isGuestSocket(to) ? to.server : to;
    const address = server.address ?? this.#control.vms()[0]?.address ?? null;
    const place = `${address === null ? "" : formatIpv4(address)}:${server.port}`;
    const isPath = isSocketPath(listening);
    return {
      local: isPath ? listening.path : formatListen(listening),
      remote: isGuestSocket(to)
        ? `ssh-tunnel://${to.user}@${place}${to.path}?key=${to.identity}`
        : `${isPath ? "tcp://" : ""}${place}`,
      protocol: isPath ? "unix" : protocol,
    };
  }
}

/**
 * Completes a remote that is a port alone with the address of who asks.
 *
 * @throws {GoHttpError} when it is no address and port, or there is no such address.
 */
function completeRemote(remote: string, address: string | undefined): string {
  try {
    if (splitHostPort(remote).host !== "") return remote;
    // What Go calls the other end of a Unix socket.
    if (address === undefined) splitHostPort("@");
  } catch (error) {
    if (error instanceof GoAddressError) throw new GoHttpError(400, error.message);
    throw error;
  }
  return `${address?.replace(/^::ffff:/, "")}${remote}`;
}

function keyOf({ protocol, local }: UnexposeRequest): string {
  return `${protocol}/${local}`;
}

function compare(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
