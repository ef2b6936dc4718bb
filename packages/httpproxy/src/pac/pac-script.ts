import { JSException, type JSValueHandle, QuickJS } from "quickjs-wasi";
import { type PacFunction, type PacValue, pacFunctions } from "./pac-functions.ts";
import type { Addresses, PacAnswer } from "./pac-protocol.ts";

/** The longest result, and the longest text that a script may pass to a function, in UTF-16 units. */
const MAX_TEXT = 8192;
const MAX_MESSAGE = 200;
const MAX_ALERTS = 10;
/** Names that a script may ask for in one go, each after the other has failed. */
const MAX_MISSING = 32;

/** What the script does is not what a PAC script does. */
class Misuse extends Error {}

/**
 * A PAC script in QuickJS, which is compiled to WebAssembly: it has its own memory, and nothing but the language and the
 * PAC functions.
 *
 * The script runs as it is, without waiting: where an address is needed that is not known yet, the run is given up, and
 * everything starts over once it is. So what a script leaves behind in its variables may be from such a run.
 */
export class PacScript {
  readonly #vm: QuickJS;
  #find: JSValueHandle | null = null;
  #addresses: Addresses = new Map();
  readonly #missing = new Set<string>();
  #alerts: string[] = [];
  /** Values that were made for the script in this run. */
  readonly #values: JSValueHandle[] = [];

  private constructor(vm: QuickJS) {
    this.#vm = vm;
    const functions = pacFunctions({
      addressOf: (name) => this.#addressOf(name),
      alert: (text) => void (this.#alerts.length < MAX_ALERTS && this.#alerts.push(clean(text))),
    });
    for (const [name, call] of Object.entries(functions)) {
      vm.newFunction(name, (...args) => this.#call(call, args)).consume((handle) =>
        vm.setProp(vm.global, name, handle),
      );
    }
  }

  /** @param engine - QuickJS as a binary WebAssembly module, whose memory has a maximum. */
  static async create(engine: Uint8Array): Promise<PacScript> {
    // What the engine would print is of no use to anybody.
    return new PacScript(await QuickJS.create({ wasm: engine, wasi: () => ({ fd_write: () => BAD_DESCRIPTOR }) }));
  }

  /** Runs the script itself. May be called once. */
  load(script: string, addresses: Addresses): PacAnswer {
    return this.#attempt(addresses, () => {
      this.#vm.evalCode(script, "proxy.pac").dispose();
      const find = this.#vm.evalCode("typeof FindProxyForURL === 'function' ? FindProxyForURL : null");
      if (find.isNull) throw new Misuse("it has no function FindProxyForURL");
      this.#find = find;
      return "";
    });
  }

  /** Calls `FindProxyForURL`. */
  find(url: string, host: string, addresses: Addresses): PacAnswer {
    return this.#attempt(addresses, () => {
      if (this.#find === null) throw new Misuse("it is not loaded");
      const args = [url, host].map((text) => this.#keep(this.#vm.newString(text)));
      const result = this.#keep(this.#vm.callFunction(this.#find, this.#vm.undefined, ...args));
      if (result.isUndefined || result.isNull) return "";
      if (!result.isString) throw new Misuse(`FindProxyForURL returns a value of type ${result.typeof}, not a text`);
      if (result.length > MAX_TEXT) throw new Misuse(`FindProxyForURL returns more than ${MAX_TEXT} characters`);
      return result.toString();
    });
  }

  #attempt(addresses: Addresses, run: () => string): PacAnswer {
    this.#addresses = addresses;
    this.#missing.clear();
    this.#alerts = [];
    try {
      const text = run();
      // Whatever it returned: it may have caught what ended the run.
      return this.#missing.size > 0 ? this.#names() : { kind: "result", text, alerts: this.#alerts };
    } catch (error) {
      const failure = toFailure(error);
      if (error instanceof JSException) this.#forget(error);
      return this.#missing.size > 0 && !failure.isBroken ? this.#names() : failure;
    } finally {
      for (const value of this.#values.splice(0)) value.dispose();
    }
  }

  #names(): PacAnswer {
    return { kind: "names", names: [...this.#missing] };
  }

  #addressOf(name: string): string | null {
    const address = this.#addresses.get(name);
    if (address !== undefined) return address;
    if (this.#missing.size < MAX_MISSING) this.#missing.add(name);
    // No Error: its stack would tell the script about this host.
    throw "the address is not known yet";
  }

  #call(call: PacFunction, args: readonly JSValueHandle[]): JSValueHandle {
    const result = call(...args.map(toValue));
    switch (typeof result) {
      case "string":
        return this.#keep(this.#vm.newString(result));
      case "number":
        return this.#keep(this.#vm.newNumber(result));
      case "boolean":
        return result ? this.#vm.true : this.#vm.false;
      default:
        return result === null ? this.#vm.null : this.#vm.undefined;
    }
  }

  /** The library keeps each exception, disposed or not, for as long as the engine lives. */
  #forget(error: JSException): void {
    error.dispose();
    // biome-ignore lint/complexity/useLiteralKeys: it is private, which this way of access is for.
    this.#vm["_ownedHandles"].delete(error.handle);
  }

  #keep(value: JSValueHandle): JSValueHandle {
    this.#values.push(value);
    return value;
  }
}

/** WASI's `badf`. */
const BAD_DESCRIPTOR = 8;

/** Objects are not looked into, which could take for ever. */
function toValue(handle: JSValueHandle): PacValue {
  if (handle.isString) {
    if (handle.length > MAX_TEXT) throw `a text has more than ${MAX_TEXT} characters`;
    return handle.toString();
  }
  if (handle.isNumber) return handle.toNumber();
  if (handle.isBool) return handle.toString() === "true";
  return handle.isNull ? null : undefined;
}

function toFailure(error: unknown): PacAnswer & { readonly kind: "failed" } {
  if (error instanceof Misuse) return { kind: "failed", message: error.message, isBroken: false };
  if (!(error instanceof JSException)) {
    // A trap or an overflow in the engine itself.
    return { kind: "failed", message: clean(`it broke its sandbox: ${error}`), isBroken: true };
  }
  const { name, message } = error;
  // Out of memory, it may not even be able to make an error; and what it holds then, it would go on to hold.
  const isBroken = name === "InternalError" || name === NO_TEXT;
  return { kind: "failed", message: name === NO_TEXT ? "it throws no error" : clean(`${name}: ${message}`), isBroken };
}

/** What the library has for a value that could not be made a text. */
const NO_TEXT = "<null>";

/** A text of the script as it may be shown. */
function clean(text: string): string {
  const line = text.slice(0, MAX_MESSAGE).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]+/gu, " ");
  return text.length > MAX_MESSAGE ? `${line}...` : line;
}
