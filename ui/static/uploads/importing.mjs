// One import of a data set, from the choice of a ZIP to its report. No DOM.

import { Refused, SignedOut } from '../api.mjs';
import { pageClock } from '../clock.mjs';
import { bytes, count } from './files.mjs';

const POLL_MS = 1_000;
const POLL_AGAIN_MS = 5_000;

export const KINDS = {
  truth: { as: 'truth', gold: false },
  prediction: { as: 'prediction', gold: false },
  gold: { as: 'truth', gold: true },
};

/** Regular expressions of Python, on an image's path in the data set without its suffix. */
export const PATTERNS = {
  alone: '',
  name: '^(?:.*/)?([^_/]+)_[^/]*$',
  folder: '^(?:.*/)?([^/]+)/[^/]+$',
};

/** Whether the import goes on without anybody doing anything. */
export function goesOn(status) {
  return !['done', 'failed'].includes(status.state);
}

/** `[headline, share of it from 0 to 1 or null]`. */
export function stepOf(status) {
  switch (status.state) {
    case 'receiving':
      return [
        `Sending: ${bytes(status.received)} of ${bytes(status.size)}`,
        status.received / status.size,
      ];
    case 'unpacking':
      return status.total > 0
        ? [`Unpacking: file ${status.done} of ${status.total}`, status.done / status.total]
        : ['Unpacking…', null];
    case 'importing':
      return [
        `Importing: image ${status.done} of ${status.total}`,
        status.total ? status.done / status.total : null,
      ];
    case 'done':
      return [reportOf(status.report), 1];
    default:
      return [
        `Not imported. ${status.error?.message ?? ''} ${status.error?.hint ?? ''}`.trim(),
        null,
      ];
  }
}

function reportOf(report) {
  const came = `${count(report.images, 'image')} with ${report.boxes} ${report.boxes === 1 ? 'box' : 'boxes'} of ${count(report.subjects, 'subject')} came in`;
  const same = report.unchanged > 0 ? `; ${report.unchanged} were here already` : '';
  return `${came}${same}.`;
}

export class Importing {
  #send;
  #clock;
  #onChange;
  #abort = null;
  #timer = null;

  /** The import that is shown, as the server tells of it. */
  status = null;
  /** What the page itself has to say. @type {{message: string, hint: string}|null} */
  problem = null;
  busy = false;

  /**
   * @param {object} options
   * @param {(method: string, path: string, how?: object) => Promise<any>} options.send
   * @param {() => void} options.onChange
   */
  constructor({ send, onChange, clock = pageClock }) {
    this.#send = send;
    this.#onChange = onChange;
    this.#clock = clock;
  }

  /** Whether leaving the page would lose the ZIP that is being sent. */
  get sending() {
    return this.#abort !== null;
  }

  /** @param {object} options as the route takes them, without `size` */
  async begin(options, file) {
    if (this.busy) return;
    this.busy = true;
    this.problem = null;
    this.status = null;
    this.#abort = new AbortController();
    this.#onChange();
    try {
      this.status = await this.#send('POST', '', { body: { ...options, size: file.size } });
      this.status = await this.#send('PUT', `/${this.status.id}/archive`, {
        body: file,
        headers: { 'content-type': 'application/zip' },
        signal: this.#abort.signal,
        onProgress: (share) => this.#sent(share * file.size),
      });
    } catch (error) {
      this.#failed(error, this.#abort.signal.aborted);
    }
    this.#abort = null;
    this.busy = false;
    this.#onChange();
    this.follow();
  }

  cancel() {
    this.#abort?.abort();
  }

  /** Look at another one, and go on looking until it is over. */
  async show(id) {
    this.#clock.cancel(this.#timer);
    await this.#look(id);
  }

  follow() {
    if (this.status !== null && goesOn(this.status) && !this.busy) {
      this.#later(this.status.id, POLL_MS);
    }
  }

  #later(id, ms) {
    this.#clock.cancel(this.#timer);
    this.#timer = this.#clock.later(() => this.#look(id), ms);
  }

  async #look(id) {
    try {
      this.status = await this.#send('GET', `/${id}`);
      this.problem = null;
    } catch (error) {
      this.problem = wordsOf(error);
      // The server may be restarting. Whoever is signed out has to do something first.
      if (!(error instanceof Refused)) this.#later(id, POLL_AGAIN_MS);
    }
    this.#onChange();
    if (this.problem === null) this.follow();
  }

  #sent(received) {
    this.status = { ...this.status, received };
    this.#onChange();
  }

  #failed(error, aborted) {
    this.status = null;
    this.problem = aborted
      ? { message: 'Cancelled.', hint: 'Nothing was imported.' }
      : wordsOf(error);
  }
}

function wordsOf(error) {
  if (error instanceof SignedOut) {
    return {
      message: 'You are signed out.',
      hint: 'Sign in again in another tab, then try again here.',
    };
  }
  return { message: error.message, hint: error.hint || 'Check the connection, then try again.' };
}
