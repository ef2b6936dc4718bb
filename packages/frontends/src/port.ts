import type { FrameSink } from "@hostd/stack";

/** What the frames of a VM are handed to. */
export interface FrameConsumer {
  /** One Ethernet frame, in place and valid only during the call. */
  receiveFrame(bytes: Uint8Array, view: DataView, offset: number, length: number): void;
  /** Every whole frame of one read has been handed over. */
  endBatch(): void;
  /** A frame was committed while none was waiting: {@link FramePort.flush} is to be called in this turn. */
  pending(): void;
  /** The port takes frames again, after {@link FrameSink.reserve} returned -1. */
  writable(): void;
  /**
   * The VM is gone; called once, and nothing is called after it.
   *
   * @param fault - what was wrong with what it sent or with the connection; null when it just left.
   */
  closed(fault: string | null): void;
}

/** The host's end of one VM's link. */
export interface FramePort extends FrameSink {
  /** Where the VM is attached, for people: the socket's path or address. */
  readonly name: string;
  /** Starts handing frames to `consumer`; called once. */
  start(consumer: FrameConsumer): void;
  /** Sends the frames that were committed, in one write. */
  flush(): void;
  /** Sends what is queued and closes the link; {@link FrameConsumer.closed} follows. */
  close(): void;
}
