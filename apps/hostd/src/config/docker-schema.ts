/** The keys of the Docker engine in the VM. */
import * as z from "zod";
import { DEFAULTS } from "./defaults.ts";
import { ENGINE_FORM, readEngine } from "./engine.ts";
import { readDefaultHost } from "./forward.ts";
import { expecting, key, oneOf, text } from "./key-schema.ts";
import { domainName, FLAG_GROUPS, path, socketOrNone, yesOrNo } from "./schema-values.ts";
import { readAbsolutePath } from "./values.ts";

/** Where ports of containers lead: to the containers' own addresses, or to the ports that the engine has in the VM. */
export const REACHES = ["container", "vm"] as const;

export type Reach = (typeof REACHES)[number];

/** `docker`: the Docker engine in the VM. */
export const dockerSchema = z.strictObject({
  listen: key(socketOrNone("/run/user/1000/docker.sock"), {
    description: "Where the Docker API of the engine in the VM is served",
    default: "none",
    flag: { flags: "--docker <url>", group: FLAG_GROUPS.docker },
  }),
  upstream: key(text(ENGINE_FORM, readEngine), {
    description:
      "Where the engine listens: a port of the VM, its socket over SSH (with `identity`), or a socket of this host",
    default: "tcp://vm:2375",
    flag: { flags: "--docker-upstream <url>", group: FLAG_GROUPS.docker },
  }),
  identity: key(path("file"), {
    description: "With `ssh://`: the file of the private key that opens the SSH server of the guest",
    default: "required there",
    flag: { flags: "--docker-identity <file>", group: FLAG_GROUPS.docker },
  }),
  passphrase: key(expecting("a text", z.string()), {
    description: "With `ssh://`: what that key is encrypted with",
    default: "it is not encrypted",
  }),
  knownHosts: key(path("file"), {
    description: "With `ssh://`: the file of known hosts in which the key of the SSH server has to be",
    default: "any key of the guest is taken",
  }),
  defaultAddress: key(text("loopback, all, or an IP address", readDefaultHost), {
    description: "Where a port that a container publishes without an address listens; `all` is what Docker does",
    default: "all",
  }),
  reach: key(oneOf(REACHES), {
    description:
      "Where a published port leads: `container` is the container's own address; `vm` is the port that the engine listens on " +
      "in the VM, for an engine whose networks cannot be reached from outside of it",
    default: DEFAULTS.dockerReach,
  }),
  forbiddenMounts: key(z.array(text("an absolute path such as /etc", readAbsolutePath)).max(1000), {
    description: "Paths of the VM that containers may not mount, with all that is below them and above them",
    default: "none",
  }),
  hostGateway: key(yesOrNo(), {
    description: "Whether `host-gateway` in `--add-host` means this host, whatever the engine takes for it",
    default: "true",
  }),
  injectProxyEnv: key(yesOrNo(), {
    description:
      "Whether containers are created with HTTP_PROXY, HTTPS_PROXY and NO_PROXY set to the HTTP proxy on the gateway, where " +
      "they do not set them themselves",
    default: "false",
    flag: { flags: "--inject-proxy-env", group: FLAG_GROUPS.docker },
  }),
  zone: key(domainName(), {
    description:
      "The domain in which containers that run are answered to the VM by name, as `web.docker.internal`; a name that a zone " +
      "of `dns` or hostd itself has is never a container's",
    default: "none",
  }),
});
