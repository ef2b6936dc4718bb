import type { FrameTap } from "@hostd/frontends";
import { type CaptureOutput, type CaptureWish, LiveCapture } from "../capture/live-capture.ts";

/** The link of a VM, whose frames can be looked at. */
export interface TappedLink {
  tap: FrameTap | undefined;
}

interface LinkOfVm {
  readonly vm: string;
  readonly link: TappedLink;
}

/** Who sees the frames of which VMs: the capture of the configuration, and any number that come and go. */
export class CaptureHub {
  readonly #always: FrameTap | undefined;
  readonly #links = new Set<LinkOfVm>();
  readonly #captures = new Set<LiveCapture>();
  #lastId = 0;

  /** @param always - sees every frame of every VM. */
  constructor(always: FrameTap | undefined) {
    this.#always = always;
  }

  /** Shows the frames of a VM to those that want them, until the returned function is called. */
  attach(vm: string, link: TappedLink): () => void {
    const attached = { vm, link };
    this.#links.add(attached);
    this.#setTap(attached);
    return () => this.#links.delete(attached);
  }

  /** Begins a capture, of VMs that attach later too. It goes on until its {@link LiveCapture.end}. */
  begin(wish: CaptureWish, output: CaptureOutput): LiveCapture {
    const capture = new LiveCapture(++this.#lastId, wish, output, () => {
      this.#captures.delete(capture);
      this.#setTaps();
    });
    this.#captures.add(capture);
    this.#setTaps();
    return capture;
  }

  /** The captures that are going on, without that of the configuration. */
  list(): readonly LiveCapture[] {
    return [...this.#captures];
  }

  #setTaps(): void {
    for (const attached of this.#links) this.#setTap(attached);
  }

  /** A link has no more between itself and those who look than it needs: nothing at all when nobody does. */
  #setTap({ vm, link }: LinkOfVm): void {
    const taps: FrameTap[] = this.list().filter(({ wish }) => wish.vm === undefined || wish.vm === vm);
    if (this.#always !== undefined) taps.unshift(this.#always);
    link.tap = taps.length > 1 ? shared(taps) : taps[0];
  }
}

/** Shows frames to several. */
function shared(taps: readonly FrameTap[]): FrameTap {
  return {
    frame: (bytes, offset, length) => {
      for (const tap of taps) tap.frame(bytes, offset, length);
    },
    flush: () => {
      for (const tap of taps) tap.flush();
    },
  };
}
