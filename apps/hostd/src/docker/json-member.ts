import { JsonText, JsonTextError } from "@hostd/docker";

/**
 * Sets a member of the object that a JSON text is, or takes it out. All else stays as it is written.
 *
 * @param value - null for none.
 * @throws {JsonTextError} when the text is no object that can be changed.
 */
export function withMember(bytes: Buffer, name: string, value: string | null): Buffer {
  const json = new JsonText(bytes);
  const { root } = json;
  if (root.kind !== "object") throw new JsonTextError("it is no object");
  const { members } = root;
  const text = bytes.toString();
  const index = members.findIndex((member) => member.name === name);
  if (value === null) {
    if (index < 0) return bytes;
    const { end } = members[index].value;
    // With the comma on one of its sides.
    if (index > 0) return json.edit([{ start: members[index - 1].value.end, end, text: "" }]);
    const after = members.length > 1 ? text.indexOf(",", end) + 1 : root.end - 1;
    return json.edit([{ start: root.start + 1, end: after, text: "" }]);
  }
  const quoted = JSON.stringify(value);
  if (index >= 0) {
    const { start, end } = members[index].value;
    return json.edit([{ start, end, text: quoted }]);
  }
  const last = members.at(-1);
  // As the docker command writes it.
  if (last === undefined) return json.edit([{ ...root, text: `{\n\t${JSON.stringify(name)}: ${quoted}\n}` }]);
  const indent = /^\s*/.exec(text.slice(root.start + 1))?.[0] ?? "";
  const { end } = last.value;
  const member = `${JSON.stringify(name)}:${indent === "" ? "" : " "}${quoted}`;
  return json.edit([{ start: end, end, text: `,${indent}${member}` }]);
}
