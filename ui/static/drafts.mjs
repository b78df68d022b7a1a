// Saving the draft: in this browser at once, at the server within two seconds, and again until it
// has arrived.

import { Refused, SignedOut, Unreachable } from './api.mjs';
import { pageClock } from './clock.mjs';

// A pause in the editing, and the longest that editing without a pause may put a save off. The
// rest of the promised two seconds is for the way to the server.
const QUIET_MS = 800;
const AT_MOST_MS = 1_500;
const RETRY_MS = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000];

/**
 * @typedef {{kind: "clean" | "unsaved" | "saving" | "saved" | "offline" | "signed_out" | "refused",
 *   savedAt: string | null, message: string}} SavedState
 */

/** The saver of one case, made when it is loaded and stopped when it is left. */
export class DraftSaver {
  #clock;
  #make;
  #post;
  #keep;
  #forget;
  #onState;
  #onRefused;
  #timer = null;
  #running = null;
  #failures = 0;
  #firstUnsaved = null;
  #version = 0;
  #savedVersion = 0;
  #stopped = false;
  #rev;
  /** @type {SavedState} */
  state;

  /**
   * @param {object} options
   * @param {number} options.rev of the draft that the server has, 0 without one
   * @param {string | null} options.savedAt when that was saved
   * @param {() => object} options.make the document as it is now
   * @param {(body: {rev: number, document: object}) => Promise<{rev: number, saved_at: string}>} options.post
   * @param {(document: object, rev: number) => void} options.keep put a copy into this browser
   * @param {() => void} options.forget the server has everything: the copy may go
   * @param {(state: SavedState) => void} options.onState
   * @param {(error: Refused) => void} options.onRefused the case is not ours any more (409)
   */
  constructor({ rev = 0, savedAt = null, clock = pageClock, ...options }) {
    const { make, post, keep, forget, onState, onRefused } = options;
    this.#rev = rev;
    this.state = { kind: savedAt ? 'saved' : 'clean', savedAt, message: '' };
    this.#clock = clock;
    this.#make = make;
    this.#post = post;
    this.#keep = keep;
    this.#forget = forget;
    this.#onState = onState;
    this.#onRefused = onRefused;
  }

  stop() {
    this.#stopped = true;
    this.#clock.cancel(this.#timer);
  }

  get dirty() {
    return this.#version !== this.#savedVersion;
  }

  /** Something was committed. The copy in this browser is made before anything else happens. */
  changed() {
    if (this.#stopped) return;
    this.#version += 1;
    this.#keep(this.#make(), this.#rev);
    this.#firstUnsaved ??= this.#clock.now();
    if (this.#failures === 0) {
      const latest = this.#firstUnsaved + AT_MOST_MS - this.#clock.now();
      this.#schedule(Math.max(0, Math.min(QUIET_MS, latest)));
      if (this.state.kind !== 'saving') this.#say('unsaved');
    }
  }

  /** Resolves to true once everything committed so far is at the server, false if it is not. */
  async flush() {
    this.#clock.cancel(this.#timer);
    while (!this.#stopped && this.dirty) {
      const arrived = await (this.#running ?? this.#save());
      if (!arrived) return false;
    }
    return !this.#stopped;
  }

  /** Online or signed in again. */
  retry() {
    if (!this.#stopped && this.dirty && this.#running === null) this.#schedule(0);
  }

  #schedule(ms) {
    this.#clock.cancel(this.#timer);
    this.#timer = this.#clock.later(() => {
      if (!this.#stopped && this.dirty && this.#running === null) this.#save();
    }, ms);
  }

  #save() {
    const running = this.#send().finally(() => {
      if (this.#running === running) this.#running = null;
    });
    this.#running = running;
    return running;
  }

  async #send() {
    const version = this.#version;
    // Each attempt counts, so that one that arrives late, after its successor, changes nothing.
    this.#rev += 1;
    const sent = this.#rev;
    this.#firstUnsaved = null;
    this.#say('saving');
    let saved;
    try {
      saved = await this.#post({ rev: sent, document: this.#make() });
    } catch (error) {
      if (!this.#stopped) this.#failed(error);
      return false;
    }
    if (this.#stopped) return false;
    this.#failures = 0;
    if (saved.rev > sent) {
      this.#rev = saved.rev; // it had a later one already and kept that: ours is sent again
      this.#schedule(0);
      return true;
    }
    this.#savedVersion = version;
    if (this.dirty) {
      this.#say('unsaved', { savedAt: saved.saved_at });
      this.#schedule(QUIET_MS);
    } else {
      this.#forget();
      this.#say('saved', { savedAt: saved.saved_at });
    }
    return true;
  }

  #failed(error) {
    this.#firstUnsaved ??= this.#clock.now();
    if (error instanceof SignedOut) {
      this.#failures += 1;
      this.#say('signed_out');
      return;
    }
    if (error instanceof Refused && error.status === 409) {
      this.stop();
      this.#onRefused(error);
      return;
    }
    const wait = RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)];
    this.#failures += 1;
    if (error instanceof Unreachable) this.#say('offline');
    else this.#say('refused', { message: error.message });
    this.#schedule(wait);
  }

  #say(kind, { savedAt = this.state.savedAt, message = '' } = {}) {
    this.state = { kind, savedAt, message };
    this.#onState(this.state);
  }
}
