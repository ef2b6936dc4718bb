/** The keys of the ports of this host that lead into the VM. */
import * as z from "zod";
import { DEFAULTS } from "./defaults.ts";
import { readBindRange, readDefaultHost, readListen, readTarget } from "./forward.ts";
import { expecting, integer, key, oneOf, requiredKey, text, textOrNumber } from "./key-schema.ts";
import { path, yesOrNo } from "./schema-values.ts";

/** What a published port carries. */
export const FORWARD_PROTOCOLS = ["tcp", "udp"] as const;
/** What the guest sees connections to published ports come from: the gateway, or the clients themselves. */
export const FORWARD_SOURCES = ["gateway", "client"] as const;

export type ForwardSource = (typeof FORWARD_SOURCES)[number];

/** An item of `forwards`. */
export const forwardSchema = z.strictObject({
  listen: requiredKey(
    textOrNumber(
      "a port of this host such as 8080 or 8000-8010, an address and a port such as 0.0.0.0:8080, *:8080 or [::1]:8080, " +
        "or a Unix socket such as unix:///run/user/1000/web.sock",
      readListen,
    ),
    {
      description:
        "Where this host listens: a port alone is on `publish.address`, 0 has the system choose a port, `*` is every " +
        "address, and a range leads to as many ports of the guest",
    },
  ),
  to: requiredKey(
    textOrNumber(
      "a port of the VM such as 80 or 8000-8010, an address and a port such as 172.17.0.2:80, or a Unix socket of the " +
        "guest such as ssh://core@vm/run/podman/podman.sock",
      readTarget,
    ),
    {
      description:
        "Where that leads: a port alone is on the address that DHCP gave the VM; a Unix socket of the guest is reached " +
        "through its SSH server, with `identity`",
    },
  ),
  protocol: key(oneOf(FORWARD_PROTOCOLS), { description: "What it carries", default: "tcp" }),
  identity: key(path("file"), {
    description: "With `ssh://`: the file of the private key that opens the SSH server of the guest",
    default: "required there",
  }),
  passphrase: key(expecting("a text", z.string()), {
    description: "With `ssh://`: what that key is encrypted with",
    default: "it is not encrypted",
  }),
  knownHosts: key(path("file"), {
    description: "With `ssh://`: the file of known hosts in which the key of the SSH server has to be",
    default: "any key of the guest is taken",
  }),
});

const bindRange = () =>
  text(
    "an address or a network, with ports or not, such as 127.0.0.1, 0.0.0.0:8000-8999, [::1]:80, 10.0.0.0/8 or any:8080",
    readBindRange,
  );

/** `publish`: how published ports behave. */
export const publishSchema = z.strictObject({
  address: key(text("loopback, all, or an IP address", readDefaultHost), {
    description:
      "Where a published port without an address listens: `loopback` is 127.0.0.1, `all` is every address of this host",
    default: DEFAULTS.publishAddress,
  }),
  allow: key(z.array(bindRange()).max(1000), {
    description:
      "The addresses and ports of this host that may be listened on, whoever asks; every address at once (`*`, `[::]`) " +
      "takes `any` or `[::]`",
    default: "any",
  }),
  source: key(oneOf(FORWARD_SOURCES), {
    description:
      "What the guest sees connections come from: the gateway, or the client's own IPv4 address (`host` for those of this " +
      "host)",
    default: DEFAULTS.publishSource,
  }),
  waitSeconds: key(integer(0, 3600, "of seconds "), {
    description: "How long a connection is held while no VM answers, as while it boots; 0 to refuse it at once",
    default: String(DEFAULTS.publishWaitSeconds),
  }),
  maxConnections: key(integer(1, 1_048_576), {
    description: "How many connections of all published ports may be open at once",
    default: String(DEFAULTS.publishMaxConnections),
  }),
  maxPending: key(integer(1, 65_536), {
    description: "How many connections of one port may wait for the guest",
    default: String(DEFAULTS.publishMaxPending),
  }),
  maxUdpFlows: key(integer(1, 1_048_576), {
    description:
      "How many clients of one UDP port are kept apart; beyond, the one that was silent for longest is forgotten",
    default: String(DEFAULTS.publishMaxUdpFlows),
  }),
  udpIdleSeconds: key(integer(1, 86_400, "of seconds "), {
    description: "How long a client of a UDP port is remembered without traffic",
    default: String(DEFAULTS.publishUdpIdleSeconds),
  }),
});

/** `guestApi`: what a VM itself may ask of hostd. */
export const guestApiSchema = z.strictObject({
  enabled: key(yesOrNo(), {
    description:
      "Whether a VM may publish ports by itself, over gvproxy's API on port 80 of the gateway, as Podman's machines do. " +
      "Every container can reach it",
    default: "false",
  }),
  allow: key(z.array(bindRange()).max(1000), {
    description: "Which addresses and ports of this host it may publish on; `publish.allow` holds as well",
    default: "any, with ports from 1024 on",
  }),
});
