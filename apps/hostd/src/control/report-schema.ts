/** What the schemas of answers are made of. */
import * as z from "zod";

/** The type of what is answered by a schema: nobody changes it. */
export type Reported<Schema extends z.ZodType> = DeepReadonly<z.output<Schema>>;

type DeepReadonly<T> = T extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T;

/** A number of things; what they are, and the unit where they are bytes, is in the description. */
export const count = (description: string) => z.int().nonnegative().describe(description);

/** A time span or another measured quantity, with its unit in the description. */
export const quantity = (description: string) => z.number().nonnegative().describe(description);

/** A point in time in ISO 8601, in UTC. */
export const time = (description: string) => z.iso.datetime().describe(description);

/** A MAC address such as `52:54:00:12:34:56`. */
export const macAddress = (description: string) => z.mac().describe(description);

export const ipv4Address = (description: string) => z.ipv4().describe(description);
