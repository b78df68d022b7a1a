// What the desk's tests stand on: a clock that only moves when told, a server in memory, a case.

import { Refused, Unreachable } from '../../ui/static/api.mjs';
import { InMemory } from '../../ui/static/local_copies.mjs';

/** Lets everything that waits for promises run. */
export async function settled() {
  for (let i = 0; i < 40; i += 1) await Promise.resolve();
}

export class FakeClock {
  #now = 0;
  #timers = new Map();
  #next = 1;

  now = () => this.#now;

  later = (fn, ms) => {
    const handle = this.#next;
    this.#next += 1;
    this.#timers.set(handle, { fn, at: this.#now + ms });
    return handle;
  };

  cancel = (handle) => this.#timers.delete(handle);

  /** Moves on by `ms`, calling what is due in its order, and lets promises run in between. */
  async pass(ms) {
    const end = this.#now + ms;
    await settled();
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end);
      if (due.length === 0) break;
      const [handle, timer] = due.reduce((a, b) => (b[1].at < a[1].at ? b : a));
      this.#timers.delete(handle);
      this.#now = Math.max(this.#now, timer.at);
      timer.fn();
      await settled();
    }
    this.#now = end;
  }
}

export const ME = {
  name: 'Anna',
  pseudonym: 'p1',
  works: ['first', 'second', 'reopened'],
  classes: [
    { id: 0, name: 'nevus' },
    { id: 1, name: 'melanoma' },
  ],
  lease_seconds: 300,
  heartbeat_seconds: 30,
  skip_reasons: [{ code: 'other', text: 'Another reason' }],
  settle_reasons: ['agreed', 'boundary', 'class', 'missed', 'false_positive', 'other'].map(
    (code) => ({
      code,
      text: code,
    }),
  ),
};

export const DETECTIONS = [
  { id: 'd1', box: [10, 10, 50, 50], class_id: 0, confidence: 0.4 },
  { id: 'd2', box: [100, 100, 160, 150], class_id: 1, confidence: 0.9 },
];

/** A case as the server shows it; `more` replaces parts of it. */
export function viewOf(id = 'c1', more = {}) {
  return {
    case: {
      id,
      state: 'first',
      work: 'first',
      reasons: [],
      model: 'm:1',
      created_at: '',
      reopens: null,
    },
    picked: 'order',
    image: { id: `image-${id}`, width: 640, height: 480, url: `/desk/images/${id}` },
    phase: 'first',
    lease: { token: 7, expires_in: 300 },
    read_only: null,
    layers: { model: DETECTIONS, first: [], second: [] },
    groups: [],
    annotation: null,
    first_comment: '',
    second_comment: '',
    draft: null,
    recovered: [],
    ...more,
  };
}

export const readOnly = (code, canTakeOver = false) => ({
  lease: null,
  read_only: { code, text: `It is ${code}.`, can_take_over: canTakeOver },
});

export const lostTo = (code) => new Refused(409, { code, message: `It is ${code}.` });
export const offline = () => new Unreachable('test');

/**
 * A server of which every route answers from `answers[name]`: a value, an error to throw, a function of
 * what was sent, or a list of these, one for each call (the last one stays). `calls` says what was sent.
 */
export class FakeApi {
  calls = [];

  constructor(answers = {}) {
    this.answers = {
      counts: { first: 1, second: 0, reopened: 0, settled: 0 },
      draft: (id, body) => ({
        rev: body.rev,
        saved_at: 'T',
        lease: { token: body.token, expires_in: 300 },
      }),
      heartbeat: (id, body) => ({ lease: { token: body.token, expires_in: 300 } }),
      release: null,
      discardDraft: null,
      next: { case: null },
      ...answers,
    };
    for (const name of [
      'counts',
      'next',
      'open',
      'draft',
      'heartbeat',
      'release',
      'submit',
      'reveal',
      'settle',
      'skip',
      'reopen',
      'discardDraft',
    ]) {
      this[name] = (...sent) => this.#answer(name, sent);
    }
  }

  releaseByBeacon(...sent) {
    this.calls.push(['beacon', ...sent]);
  }

  sent(name) {
    return this.calls.filter((call) => call[0] === name).map((call) => call.slice(1));
  }

  async #answer(name, sent) {
    this.calls.push([name, ...structuredClone(sent)]);
    let answer = this.answers[name];
    if (Array.isArray(answer)) answer = answer.length > 1 ? answer.shift() : answer[0];
    if (typeof answer === 'function') answer = await answer(...sent);
    if (answer instanceof Error) throw answer;
    return structuredClone(answer);
  }
}

export class FakeActive {
  seconds = 0;
  running = false;

  start(seconds) {
    this.seconds = seconds;
    this.running = true;
  }

  stop() {
    this.running = false;
  }
}

/** What a `CaseSession` or a `Flow` needs. */
export function deps(more = {}) {
  return {
    me: ME,
    api: new FakeApi(),
    copies: new InMemory(),
    active: new FakeActive(),
    tab: 'tab1',
    clock: new FakeClock(),
    wallClock: () => 1_000,
    onChange: () => {},
    ...more,
  };
}
