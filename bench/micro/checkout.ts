import { existsSync } from "node:fs";
import { registerHooks } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** This checkout of the repository. */
export const OWN_CHECKOUT: string = resolve(import.meta.dirname, "..", "..");

/** What is to be measured is not there, or is something else by now. */
export class NotInCheckout extends Error {}

/** What of a module is used, with the methods that are used of a class. */
type Used<Module> = { readonly [Name in keyof Module]?: readonly string[] };

/** A folder with the sources that are measured. */
export class Checkout {
  readonly folder: string;

  /** @throws {RangeError} when `folder` is no checkout of this repository. */
  constructor(folder: string) {
    this.folder = resolve(folder);
    if (!existsSync(join(this.folder, "packages", "stack", "src"))) {
      throw new RangeError(`${folder} is not a checkout of this repository: it has no folder packages/stack/src`);
    }
  }

  /**
   * Loads a module.
   *
   * @param path - where it is in the checkout.
   * @throws {NotInCheckout} when the module, or something of it that is used, is not there.
   */
  async import<Module extends object>(path: string, used: Used<Module>): Promise<Module> {
    const file = join(this.folder, path);
    if (!existsSync(file)) throw new NotInCheckout(`there is no ${path}`);
    const module: Module = await import(pathToFileURL(file).href);
    for (const [name, methods] of Object.entries<readonly string[] | undefined>(used)) {
      const value: unknown = Reflect.get(module, name);
      if (value === undefined) throw new NotInCheckout(`${path} exports no ${name}`);
      for (const method of methods ?? []) {
        if (typeof value !== "function" || !(method in value.prototype)) {
          throw new NotInCheckout(`${path}: ${name} has no ${method}`);
        }
      }
    }
    return module;
  }

  /**
   * Has packages of the workspace found by their place in the checkout, and those of the registry here when they are
   * not installed there: so a bare worktree can be measured.
   */
  resolvePackages(): void {
    const there = pathToFileURL(`${this.folder}/`).href;
    const here = pathToFileURL(`${OWN_CHECKOUT}/`).href;
    registerHooks({
      resolve: (specifier, context, next) => {
        const [, name] = /^@hostd\/([a-z-]+)$/.exec(specifier) ?? [];
        if (name !== undefined) return next(`${there}packages/${name}/src/index.ts`, context);
        try {
          return next(specifier, context);
        } catch (error) {
          const { parentURL } = context;
          if (/^[./]|^file:/.test(specifier) || !parentURL?.startsWith(there)) throw error;
          return next(specifier, { ...context, parentURL: here + parentURL.slice(there.length) });
        }
      },
    });
  }
}
