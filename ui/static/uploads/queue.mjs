// The uploads of a page: which file is where, what is sent next, and when to stop trying. Nothing
// here knows of a page or a network: `send` does the sending.

import { Refused, SignedOut } from '../api.mjs';
import { pageClock } from '../clock.mjs';
import { isImage } from './files.mjs';
import { newItem, refuse, totalsOf } from './item.mjs';

/** @typedef {import('./item.mjs').Item} Item */

const AT_ONCE = 3;
// One failure may be the file's, three in a row are not.
const FAILURES_IN_A_ROW = 3;
// "busy" says that more is sent than can be detected: others' images are ahead of these.
const BUSY_MS = 5_000;
const BUSY_TRIES = 6;
const AGAIN = new Set(['failed', 'cancelled']);
const FINISHED = new Set(['queued', 'refused', 'cancelled']);

export class UploadQueue {
  #send;
  #clock;
  #atOnce;
  #listeners = new Set();
  #running = new Map();
  #keys = new Set();
  #nextId = 1;
  #failures = 0;
  #hold = null;
  #queuedSince = 0;

  /** @type {Item[]} in the order they were added */
  items = [];
  /** Larger files are refused without being sent. */
  maxBytes = Infinity;
  /** @type {null|{reason: 'signed-out'|'forbidden'|'failing', message: string, hint: string}} */
  paused = null;

  /**
   * @param {object} options
   * @param {(item: Item, how: {onProgress: (share: number) => void, signal: AbortSignal}) =>
   *   Promise<{detections: number}>} options.send
   */
  constructor({ send, clock = pageClock, atOnce = AT_ONCE }) {
    this.#send = send;
    this.#clock = clock;
    this.#atOnce = atOnce;
  }

  /** @param {(event: {type: 'change'} | {type: 'idle', queued: number}) => void} listener */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * @param {import('./files.mjs').Found[]} found
   * @returns {{added: number, known: number, others: number}} others are not images
   */
  add(found) {
    const told = { added: 0, known: 0, others: 0 };
    for (const { file, path } of found) {
      const key = `${path}\n${file.size}\n${file.lastModified}`;
      if (!isImage(file.name)) told.others += 1;
      else if (this.#keys.has(key)) told.known += 1;
      else {
        told.added += 1;
        this.#keys.add(key);
        this.items.push(newItem(this.#nextId++, { file, path, key, maxBytes: this.maxBytes }));
      }
    }
    this.#changed();
    return told;
  }

  /** Send all that is ready. @param {(path: string) => string} subjectOf */
  start(subjectOf) {
    for (const item of this.items) {
      if (item.state !== 'ready') continue;
      item.subject = subjectOf(item.path);
      item.state = 'waiting';
    }
    this.resume();
  }

  /** Go on after a pause; what failed is sent again, what was cancelled is not. */
  resume() {
    this.#again((item) => item.state === 'failed');
  }

  retry(id) {
    this.#again((item) => item.id === id && AGAIN.has(item.state));
  }

  retryAll() {
    this.#again((item) => AGAIN.has(item.state));
  }

  /** All that has not reached the server in full. */
  cancel() {
    for (const item of this.items) this.#cancel(item);
    this.paused = null;
    this.#changed();
  }

  /** One file: taken off the list, or no longer sent. */
  remove(id) {
    const item = this.items.find((each) => each.id === id);
    if (item?.state === 'waiting' || item?.state === 'sending') this.#cancel(item);
    else if (item && item.state !== 'detecting') this.#drop((each) => each === item);
    this.#changed();
  }

  clearFinished() {
    this.#drop((item) => FINISHED.has(item.state));
    this.#changed();
  }

  get active() {
    return this.#running.size > 0 || this.items.some((item) => item.state === 'waiting');
  }

  totals() {
    return totalsOf(this.items);
  }

  #again(which) {
    this.paused = null;
    this.#failures = 0;
    for (const item of this.items) {
      if (!which(item)) continue;
      Object.assign(item, { state: 'waiting', progress: 0, tries: 0, message: '', hint: '' });
    }
    this.#pump();
  }

  #pump() {
    if (this.paused === null && this.#hold === null) {
      for (const item of this.items) {
        if (this.#running.size >= this.#atOnce) break;
        if (item.state === 'waiting') this.#run(item);
      }
    }
    this.#changed();
    if (this.#running.size === 0 && this.#hold === null && this.#queuedSince > 0) {
      const queued = this.#queuedSince;
      this.#queuedSince = 0;
      this.#tell({ type: 'idle', queued });
    }
  }

  async #run(item) {
    const abort = new AbortController();
    this.#running.set(item.id, abort);
    item.state = 'sending';
    item.progress = 0;
    item.tries += 1;
    const onProgress = (share) => {
      item.progress = share;
      item.state = share < 1 ? 'sending' : 'detecting';
      this.#changed();
    };
    try {
      item.answer = await this.#send(item, { onProgress, signal: abort.signal });
      item.state = 'queued';
      item.progress = 1;
      item.file = null;
      this.#failures = 0;
      this.#queuedSince += 1;
    } catch (error) {
      this.#failed(item, error, abort.signal.aborted);
    }
    this.#running.delete(item.id);
    this.#pump();
  }

  #failed(item, error, aborted) {
    item.progress = 0;
    if (aborted) {
      item.state = 'cancelled';
    } else if (error instanceof SignedOut) {
      item.state = 'waiting';
      this.#pause(
        'signed-out',
        'You are signed out.',
        'Sign in again in another tab, then continue.',
      );
    } else if (error instanceof Refused && error.code === 'busy' && item.tries < BUSY_TRIES) {
      item.state = 'waiting';
      this.#waitABit();
    } else if (error instanceof Refused && error.status < 500 && error.status !== 429) {
      refuse(item, error.message, error.hint);
      this.#failures = 0;
      if (error.status === 403) this.#pause('forbidden', error.message, error.hint);
    } else {
      item.state = 'failed';
      item.message = error.message;
      item.hint = error.hint || 'Check the connection, then retry.';
      this.#failures += 1;
      if (this.#failures >= FAILURES_IN_A_ROW) this.#pause('failing', item.message, item.hint);
    }
  }

  #pause(reason, message, hint) {
    this.paused = { reason, message, hint };
  }

  #waitABit() {
    if (this.#hold !== null) return;
    this.#hold = this.#clock.later(() => {
      this.#hold = null;
      this.#pump();
    }, BUSY_MS);
  }

  #cancel(item) {
    if (item.state === 'waiting') item.state = 'cancelled';
    if (item.state === 'sending') this.#running.get(item.id)?.abort();
  }

  #drop(which) {
    for (const item of this.items) if (which(item)) this.#keys.delete(item.key);
    this.items = this.items.filter((item) => !which(item));
  }

  #changed() {
    this.#tell({ type: 'change' });
  }

  #tell(event) {
    for (const listener of this.#listeners) listener(event);
  }
}
