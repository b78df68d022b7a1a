// The hold on a case: kept by heartbeats, counted down from what the server said, lost only when
// the server says so.

import { Refused, SignedOut } from './api.mjs';
import { pageClock } from './clock.mjs';

const RETRY_MS = 5_000;

export class LeaseKeeper {
  #clock;
  #everyMs;
  #beat;
  #onChange;
  #onLost;
  #timer = null;
  #round = 0;
  #endsAt = 0;
  #beatAt = 0;
  token = null; // stays after the case is lost: what is still sent is refused by it, and kept
  held = false;
  reached = true;

  /**
   * @param {object} options
   * @param {number} options.everyMs between two heartbeats
   * @param {(token: number) => Promise<{lease: {token: number, expires_in: number}}>} options.beat
   * @param {() => void} options.onChange the time left, or whether the server is reached, changed
   * @param {(error: Refused) => void} options.onLost somebody else holds the case, or nobody can
   */
  constructor({ everyMs, beat, onChange = () => {}, onLost, clock = pageClock }) {
    this.#clock = clock;
    this.#everyMs = everyMs;
    this.#beat = beat;
    this.#onChange = onChange;
    this.#onLost = onLost;
  }

  /** Milliseconds, by the page's monotonic clock; at 0 the next save or heartbeat asks again. */
  get left() {
    return this.held ? Math.max(0, this.#endsAt - this.#clock.now()) : 0;
  }

  hold(lease) {
    this.#round += 1;
    this.renewed(lease);
    this.#schedule(this.#everyMs);
  }

  /** The server answered anything with a fresh lease in it. */
  renewed(lease) {
    this.token = lease.token;
    this.held = true;
    this.reached = true;
    this.#beatAt = this.#clock.now();
    this.#endsAt = this.#beatAt + lease.expires_in * 1000;
    this.#onChange();
  }

  /** Back from the background, or online again: do not wait for a throttled timer. */
  wake() {
    if (!this.held) return;
    const due = this.#beatAt + this.#everyMs - this.#clock.now();
    this.#schedule(this.reached ? Math.max(0, due) : 0);
  }

  letGo() {
    this.#round += 1;
    this.held = false;
    this.#clock.cancel(this.#timer);
    this.#onChange();
  }

  #schedule(ms) {
    this.#clock.cancel(this.#timer);
    const round = this.#round;
    this.#timer = this.#clock.later(() => this.#send(round), ms);
  }

  async #send(round) {
    if (round !== this.#round) return;
    try {
      const { lease } = await this.#beat(this.token);
      if (round !== this.#round) return;
      this.renewed(lease);
      this.#schedule(this.#everyMs);
    } catch (error) {
      if (round !== this.#round) return;
      if (error instanceof Refused && !(error instanceof SignedOut) && error.status < 500) {
        this.letGo();
        this.#onLost(error);
        return;
      }
      this.reached = error instanceof SignedOut;
      this.#onChange();
      this.#schedule(RETRY_MS);
    }
  }
}
