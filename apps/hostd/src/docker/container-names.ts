/** The containers of the engine in a VM by their names, for whatever tells of addresses or looks for names. */
import type { ContainerDirectory, PortReport } from "@hostd/docker";

/** An engine whose containers are known. */
export interface NamedEngine {
  /** Where it is, as the configuration writes it. */
  readonly address: string;
  /** The domain in which its containers are answered by name; undefined for none. */
  readonly zone: string | undefined;
  readonly directory: Pick<ContainerDirectory, "list" | "names" | "find" | "nameAt">;
  /** The name of the VM that it is in; null while there is none, and undefined for an engine of which that is not known. */
  vm(): string | null | undefined;
  /** The ports of all containers. */
  ports(): readonly PortReport[];
}

/** The containers that are known. There are none without an engine. */
export class ContainerNames {
  #engine: NamedEngine | null = null;

  /** The engine whose containers they are; null when there is none. */
  get engine(): NamedEngine | null {
    return this.#engine;
  }

  /** Has them be those of an engine, or of none. */
  use(engine: NamedEngine | null): void {
    this.#engine = engine;
  }

  /**
   * Whether they are containers of a VM. Those of another VM may have the same addresses. An engine of which it is not known
   * where it is has them in every VM.
   */
  areIn(vm: string): boolean {
    const engineVm = this.#engine === null ? null : this.#engine.vm();
    return engineVm === undefined || engineVm === vm;
  }

  /** The name of the container of a VM that has an address; null when none is known to. */
  nameAt(vm: string, address: string): string | null {
    const name = this.#engine?.directory.nameAt(address) ?? null;
    return name !== null && this.areIn(vm) ? name : null;
  }
}
