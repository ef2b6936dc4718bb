import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";

/**
 * Asks for a line at the terminal, which does not show it.
 *
 * @returns null where there is no terminal.
 */
export async function askSecret(question: string): Promise<string | null> {
  const { stdin, stderr } = process;
  if (!stdin.isTTY) return null;
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: stdin, output: nowhere, terminal: true });
  // Only now does the terminal not show what is typed.
  stderr.write(question);
  const closed = Promise.withResolvers<never>();
  // Ctrl-C and Ctrl-D.
  lines.once("close", () => closed.reject(new Error("nothing was entered")));
  try {
    return await Promise.race([lines.question(""), closed.promise]);
  } finally {
    closed.promise.catch(() => {});
    lines.close();
    stderr.write("\n");
  }
}
