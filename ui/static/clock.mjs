// Time, so that tests can hold it still. Never the wall clock: `now` only ever moves forward.

/** @typedef {{now: () => number, later: (fn: () => void, ms: number) => any, cancel: (handle: any) => void}} Clock */

/** @type {Clock} milliseconds since the page began */
export const pageClock = {
  now: () => performance.now(),
  later: (fn, ms) => setTimeout(fn, ms),
  cancel: (handle) => clearTimeout(handle),
};

// Without any input for this long nobody is at work, whatever the page shows.
const AWAY_AFTER_MS = 30_000;
// One tick a second. A longer gap means that the machine slept or the tab was throttled.
const TICK_MS = 1_000;
const LONGEST_TICK_MS = 2_500;

/** The seconds somebody worked at a case: page visible, and input in the last 30 s. */
export class ActiveTime {
  #clock;
  #visible;
  #lastInput;
  #lastTick;
  #total = 0;
  #timer = null;

  /** @param {{clock?: Clock, visible?: () => boolean}} options */
  constructor({ clock = pageClock, visible = () => document.visibilityState === 'visible' } = {}) {
    this.#clock = clock;
    this.#visible = visible;
    this.#lastTick = this.#lastInput = clock.now();
  }

  get seconds() {
    return Math.round(this.#total) / 1000;
  }

  start(seconds = 0) {
    this.stop();
    this.#total = seconds * 1000;
    this.#lastTick = this.#lastInput = this.#clock.now();
    this.#timer = this.#clock.later(() => this.#tick(), TICK_MS);
  }

  stop() {
    this.#clock.cancel(this.#timer);
    this.#timer = null;
  }

  input() {
    this.#lastInput = this.#clock.now();
  }

  #tick() {
    const now = this.#clock.now();
    if (this.#visible() && now - this.#lastInput <= AWAY_AFTER_MS) {
      this.#total += Math.min(now - this.#lastTick, LONGEST_TICK_MS);
    }
    this.#lastTick = now;
    this.#timer = this.#clock.later(() => this.#tick(), TICK_MS);
  }
}
