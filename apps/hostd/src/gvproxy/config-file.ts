/** gvproxy's configuration file: one YAML schema that the command line goes over. */
import * as z from "zod";
import { readConfigFile } from "../config/file.ts";
import { valueAt } from "../config/keys.ts";
import { ConfigError, type ConfigProblem, problemAt, show } from "../config/problems.ts";

/** A key with nothing after it counts as not given. */
function key<Schema extends z.ZodType>(schema: Schema) {
  return schema
    .nullable()
    .transform((value) => value ?? undefined)
    .optional();
}

/** A plain scalar is a text to gvproxy, whatever else it looks like. */
const text = () => key(z.union([z.string(), z.number().transform(String)], { error: "is not a text" }));
const flag = () => key(z.boolean({ error: "is not true or false" }));
const texts = () => key(z.array(z.string({ error: "is not a text" }), { error: "is not a list of texts" }));
const pairs = () =>
  key(z.record(z.string(), z.string({ error: "is not a text" }), { error: "is not a mapping of texts" }));

function mapping<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.strictObject(shape, {
    error: ({ code }) =>
      code === "unrecognized_keys" ? `unknown key; allowed here: ${Object.keys(shape).join(", ")}` : "is not a mapping",
  });
}

const record = mapping({ name: text(), ip: text(), regexp: text() });

const zone = mapping({
  name: text(),
  records: key(z.array(record, { error: "is not a list" })),
  defaultIP: text(),
});

const stack = mapping({
  debug: flag(),
  "capture-file": text(),
  mtu: key(z.int({ error: "is not a whole number" })),
  subnet: text(),
  gatewayIP: text(),
  deviceIP: text(),
  hostIP: text(),
  gatewayMacAddress: text(),
  dns: key(z.array(zone, { error: "is not a list" })),
  dnsSearchDomains: texts(),
  forwards: pairs(),
  nat: pairs(),
  gatewayVirtualIPs: texts(),
  dhcpStaticLeases: pairs(),
  vpnKitUUIDMacAddresses: pairs(),
  ec2MetadataAccess: flag(),
});

const sshForward = mapping({ socket: text(), dest: text(), user: text(), identity: text() });

const fileSchema = mapping({
  listen: texts(),
  "log-level": text(),
  stack: key(stack),
  interfaces: key(mapping({ vpnkit: text(), qemu: text(), bess: text(), stdio: text(), vfkit: text() })),
  forwards: key(z.array(sshForward, { error: "is not a list" })),
  "pid-file": text(),
  "log-file": text(),
  services: text(),
  "ec2-metadata-access": flag(),
  notification: text(),
});

/** What a configuration file says. */
export type ConfigFile = z.output<typeof fileSchema>;

/** A forward of a Unix socket of this host to one in the VM. */
export type SshForward = z.output<typeof sshForward>;

/**
 * Reads a configuration file.
 *
 * @throws {ConfigError} with everything that does not fit.
 */
export function readGvproxyFile(path: string): ConfigFile {
  const { input, label } = readConfigFile(path);
  const result = fileSchema.safeParse(input ?? {});
  if (result.success) return result.data;
  const problems = result.error.issues.flatMap((issue): ConfigProblem[] => {
    const at = issue.path.filter((part) => typeof part !== "symbol");
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((name) => problemAt(label, [...at, name], undefined, issue.message));
    }
    const value = valueAt(input, at);
    return [problemAt(label, at, value, `${show(value)} ${issue.message}`)];
  });
  throw new ConfigError(problems);
}
