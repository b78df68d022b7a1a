// Which case is open, and the way from one to the next. No DOM here: `screen` shows what it says.

import { Refused, SignedOut, Unreachable } from './api.mjs';
import { CaseSession } from './session.mjs';
import { shortWords } from './settle.mjs';

const RETRY_MS = [1_000, 2_000, 4_000, 8_000, 15_000];

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
  asking = null; // {kind: 'unanswered' | 'no_finding' | 'nothing_to_mark', count}
  error = null; // {text, hint, retry}
  image = 'none'; // 'none' | 'loading' | 'ready' | 'failed'
  counts = {};
  visited = [];
  place = -1; // in `visited`
  submitted = 0;
  #deps;
  #generation = 0;
  #wake = null;

  /** @param {object} deps what `CaseSession` needs, and `screen`, `memory` and `clock` */
  constructor(deps) {
    this.#deps = deps;
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
    this.#generation += 1;
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
    if (this.busy) return;
    const other = 'work' in change && change.work !== this.choice.work;
    this.choice = { ...this.choice, ...change };
    this.#deps.memory.choice = this.choice;
    this.#changed('choice');
    this.refreshCounts();
    if (other || this.status === 'empty' || this.status === 'failed') await this.takeNext();
  }

  /** The next case of the queue. `after`: the one to go on behind, which stays if it is the last. */
  takeNext({ after } = {}) {
    const behind = after ? { after } : {};
    const body = { ...this.choice, ...behind, tab: this.#deps.tab };
    const fetch = async () => (await this.#deps.api.next(body)).case;
    return this.#move(fetch, { orStay: Boolean(after) });
  }

  /** One case by its id. Resolves to whether it is open. `patient`: this tab had it just now. */
  open(caseId, { takeOver = false, patient = false, place = null, again } = {}) {
    const { api, tab } = this.#deps;
    const fetch = async () => {
      let view = await api.open(caseId, { tab, take_over: takeOver });
      for (let tried = 1; patient && tried < REOPEN_TRIES && wasOurs(view); tried += 1) {
        await this.#pause(REOPEN_WAIT_MS);
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

  /** Ctrl+Enter: hand in, or reveal, or answer what was asked with yes. */
  async submit({ escalate = false } = {}) {
    const { session } = this;
    if (this.busy === 'retrying') return this.retryNow();
    if (this.busy || !session) return undefined;
    if (!session.editable) return this.#say('This case is read-only');
    if (this.image !== 'ready') return this.#say('The image is not there yet');
    if (session.editor.isOpen) session.editor.commit();
    if (session.phase === 'blind') return this.#reveal();
    if (session.phase === 'settle') return this.#settle();
    const { boxes, unanswered } = session.editor.answer();
    const confirmed = this.#confirmed();
    if (!escalate && unanswered.length > 0 && confirmed !== 'unanswered') {
      return this.#ask('unanswered', unanswered.length);
    }
    const nothing = boxes.length + unanswered.length === 0;
    if (!escalate && nothing && confirmed !== 'no_finding') return this.#ask('no_finding', 0);
    const answer = session.firstAnswer({ escalate });
    return this.#handIn((body) => this.#deps.api.submit(session.id, body), answer);
  }

  stopAsking() {
    if (this.asking === null) return false;
    this.asking = null;
    this.#changed('asking');
    return true;
  }

  /** While an answer is tried again: now, not later. */
  retryNow() {
    this.#wake?.();
  }

  /** While an answer is tried again: back to editing; it is handed in another time. */
  stopRetrying() {
    if (this.busy !== 'retrying') return;
    this.#generation += 1;
    this.#wake?.();
    this.busy = null;
    this.error = null;
    this.session.freeze(false);
    this.#changed('busy');
  }

  skip(reason) {
    const { session } = this;
    if (this.busy || !session?.editable) return undefined;
    return this.#move(async () => {
      const body = { ...session.held(), reason, next: { ...this.choice, after: session.id } };
      const { next } = await this.#deps.api.skip(session.id, body);
      session.stop();
      this.#passedOn(session.id, 'Skipped');
      return next;
    });
  }

  /** A settled case gets a new version: a new case, which is opened. */
  reopen(reason) {
    const { session } = this;
    if (this.busy || !session) return undefined;
    const { api, tab } = this.#deps;
    return this.#move(async () => {
      const { case_id } = await api.reopen(session.id, { reason });
      this.#passedOn(case_id, 'Reopened');
      return api.open(case_id, { tab, take_over: false });
    });
  }

  async #reveal() {
    const { session } = this;
    const answer = session.blindAnswer();
    if (answer.boxes.length === 0 && this.#confirmed() !== 'nothing_to_mark') {
      return this.#ask('nothing_to_mark', 0);
    }
    return this.#handIn((body) => this.#deps.api.reveal(session.id, body), answer, {
      keyed: false,
      then: (view) => this.#load(view, { place: this.place }),
    });
  }

  async #settle() {
    const { session } = this;
    const { open } = session.settlement.read(session.editor.boxes);
    if (open.length > 0) {
      this.#deps.screen.goToGroup(open[0]);
      return this.#say(`${open.length} still open: ${shortWords(open[0]).toLowerCase()}`);
    }
    const answer = session.settledAnswer();
    if (answer.boxes.length === 0 && this.#confirmed() !== 'no_finding') {
      return this.#ask('no_finding', 0);
    }
    return this.#handIn((body) => this.#deps.api.settle(session.id, body), answer);
  }

  /** Send an answer until it arrives, with one key, so that it counts once. */
  async #handIn(send, answer, { keyed = true, then = (reply) => this.#handedIn(reply) } = {}) {
    const { session } = this;
    const generation = this.#begin('submitting');
    session.freeze();
    await session.saver.flush();
    if (generation !== this.#generation || session.lost) return this.#end(generation);
    const extra = keyed ? { key: session.key, next: this.choice } : {};
    session.attempted = true;
    const reply = await this.#arrive(generation, () =>
      send({ ...session.held(), ...answer, ...extra }),
    );
    if (reply === undefined) return undefined;
    await session.finished();
    this.busy = 'moving';
    return then(reply);
  }

  /** The reply to `send`, tried until there is one; undefined if it was refused or given up. */
  async #arrive(generation, send) {
    for (let tried = 0; ; tried += 1) {
      try {
        const reply = await send();
        return generation === this.#generation ? reply : undefined;
      } catch (error) {
        if (generation !== this.#generation) return undefined;
        if (!mayArriveLater(error)) return this.#notTaken(error, generation);
        this.busy = 'retrying';
        this.error = { text: `${error.message} Not handed in yet, trying again.`, hint: '' };
        this.#changed('busy');
        await this.#pause(RETRY_MS[Math.min(tried, RETRY_MS.length - 1)]);
        if (generation !== this.#generation) return undefined;
      }
    }
  }

  async #handedIn({ outcome, next }) {
    this.submitted += 1;
    this.error = null;
    this.#passedOn(this.session.id, wordsFor(outcome));
    await this.#load(next);
  }

  #passedOn(caseId, words) {
    this.#deps.screen.caseChanged(caseId);
    this.refreshCounts();
    this.#say(words);
  }

  #notTaken(error, generation) {
    const { session } = this;
    session.freeze(false);
    if (isConflict(error)) session.lose(error, { told: !session.saver.dirty });
    else this.error = { text: error.message, hint: error.hint ?? '' };
    return this.#end(generation);
  }

  // How it is done

  #begin(what) {
    this.#generation += 1;
    this.busy = what;
    this.asking = null;
    this.error = null;
    this.#changed('busy');
    return this.#generation;
  }

  #end(generation) {
    if (generation !== this.#generation) return;
    this.busy = null;
    this.#changed('busy');
  }

  /** Get another view with `fetch`, leave what is open, and show it. Without it, all stays. */
  async #move(fetch, options = {}) {
    const { place = null, orStay = false, mayBeGone = false, again } = options;
    const generation = this.#begin('moving');
    const left = this.session;
    let view;
    try {
      if (left?.editable) await this.#holdStill(left);
      if (generation !== this.#generation) return false;
      view = await fetch();
    } catch (error) {
      if (generation !== this.#generation) return false;
      left?.freeze(false);
      const gone = mayBeGone && error instanceof Refused && GONE.has(error.status);
      if (isConflict(error) && left?.lease.held) left.lose(error);
      else if (!gone) this.#failed(error, again ?? (() => this.#move(fetch, options)));
      this.#end(generation);
      return false;
    }
    if (generation !== this.#generation) return false;
    const same = view?.case.id === left?.id;
    if (left && orStay && (view === null || same)) return this.#stay(left, view, generation);
    if (left && !same) left.leave();
    return this.#load(view, { place });
  }

  async #holdStill(session) {
    session.freeze();
    await session.saver.flush();
  }

  #stay(session, view, generation) {
    session.freeze(false);
    if (view?.lease) session.lease.hold(view.lease);
    this.#say('There is no other case in this queue');
    this.#end(generation);
    return true;
  }

  #failed(error, retry) {
    this.error = { text: error.message, hint: error.hint ?? '', retry };
    if (this.session === null) {
      this.status = 'failed';
      this.#deps.screen.show(null);
    }
  }

  async #load(view, { place = null } = {}) {
    const generation = this.#generation;
    this.session?.stop();
    this.session = null;
    this.#deps.memory.caseId = view?.case.id ?? null;
    if (view === null) {
      this.status = 'empty';
      this.image = 'none';
      this.#deps.screen.show(null);
      this.#end(generation);
      return false;
    }
    this.status = this.image = 'loading';
    let session = null;
    const onChange = (kind) => session !== null && this.session === session && this.#heard(kind);
    session = await CaseSession.open(view, { ...this.#deps, onChange });
    if (generation !== this.#generation) {
      session.stop();
      return false;
    }
    this.session = session;
    this.status = 'ready';
    this.#remember(view.case.id, place);
    this.#end(generation);
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

  #ask(kind, count) {
    this.asking = { kind, count };
    this.#changed('asking');
  }

  #confirmed() {
    return this.asking?.kind ?? null;
  }

  #pause(ms) {
    const { clock } = this.#deps;
    return new Promise((resolve) => {
      const handle = clock.later(resolve, ms);
      this.#wake = () => {
        clock.cancel(handle);
        resolve();
      };
    });
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

function isConflict(error) {
  return error instanceof Refused && error.status === 409;
}

function mayArriveLater(error) {
  if (error instanceof SignedOut || error instanceof Unreachable) return true;
  return !(error instanceof Refused) || error.status >= 500;
}

function wordsFor(outcome) {
  if (outcome.state !== 'second') return 'Handed in: settled';
  const reasons = outcome.reasons.map((reason) => reason.text).join('; ');
  return `Handed in: a second reviewer is asked${reasons ? ` (${reasons})` : ''}`;
}
