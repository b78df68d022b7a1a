// Handing an answer in: asking once where it may be a slip, and sending it until it has arrived, with
// one key, so that it counts once. No DOM here.

import { Refused, SignedOut, Unreachable, isConflict } from './api.mjs';
import { shortWords } from './settle.mjs';

const RETRY_MS = [1_000, 2_000, 4_000, 8_000, 15_000];

/** A part of `Flow`, which says which case is open and takes over once the answer is there. */
export class HandingIn {
  asking = null; // {kind: 'unanswered' | 'no_finding' | 'nothing_to_mark', count}
  #flow;
  #api;
  #screen;

  constructor(flow, { api, screen }) {
    this.#flow = flow;
    this.#api = api;
    this.#screen = screen;
  }

  /** Ctrl+Enter: hand in, or reveal, or answer what was asked with yes. */
  async submit({ escalate = false } = {}) {
    const { session, busy, image } = this.#flow;
    if (busy === 'retrying') return this.#flow.retryNow();
    if (busy || !session) return undefined;
    if (!session.editable) return this.#screen.announce('This case is read-only');
    if (image !== 'ready') return this.#screen.announce('The image is not there yet');
    if (session.editor.isOpen) session.editor.commit();
    if (session.phase === 'blind') return this.#reveal(session);
    if (session.phase === 'settle') return this.#settle(session);
    return this.#first(session, escalate);
  }

  stopAsking() {
    if (this.asking === null) return false;
    this.asking = null;
    this.#screen.changed('asking');
    return true;
  }

  #first(session, escalate) {
    const { boxes, unanswered } = session.editor.answer();
    // Who escalates has been told both in the dialog.
    const confirmed = escalate ? 'all' : this.asking?.kind;
    if (unanswered.length > 0 && !['all', 'unanswered'].includes(confirmed)) {
      return this.#ask('unanswered', unanswered.length);
    }
    if (boxes.length + unanswered.length === 0 && !['all', 'no_finding'].includes(confirmed)) {
      return this.#ask('no_finding');
    }
    const answer = session.firstAnswer({ escalate });
    return this.#handIn(session, (body) => this.#api.submit(session.id, body), answer);
  }

  async #reveal(session) {
    const answer = session.blindAnswer();
    if (answer.boxes.length === 0 && this.asking?.kind !== 'nothing_to_mark') {
      return this.#ask('nothing_to_mark');
    }
    // The boxes are sealed as they are: the same ones again change nothing, and need no key.
    const send = (body) => this.#api.reveal(session.id, body);
    const view = await this.#send(session, send, answer);
    return view && this.#flow.load(view, { place: this.#flow.place });
  }

  #settle(session) {
    const { open } = session.settling.read();
    if (open.length > 0) {
      this.#screen.goToGroup(open[0]);
      return this.#screen.announce(
        `${open.length} still open: ${shortWords(open[0]).toLowerCase()}`,
      );
    }
    const answer = session.settledAnswer();
    if (answer.boxes.length === 0 && this.asking?.kind !== 'no_finding') {
      return this.#ask('no_finding');
    }
    return this.#handIn(session, (body) => this.#api.settle(session.id, body), answer);
  }

  async #handIn(session, send, answer) {
    const keyed = { ...answer, key: session.key, next: this.#flow.choice };
    const reply = await this.#send(session, send, keyed);
    if (!reply) return undefined;
    this.#flow.submitted += 1;
    this.#flow.passedOn(session.id, wordsFor(reply.outcome));
    return this.#flow.load(reply.next);
  }

  /** The reply, once it has come; undefined if the answer was refused, lost or given up. */
  async #send(session, send, answer) {
    const round = this.#flow.begin('submitting');
    session.freeze();
    await session.saver.flush();
    if (!this.#flow.isCurrent(round) || session.lost) return this.#flow.end(round);
    session.attempted = true;
    const reply = await this.#arrive(session, round, () => send({ ...session.held(), ...answer }));
    if (reply === undefined) return undefined;
    await session.finished();
    return reply;
  }

  async #arrive(session, round, send) {
    for (let tried = 0; ; tried += 1) {
      try {
        const reply = await send();
        return this.#flow.isCurrent(round) ? reply : undefined;
      } catch (error) {
        if (!this.#flow.isCurrent(round)) return undefined;
        if (!mayArriveLater(error)) return this.#notTaken(session, round, error);
        const text = `${error.message} Not handed in yet, trying again.`;
        this.#flow.waitToRetry({ text, hint: '' });
        await this.#flow.pause(RETRY_MS[Math.min(tried, RETRY_MS.length - 1)]);
        if (!this.#flow.isCurrent(round)) return undefined;
      }
    }
  }

  #notTaken(session, round, error) {
    session.freeze(false);
    if (isConflict(error)) session.lose(error, { told: !session.saver.dirty });
    else this.#flow.error = { text: error.message, hint: error.hint ?? '' };
    return this.#flow.end(round);
  }

  #ask(kind, count = 0) {
    this.asking = { kind, count };
    this.#screen.changed('asking');
  }
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
