import type { FollowHandlers, HostCommand, HostCommands } from "@hostd/host";

/** A program that is followed, which a test plays. */
export interface PlayedWatcher extends FollowHandlers {
  readonly command: HostCommand;
}

/** Programs of the host, which a test plays. */
export class PlayedCommands implements HostCommands {
  /** What the next program that is run writes, or how it fails. */
  output: string | Error = "";
  /** The programs that were run, in their order. */
  readonly runs: HostCommand[] = [];
  /** The programs that are followed at the moment. */
  readonly watchers = new Set<PlayedWatcher>();
  /** How many programs were followed in all. */
  followed = 0;
  #released = Promise.resolve();

  async run(command: HostCommand, signal: AbortSignal): Promise<string> {
    this.runs.push(command);
    const { output } = this;
    await this.#released;
    if (signal.aborted) throw new Error("stopped");
    if (output instanceof Error) throw output;
    return output;
  }

  follow(command: HostCommand, handlers: FollowHandlers): () => void {
    this.followed++;
    const watcher: PlayedWatcher = {
      command,
      onOutput: () => handlers.onOutput(),
      onEnd: (reason) => {
        this.watchers.delete(watcher);
        handlers.onEnd(reason);
      },
    };
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  /** Has programs that are run from now on not end before the returned function is called. */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#released = promise;
    return resolve;
  }
}
