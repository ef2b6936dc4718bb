import { createRequire } from "node:module";

/** The system calls of this package, as C declares them: a result of -1 leaves its reason in {@link errno}. */
export interface SystemCalls {
  socket(domain: number, type: number, protocol: number): number;
  fcntl(descriptor: number, command: number, value: number): number;
  /** For requests whose argument is a structure, which the kernel reads and may change in place. */
  ioctl(descriptor: number, request: number, argument: Uint8Array): number;
  setsockopt(descriptor: number, level: number, name: number, value: Uint8Array, length: number): number;
  /** The `errno` of the calling thread, to be read before any other call. */
  errno(): number;
}

/** Why there are no {@link SystemCalls}: a sentence for the operator's log. */
export interface SystemCallsUnavailable {
  readonly reason: string;
}

type Koffi = typeof import("koffi");

let loaded: SystemCalls | SystemCallsUnavailable | null = null;

/**
 * The system calls through koffi, which is loaded by the first call. koffi is an optional dependency: it may have been
 * left out of the installation, or have no binary for this platform.
 */
export function loadSystemCalls(): SystemCalls | SystemCallsUnavailable {
  loaded ??= load();
  return loaded;
}

function load(): SystemCalls | SystemCallsUnavailable {
  if (process.platform !== "linux" && process.platform !== "darwin") {
    return { reason: `system calls are implemented for linux and darwin, this is ${process.platform}` };
  }
  try {
    // `require` because the callers are synchronous, and because a static import would make koffi mandatory.
    const koffi = createRequire(import.meta.url)("koffi") as Koffi;
    const library = koffi.load(null);
    const fcntl = library.func("int fcntl(int descriptor, int command, ...)");
    const ioctl = library.func("int ioctl(int descriptor, unsigned long request, ...)");
    return {
      socket: library.func("int socket(int domain, int type, int protocol)"),
      fcntl: (descriptor, command, value) => fcntl(descriptor, command, "int", value),
      ioctl: (descriptor, request, argument) => ioctl(descriptor, request, "void *", argument),
      setsockopt: library.func("int setsockopt(int descriptor, int level, int name, void *value, unsigned int length)"),
      errno: () => koffi.errno(),
    };
  } catch (error) {
    const [firstLine] = (error instanceof Error ? error.message : String(error)).split("\n", 1);
    return { reason: `the optional package "koffi" cannot be loaded (${firstLine}); install it to enable this` };
  }
}
