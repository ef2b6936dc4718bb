#!/usr/bin/env node
// The `hostd` command. It starts on any Node that can parse it and says clearly when that Node is too old.
const [major] = process.versions.node.split(".");
if (Number(major) < 24) {
  console.error(
    `hostd: needs Node 24 or newer, this is ${process.version}; \`npm install\` puts a fitting one beside it`,
  );
  process.exit(1);
}
const { main } = await import("../src/main.ts");
await main(process.argv.slice(2));
