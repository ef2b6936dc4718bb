// Writes docs/configuration.md from the configuration's schema and docs/command-line.md from the command line's help.
// With --check it writes nothing and fails when a page is not what it would write.
//
// Usage: node scripts/generate-docs.mjs [--check]
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createProgram, fullName, subcommands } from "../apps/hostd/src/cli/program.ts";
import { configFlags } from "../apps/hostd/src/config/flags.ts";
import { expected, valueSchema } from "../apps/hostd/src/config/key-schema.ts";
import { knownKeys } from "../apps/hostd/src/config/keys.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const GENERATED =
  "<!-- Written by scripts/generate-docs.mjs: change the schema or the command line, then `npm run docs`. -->";
const HELP_WIDTH = 100;

const CONFIGURATION_INTRO = `# Configuration

${GENERATED}

\`hostd up --config hostd.yaml\` reads a YAML 1.2 file. Every key is optional: an empty file is the default
configuration, and so is no file at all. hostd looks for no file of its own accord.

- A flag goes over the same key of the file, and the file over the defaults. Mappings are merged key by key; a list
  replaces the one below it, so \`--qemu\` replaces the whole list \`qemu:\`.
- A key with nothing after it counts as not given. A key given twice, an unknown key and an unknown tag are errors.
- A relative path in the file is relative to the folder of the file, one in a flag to the current folder; \`~/\` is the
  home folder.
- \`hostd check --config hostd.yaml\` validates a file and prints what holds; every problem is named with its line, its
  key, the value and what is allowed. A wrong configuration ends hostd with exit code 2.

\`\`\`yaml
# The guests' network. gateway, host and the DHCP range follow from it.
subnet: 192.168.127.0/24
qemu:
  - unix:///run/user/1000/hostd/vm.sock
dhcp:
  domain: vm.internal
  static:
    52:54:00:12:34:56: 192.168.127.50
dns:
  servers: [192.0.2.53]
  zones:
    - name: vm.internal
      records:
        - { name: db, address: 192.168.127.50 }
forwards:
  - { listen: 8080, to: 80 }
log:
  level: debug
\`\`\`

## Endpoints

An endpoint of \`qemu\` is one of these. On all of them a frame is four bytes of length, big-endian, and the Ethernet
frame, which is the framing of QEMU's \`-netdev stream\` and \`-netdev socket\`.

| Endpoint | hostd | QEMU 7.2 or newer |
|---|---|---|
| \`unix:///run/vm.sock\` or \`/run/vm.sock\` | listens | \`-netdev stream,id=net0,server=off,addr.type=unix,addr.path=/run/vm.sock\` |
| \`tcp://127.0.0.1:5555\` | listens | \`-netdev stream,id=net0,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=5555\` |
| \`dial+unix:///run/vm.sock\` | connects | \`-netdev stream,id=net0,server=on,addr.type=unix,addr.path=/run/vm.sock\` |
| \`dial+tcp://127.0.0.1:5555\` | connects | \`-netdev stream,id=net0,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=5555\` |

An IPv6 address stands in brackets, \`tcp://[::1]:5555\`, and port 0 lets the system choose. Frames carry no password:
hostd listens on an address other than loopback only when it is written out, and warns. The path of a Unix socket is
absolute and taken as it is, without \`%\` escapes.

## Published ports

An item of \`forwards\` is a port of this host whose TCP connections lead into the VM. The flag says the same in one
word, in the manner of \`docker run -p\`: \`[address:]port:[guest-address:]guest-port\`.

| In the file | As a flag | Leads to |
|---|---|---|
| \`{ listen: 8080, to: 80 }\` | \`-p 8080:80\` | port 80 of the VM, from 127.0.0.1:8080 |
| \`{ listen: "0.0.0.0:8080", to: 80 }\` | \`-p 0.0.0.0:8080:80\` | the same, from every IPv4 address of this host |
| \`{ listen: "[::]:8080", to: 80 }\` | \`-p '[::]:8080:80'\` | the same, from every IPv6 address of this host, and from these alone |
| \`{ listen: 8080, to: "172.17.0.2:80" }\` | \`-p 8080:172.17.0.2:80\` | port 80 of a container behind the VM, or of a VM with this address |

**Without an address hostd listens on 127.0.0.1**, where Docker and Podman would listen on every address. Port 0 lets the
system choose; the log names the port. The ports are open from the start of hostd on, whether a VM is attached or not; one
that cannot be opened ends the start. The VM is the one that was attached first, at the address that DHCP gave it: a VM
that has an address of its own choice is named by it. A connection is reset when no VM is attached, when the guest refuses
it, and when the VM goes. The guest sees all of them come from the gateway.
`;

const COMMAND_LINE_INTRO = `# Command line

${GENERATED}

The keys behind the flags are in [configuration.md](configuration.md).
`;

/** The page about every key. */
function configurationPage() {
  const sections = [{ title: "Keys", prefix: "", keys: [] }];
  for (const entry of knownKeys()) {
    const parent = entry.key.slice(0, -entry.names.at(-1).length);
    let section = sections.find(({ prefix }) => prefix === parent);
    if (section === undefined) {
      section = { title: `\`${parent.slice(0, -1)}\``, prefix: parent, keys: [] };
      sections.push(section);
    }
    section.keys.push(entry);
  }
  const prefixes = sections.map(({ prefix }) => prefix);
  const tables = sections.map(({ title, keys }) => {
    const rows = keys.map((entry) => row(entry, prefixes));
    return [`## ${title}`, "", "| Key | Value | Default | Meaning |", "|---|---|---|---|", ...rows].join("\n");
  });
  return `${CONFIGURATION_INTRO}\n${tables.join("\n\n")}\n`;
}

function row({ key, names, schema, doc }, prefixes) {
  const isSection = prefixes.includes(`${key}.`);
  const isListOfSections = prefixes.includes(`${key}[].`);
  const value = isSection
    ? `a mapping: see [\`${key}\`](#${anchor(key)})`
    : isListOfSections
      ? `a list: see [\`${key}[]\`](#${anchor(key)})`
      : expected(valueSchema(schema));
  const flag = doc.flag === undefined ? "" : ` Flag: \`${doc.flag.flags}\`.`;
  const fallback = doc.default === undefined ? "(required)" : codeIfValue(doc.default);
  return `| ${[`\`${names.at(-1)}\``, value, fallback, `${doc.description}.${flag}`].map(cell).join(" | ")} |`;
}

/** The anchor a heading gets: lower case, without punctuation. */
function anchor(heading) {
  return heading.toLowerCase().replaceAll(/[^\w-]/g, "");
}

/** A default that is a value stands as code, one that is a sentence as it is. */
function codeIfValue(text) {
  return /^[\w./:-]*[\d/][\w./:-]*$|^(?:true|false|A|info|auto)$/.test(text) ? `\`${text}\`` : text;
}

function cell(text) {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

/** The page with the help of every command. */
function commandLinePage() {
  const action = () => {};
  const actions = { up: action, check: action, demo: action, gvproxy: action, version: action };
  const program = createProgram("", configFlags(), actions);
  const commands = subcommands(program);
  const sections = [program, ...commands].map((command) => {
    return `## ${fullName(command)}\n\n\`\`\`text\n${helpOf(command).trimEnd()}\n\`\`\`\n`;
  });
  return `${COMMAND_LINE_INTRO}\n${sections.join("\n")}`;
}

/** The help of a command with the text around it, as wide as it is everywhere. */
function helpOf(command) {
  let text = "";
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
    getOutHelpWidth: () => HELP_WIDTH,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text;
}

const pages = new Map([
  ["docs/configuration.md", configurationPage()],
  ["docs/command-line.md", commandLinePage()],
]);
const check = process.argv.includes("--check");
for (const [name, text] of pages) {
  const path = join(root, name);
  if (!check) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  } else if (readPage(path) !== text) {
    console.error(`generate-docs: ${name} is not up to date; run \`npm run docs\``);
    process.exitCode = 1;
  }
}

function readPage(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
