import { CommandError, type HostCommand, type HostCommands, hostCommands } from "@hostd/host";
import { after, type Clock, type Logger } from "@hostd/streams";
import { NOTHING, type SourceReading } from "./proxy-settings.ts";

/** How often they are read when nothing tells of changes, in milliseconds. */
const POLL_INTERVAL = 5000;
/** How old a reading may get though nothing told of a change, in milliseconds. */
const MAX_AGE = 60_000;
/** How long it is waited after news for more of it, in milliseconds: one change by a person comes as several. */
const SETTLE = 100;
/** How long it is waited before a watcher that has ended is started again, in milliseconds: at first, and at most. */
const FIRST_RETRY = 5000;
const LAST_RETRY = 300_000;

/** How the settings of an operating system are read and followed. */
export interface SystemProgram {
  /** For people: `the settings of GNOME`. */
  readonly name: string;
  readonly read: HostCommand;
  /** Reads what it wrote. @throws {Error} when that is something else. */
  readonly parse: (text: string) => SourceReading;
  /** Programs that write when something changes. */
  readonly watch: readonly HostCommand[];
  /** Whether a failure to read says that this host has no such settings. */
  readonly isAbsent?: (error: CommandError) => boolean;
}

export interface SystemSettingsOptions {
  /** Null for a host that has no settings. */
  readonly program: SystemProgram | null;
  readonly clock: Clock;
  /** For tests; processes of the host unless given. */
  readonly commands?: HostCommands;
  readonly logger: Logger;
  /** Is told when {@link SystemSettings.current} gives something else than before. */
  readonly onChange: () => void;
}

/**
 * Follows the settings of the operating system, from when they are first asked for. Each piece of news from a watcher has
 * them read anew. As long as a watcher does not run, they are read every 5 s.
 */
export class SystemSettings {
  readonly #program: SystemProgram | null;
  readonly #clock: Clock;
  readonly #commands: HostCommands;
  readonly #logger: Logger;
  readonly #onChange: () => void;
  readonly #abort = new AbortController();
  readonly #known = Promise.withResolvers<void>();
  #watchers: readonly Watcher[] | null = null;
  #reading: SourceReading | null = null;
  /** What the reading was made of. */
  #text: string | null = null;
  #isStarted = false;
  #isReading = false;
  /** There was news while a read was under way, which it may have missed. */
  #isBehind = false;
  #readAt = 0;
  #stopTimer = () => {};
  #stopSettling: (() => void) | null = null;

  constructor({ program, clock, commands = hostCommands(), logger, onChange }: SystemSettingsOptions) {
    this.#program = program;
    this.#clock = clock;
    this.#commands = commands;
    this.#logger = logger;
    this.#onChange = onChange;
  }

  /** For people: `the settings of GNOME`. */
  get name(): string {
    return this.#program?.name ?? "the settings of the operating system";
  }

  /** What they were when they were read last, the same object until they change; null before that. */
  current(): SourceReading | null {
    if (!this.#isStarted) this.#start();
    return this.#reading;
  }

  /** Resolves when {@link current} gives something. */
  settled(): Promise<void> {
    this.current();
    return this.#known.promise;
  }

  /** Ends what was started. */
  close(): void {
    this.#isStarted = true;
    this.#abort.abort();
    this.#stop();
    this.#reading ??= NOTHING;
    this.#known.resolve();
  }

  #start(): void {
    this.#isStarted = true;
    if (this.#program === null) {
      this.#found(NOTHING);
      return;
    }
    this.#stopTimer = this.#clock.every(POLL_INTERVAL, () => this.#tick());
    void this.#read(this.#program);
  }

  #stop(): void {
    this.#stopTimer();
    this.#stopSettling?.();
    for (const watcher of this.#watchers ?? []) watcher.stop();
  }

  #tick(): void {
    const watchers = this.#watchers ?? [];
    const isWatched = watchers.length > 0 && watchers.every(({ isListening }) => isListening);
    for (const watcher of watchers) watcher.revive();
    if (!isWatched || this.#clock.now() - this.#readAt >= MAX_AGE) this.#readAgain();
  }

  #news(): void {
    if (this.#stopSettling !== null) return;
    this.#stopSettling = after(this.#clock, SETTLE, () => {
      this.#stopSettling = null;
      this.#readAgain();
    });
  }

  #readAgain(): void {
    if (this.#isReading) this.#isBehind = true;
    else if (this.#program !== null) void this.#read(this.#program);
  }

  async #read(program: SystemProgram): Promise<void> {
    this.#isReading = true;
    this.#isBehind = false;
    this.#readAt = this.#clock.now();
    const { signal } = this.#abort;
    try {
      const text = await this.#commands.run(program.read, signal);
      if (signal.aborted) return;
      this.#watch(program);
      if (text !== this.#text) {
        this.#found(program.parse(text));
        this.#text = text;
      }
    } catch (error) {
      if (!signal.aborted) this.#failed(program, error);
    } finally {
      this.#isReading = false;
      if (this.#isBehind && !signal.aborted) this.#news();
    }
  }

  /** Watches from when it is known that there is something. */
  #watch({ name, watch }: SystemProgram): void {
    this.#watchers ??= watch.map((command) => {
      const onEnd = (reason: string) => this.#logger.debug({ reason }, `a watcher of ${name} has ended`);
      return new Watcher(command, this.#commands, this.#clock, () => this.#news(), onEnd);
    });
  }

  /** What was read before stays in force: that there is no proxy is not what a failure says. */
  #failed(program: SystemProgram, error: unknown): void {
    if (error instanceof CommandError && program.isAbsent?.(error)) {
      this.#stop();
      this.#found(NOTHING);
      return;
    }
    const problem = `${program.name}: ${error instanceof Error ? error.message : String(error)}`;
    this.#text = null;
    const before = this.#reading ?? NOTHING;
    if (before.problems.length === 1 && before.problems[0] === problem) return;
    this.#found({ ...before, problems: [problem] });
  }

  #found(reading: SourceReading): void {
    this.#reading = reading;
    this.#known.resolve();
    this.#onChange();
  }
}

/** A program that writes when something changes, kept running. */
class Watcher {
  readonly #command: HostCommand;
  readonly #commands: HostCommands;
  readonly #clock: Clock;
  readonly #onNews: () => void;
  readonly #onEnd: (reason: string) => void;
  #end: (() => void) | null = null;
  #startedAt = 0;
  #retryAt = 0;
  #retryAfter = FIRST_RETRY;

  constructor(
    command: HostCommand,
    commands: HostCommands,
    clock: Clock,
    onNews: () => void,
    onEnd: (reason: string) => void,
  ) {
    this.#command = command;
    this.#commands = commands;
    this.#clock = clock;
    this.#onNews = onNews;
    this.#onEnd = onEnd;
    this.#start();
  }

  /** Whether it tells of every change: it has run for so long that it listens since the last reading. */
  get isListening(): boolean {
    return this.#end !== null && this.#clock.now() - this.#startedAt > POLL_INTERVAL;
  }

  /** Starts it again when it has ended and it is time. */
  revive(): void {
    if (this.#end === null && this.#clock.now() >= this.#retryAt) this.#start();
  }

  stop(): void {
    this.#end?.();
    this.#end = null;
  }

  #start(): void {
    this.#startedAt = this.#clock.now();
    this.#end = this.#commands.follow(this.#command, {
      onOutput: () => {
        this.#retryAfter = FIRST_RETRY;
        this.#onNews();
      },
      onEnd: (reason) => {
        this.#end = null;
        this.#onEnd(reason);
        this.#retryAt = this.#clock.now() + this.#retryAfter;
        this.#retryAfter = Math.min(2 * this.#retryAfter, LAST_RETRY);
      },
    });
  }
}
