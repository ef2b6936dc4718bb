import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import ssh2, { type AuthContext, type Connection } from "ssh2";
import { makeKey } from "./ssh-guest.ts";

/** An SSH server as a machine for containers has one: for one user with a key, and sockets that it leads to. */
export class SshServer {
  /** What serves the machine's Unix sockets, by their paths. */
  readonly sockets = new Map<string, (channel: Duplex) => void>();
  readonly #server: ssh2.Server;

  /** @param publicText - the key of the user, as it is in a file of authorized keys. */
  constructor(user: string, publicText: string) {
    const known = ssh2.utils.parseKey(publicText);
    if (known instanceof Error) throw known;
    this.#server = new ssh2.Server({ hostKeys: [makeKey().privateText] }, (connection: Connection) => {
      connection.on("error", () => {});
      connection.on("authentication", (context: AuthContext) => {
        if (context.method !== "publickey" || context.username !== user) return context.reject();
        const { key, blob, signature, hashAlgo } = context;
        const isKnown = known.getPublicSSH().equals(key.data);
        // The first request only asks whether the key would do.
        const isSigned = blob === undefined || signature === undefined || known.verify(blob, signature, hashAlgo);
        if (isKnown && isSigned) context.accept();
        else context.reject();
      });
      connection.on("session", (accept) => {
        accept().on("exec", (acceptCommand, _reject, { command }) => {
          const channel = acceptCommand();
          channel.exit(command === "true" ? 0 : 127);
          channel.end();
        });
      });
      connection.on("openssh.streamlocal", (accept, reject, { socketPath }) => {
        const serve = this.sockets.get(socketPath);
        if (serve === undefined) return reject();
        const channel = accept();
        channel.on("error", () => {});
        serve(channel);
      });
    });
  }

  /** Takes a connection to it. */
  accept(stream: Duplex): void {
    stream.on("error", () => {});
    // It is only read and written.
    this.#server.injectSocket(stream as unknown as Socket);
  }
}

/**
 * Runs a command by SSH at a port of this host, as `ssh` does.
 *
 * @returns its exit code.
 * @throws when nobody is let in.
 */
export async function runBySsh(port: number, username: string, privateKey: string, command: string): Promise<number> {
  const client = new ssh2.Client();
  try {
    return await new Promise((resolve, reject) => {
      client.once("error", reject);
      client.once("ready", () => {
        client.exec(command, (error, channel) => {
          if (error !== undefined) return reject(error);
          channel.resume().once("exit", (code: number) => resolve(code));
        });
      });
      client.connect({ host: "127.0.0.1", port, username, privateKey });
    });
  } finally {
    client.end();
  }
}
