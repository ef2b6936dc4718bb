import { type JsonNode, JsonTextError } from "./json-text.ts";

/** A value of a request, with what it is called in messages. */
export interface Field {
  readonly node: JsonNode;
  readonly path: string;
}

/**
 * The field of a struct, as Go's decoder finds it: in any case, so that `hostconfig` is `HostConfig` too.
 *
 * @returns null when it has none, or it is null.
 * @throws {JsonTextError} when it is no struct, or has the field in several spellings, of which one would be overlooked.
 */
export function fieldOf(struct: Field | null, name: string): Field | null {
  const field = rawFieldOf(struct, name);
  return field === null || field.node.kind === "null" ? null : field;
}

/** As {@link fieldOf}, with the null that is written. */
export function rawFieldOf(struct: Field | null, name: string): Field | null {
  if (struct === null) return null;
  const { node, path } = struct;
  if (node.kind !== "object") throw new JsonTextError(`${path || "it"} is no object`);
  const wanted = fold(name);
  const [found, second] = node.members.filter((member) => fold(member.name) === wanted);
  const fieldPath = path === "" ? name : `${path}.${name}`;
  if (second !== undefined) throw new JsonTextError(`${fieldPath} is there twice, as ${found.name} and ${second.name}`);
  return found === undefined ? null : { node: found.value, path: fieldPath };
}

/** The elements of an array; none when it is null. */
export function elementsOf(field: Field | null): Field[] {
  if (field === null) return [];
  const { node, path } = field;
  if (node.kind !== "array") throw new JsonTextError(`${path} is no array`);
  return node.elements
    .map((element, index) => ({ node: element, path: `${path}[${index}]` }))
    .filter(({ node: { kind } }) => kind !== "null");
}

/** The entries of a map, whose names are as they are written. */
export function entriesOf(field: Field | null): (readonly [string, Field])[] {
  if (field === null) return [];
  const { node, path } = field;
  if (node.kind !== "object") throw new JsonTextError(`${path} is no object`);
  return node.members
    .filter(({ value }) => value.kind !== "null")
    .map(({ name, value }) => [name, { node: value, path: `${path}.${name}` }]);
}

/** A text; empty when it is null. */
export function textOf(field: Field | null): string {
  if (field === null) return "";
  if (field.node.kind !== "string") throw new JsonTextError(`${field.path} is no string`);
  return field.node.value;
}

/** Go compares the names of fields by simple case folding, in which two letters beyond ASCII become one of it. */
function fold(name: string): string {
  return name.toLowerCase().replaceAll("\u017f", "s").replaceAll("\u212a", "k");
}
