// Which case is open, and the way from one to the next. No DOM here: `screen` shows what it says.

import { Refused, isConflict } from './api.mjs';
import { HandingIn } from './handing_in.mjs';
import { CaseSession } from './session.mjs';

// After a reload the word that the page before this one went away may still be under way.
const REOPEN_TRIES = 4;
const REOPEN_WAIT_MS = 300;

// What a case that was open before the reload may answer now: then the queue has another.
const GONE = new Set([403, 404, 409]);

/**
 * `screen` has `show(session)` (resolves once the image is there), `changed(kind)`, `announce(text)`
 * and `caseChanged(id)`; `memory` has `caseId` and `choice`, which outlive a reload of the tab.
 */
export class Flow {
  session = null;
  status = 'starting'; // 'starting' | 'loading' | 'ready' | 'empty' | 'failed'
  busy = null; // 'submitting' | 'retrying' | 'moving': other commands wait
  error = null; // {text, hint, retry}
  image = 'none'; // 'none' | 'loading' | 'ready' | 'failed'
  counts = {};
  visited = [];
  place = -1; // in `visited`
  submitted = 0;
  #deps;
  #round = 0; // counts what is begun: an answer to something earlier is dropped
  #wake = null;
  #handingIn;

  /** @param {object} deps what `CaseSession` needs, and `screen`, `memory` and `clock` */
  constructor(deps) {
    this.#deps = deps;
    this.#handingIn = new HandingIn(this, deps);
    const works = deps.me.works;
    const { work, order, class_id = null, model = null } = deps.memory.choice ?? {};
    this.choice = {
      work: works.includes(work) ? work : (works[0] ?? 'first'),
      order: order ?? 'uncertain',
      class_id,
      model,
    };
  }

  async start() {
    this.refreshCounts();
    const { caseId } = this.#deps.memory;
    const again = () => this.start();
    if (caseId && (await this.open(caseId, { patient: true, again }))) return;
    if (this.error === null) await this.takeNext();
  }

  /** The desk is taken down. */
  stop() {
    this.#round += 1;
    this.session?.stop();
  }

  async refreshCounts() {
    try {
      this.counts = await this.#deps.api.counts();
      this.#changed('counts');
    } catch {
      // They are only numbers; what follows says what is wrong.
    }
  }

  /** Another class of work, order or filter. The open case stays, unless there is none. */
  async choose(change) {
    if (this.busy) {
      this.#changed('choice'); // what was picked on the page goes back to what holds
      return;
    }
    const other = 'work' in change && change.work !== this.choice.work;
    this.choice = { ...this.choice, ...change };
    this.#deps.memory.choice = this.choice;
    this.#changed('choice');
    if (other || this.status === 'empty' || this.status === 'failed') await this.takeNext();
    else this.refreshCounts();
  }

  /** The next case of the queue. `after`: the one to go on behind, which stays if it is the last. */
  takeNext({ after } = {}) {
    const behind = after ? { after } : {};
    const body = { ...this.choice, ...behind, tab: this.#deps.tab };
    const fetch = async () => (await this.#deps.api.next(body)).case;
    this.refreshCounts(); // what came in meanwhile
    return this.#move(fetch, { orStay: Boolean(after) });
  }

  /** One case by its id. Resolves to whether it is open. `patient`: this tab had it just now. */
  open(caseId, { takeOver = false, patient = false, place = null, again } = {}) {
    const { api, tab } = this.#deps;
    const fetch = async () => {
      let view = await api.open(caseId, { tab, take_over: takeOver });
      for (let tried = 1; patient && tried < REOPEN_TRIES && wasOurs(view); tried += 1) {
        await this.pause(REOPEN_WAIT_MS);
        view = await api.open(caseId, { tab, take_over: takeOver });
      }
      return view;
    };
    return this.#move(fetch, { place, mayBeGone: patient, again });
  }

  /** What was lost, or is held elsewhere. */
  openAgain({ takeOver = false } = {}) {
    return this.open(this.session.id, { takeOver, place: this.place });
  }

  /** Back through what was open in this tab. */
  previous() {
    if (this.busy) return undefined;
    const place = this.session ? this.place - 1 : this.visited.length - 1;
    if (place < 0) return this.#say('There is no earlier case in this session');
    return this.open(this.visited[place], { place });
  }

  /** Forth again, and then on to the next case; what was begun here stays as a draft. */
  next() {
    if (this.busy) return undefined;
    const place = this.place + 1;
    if (this.session && place < this.visited.length) {
      return this.open(this.visited[place], { place });
    }
    return this.takeNext({ after: this.session?.editable ? this.session.id : undefined });
  }

  // Handing in

  /** What is asked before it is handed in, `{kind, count}`, or null. */
  get asking() {
    return this.#handingIn.asking;
  }

  submit(options) {
    return this.#handingIn.submit(options);
  }

  stopAsking() {
    return this.#handingIn.stopAsking();
  }

  /** While an answer is tried again: now, not later. */
  retryNow() {
    this.#wake?.();
  }

  /** While an answer is tried again: back to editing; it is handed in another time. */
  stopRetrying() {
    if (this.busy !== 'retrying') return;
    this.#round += 1;
    this.#wake?.();
    this.busy = null;
    this.error = null;
    this.session.freeze(false);
    this.#changed('busy');
  }

  skip(reason) {
    const { session } = this;
    if (this.busy || !session?.editable) return undefined;
    return this.#move(
      async () => {
        const body = { ...session.held(), reason, next: { ...this.choice, after: session.id } };
        const { next } = await this.#deps.api.skip(session.id, body);
        session.stop();
        this.passedOn(session.id, 'Skipped');
        return next;
      },
      { mayLose: true },
    );
  }

  /** A settled case gets a new version: a new case, which is opened. */
  reopen(reason) {
    const { session } = this;
    if (this.busy || !session) return undefined;
    const { api, tab } = this.#deps;
    return this.#move(async () => {
      const { case_id } = await api.reopen(session.id, { reason });
      this.passedOn(case_id, 'Reopened');
      return api.open(case_id, { tab, take_over: false });
    });
  }

  // What `HandingIn` needs

  /** The number of what begins now; `busy` says what it is. */
  begin(what) {
    this.#round += 1;
    this.busy = what;
    this.#handingIn.asking = null;
    this.error = null;
    this.#changed('busy');
    return this.#round;
  }

  isCurrent(round) {
    return round === this.#round;
  }

  end(round) {
    if (!this.isCurrent(round)) return;
    this.busy = null;
    this.#changed('busy');
  }

  waitToRetry(error) {
    this.busy = 'retrying';
    this.error = error;
    this.#changed('busy');
  }

  /** Resolves after so long, or as soon as somebody wants it now. */
  pause(ms) {
    const { clock } = this.#deps;
    return new Promise((resolve) => {
      const handle = clock.later(resolve, ms);
      this.#wake = () => {
        clock.cancel(handle);
        resolve();
      };
    });
  }

  passedOn(caseId, words) {
    this.#deps.screen.caseChanged(caseId);
    this.refreshCounts();
    this.#say(words);
  }

  // How it is done

  /** Get another view with `fetch`, leave what is open, and show it. Without it, all stays. */
  async #move(fetch, options = {}) {
    const { place = null, orStay = false, mayBeGone = false, mayLose = false, again } = options;
    const round = this.begin('moving');
    const left = this.session;
    let view;
    try {
      if (left?.editable) await this.#holdStill(left);
      if (!this.isCurrent(round)) return false;
      view = await fetch();
    } catch (error) {
      if (!this.isCurrent(round)) return false;
      left?.freeze(false);
      const gone = mayBeGone && error instanceof Refused && GONE.has(error.status);
      if (isConflict(error) && mayLose) left.lose(error);
      else if (!gone) this.#failed(error, again ?? (() => this.#move(fetch, options)));
      this.end(round);
      return false;
    }
    if (!this.isCurrent(round)) return false;
    const same = view?.case.id === left?.id;
    if (left && orStay && (view === null || same)) return this.#stay(left, view, round);
    if (left && !same) left.leave();
    return this.load(view, { place });
  }

  async #holdStill(session) {
    session.freeze();
    await session.saver.flush();
  }

  #stay(session, view, round) {
    session.freeze(false);
    if (view?.lease) session.lease.hold(view.lease);
    this.#say('There is no other case in this queue');
    this.end(round);
    return true;
  }

  #failed(error, retry) {
    this.error = { text: error.message, hint: error.hint ?? '', retry };
    if (this.session === null) {
      this.status = 'failed';
      this.#deps.screen.show(null);
    }
  }

  /** Show this case, or that there is none. Resolves to whether there is one. */
  async load(view, { place = null } = {}) {
    const round = this.#round;
    this.error = null;
    this.session?.stop();
    this.session = null;
    this.#deps.memory.caseId = view?.case.id ?? null;
    if (view === null) {
      this.status = 'empty';
      this.image = 'none';
      this.#deps.screen.show(null);
      this.end(round);
      return false;
    }
    this.status = this.image = 'loading';
    let session = null;
    const onChange = (kind) => session !== null && this.session === session && this.#heard(kind);
    session = await CaseSession.open(view, { ...this.#deps, onChange });
    if (!this.isCurrent(round)) {
      session.stop();
      return false;
    }
    this.session = session;
    this.status = 'ready';
    this.#remember(view.case.id, place);
    this.end(round);
    await this.showImage();
    return true;
  }

  async showImage() {
    const { session } = this;
    this.image = 'loading';
    this.#changed('image');
    let state = 'ready';
    try {
      await this.#deps.screen.show(session);
    } catch {
      state = 'failed';
    }
    if (this.session !== session) return;
    this.image = state;
    this.#changed('image');
  }

  #heard(kind) {
    if (kind === 'edit') this.stopAsking();
    this.#changed(kind);
  }

  #remember(caseId, place) {
    if (place !== null) {
      this.place = place;
      return;
    }
    this.visited = [...this.visited.filter((id) => id !== caseId), caseId];
    this.place = this.visited.length - 1;
  }

  #say(text) {
    this.#deps.screen.announce(text);
  }

  #changed(kind) {
    this.#deps.screen.changed(kind);
  }
}

/** Another tab of ours holds it: probably the page that this one was a moment ago. */
function wasOurs(view) {
  return view.read_only?.can_take_over === true;
}
