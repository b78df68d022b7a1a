// One case while it is open: its editor, its lease, its draft, and what is handed in. No DOM here.

import { Editor, newId } from './core.mjs';
import { DraftSaver } from './drafts.mjs';
import { LeaseKeeper } from './lease.mjs';
import { KeptCopies } from './local_copies.mjs';
import { editorOptions, freshEditor } from './opening.mjs';
import { chooseDraft } from './restoring.mjs';
import { Settlement } from './settle.mjs';
import { Settling } from './settling.mjs';

const VERSION = 1;

// Of how many earlier documents one still knows that it contains them.
const MOST_STAMPS = 40;

export class CaseSession {
  #deps;
  #me = newId();
  #count = 0;
  #before = []; // stamps of the documents that this one goes back to
  #stopListening = () => {};
  #closed = false;
  #kept;
  comment = '';
  reason = null; // of the whole second review, if it was chosen by hand
  key = newId(); // makes handing in twice one answer
  attempted = false; // handed in, and no answer came yet
  bulk = 0; // how many boxes were accepted all at once
  frozen = false; // while it is being handed in
  lost = null; // {code, text, hint, unsaved}: what took the case away
  restored = null; // where what is shown comes from: "server" | "browser" | "recovered"
  offers = [];
  settling = null; // in phase "settle"

  /**
   * @param {object} view the case as the server shows it
   * @param {{me: object, api: object, copies: object, active: object, tab: string, clock?: object,
   *   wallClock?: () => number, onChange: (kind: string) => void}} deps `onChange` is called with
   *   "edit", "select", "saved", "lease", "lost" or "load"
   */
  constructor(view, deps) {
    this.view = view;
    this.#deps = { wallClock: Date.now, ...deps };
    const { me, copies } = deps;
    const whose = { who: me.pseudonym, caseId: view.case.id, by: this.#me };
    this.#kept = new KeptCopies(copies, whose, this.#deps.wallClock);
    this.readOnly = view.read_only ?? (view.lease ? null : readOnlyWithoutReason());
    if (view.phase === 'settle') {
      const { groups, layers } = view;
      const rules = new Settlement({ groups, layers, reasons: me.settle_reasons, newId });
      this.settling = new Settling(this, { rules, onChange: deps.onChange });
    }
    this.lease = new LeaseKeeper({
      everyMs: me.heartbeat_seconds * 1000,
      beat: (token) => deps.api.heartbeat(this.id, { tab: deps.tab, token }),
      onChange: () => deps.onChange('lease'),
      onLost: (error) => this.lose(error, { told: false }),
      clock: deps.clock,
    });
    this.saver = new DraftSaver({
      rev: view.draft?.rev ?? 0,
      savedAt: view.draft?.saved_at ?? null,
      make: () => this.document(),
      post: (body) => this.#saveAtServer(body),
      keep: (document, rev) => this.#kept.put(document, { rev }),
      forget: () => this.#kept.remove(),
      onState: () => deps.onChange('saved'),
      onRefused: (error) => this.lose(error),
      clock: deps.clock,
    });
    this.#listenTo(freshEditor(view, this.#given()));
  }

  /** The session with the newest of what was saved, here or at the server, in it. */
  static async open(view, deps) {
    const session = new CaseSession(view, deps);
    if (view.lease) session.lease.hold(view.lease);
    await session.#restore();
    return session;
  }

  get id() {
    return this.view.case.id;
  }

  get phase() {
    return this.view.phase;
  }

  get editable() {
    return !this.readOnly && !this.lost && !this.frozen && !this.#closed;
  }

  get #active() {
    return this.#deps.active;
  }

  document() {
    return {
      version: VERSION,
      phase: this.phase,
      editor: this.editor.toDocument(),
      comment: this.comment,
      reason: this.reason,
      active_seconds: this.#active.seconds,
      key: this.key,
      stamps: [{ by: this.#me, count: this.#count }, ...this.#before].slice(0, MOST_STAMPS),
    };
  }

  setComment(text) {
    if (!this.editable || text === this.comment) return;
    this.comment = text;
    this.#edited();
  }

  setReason(code) {
    if (!this.editable) return;
    this.reason = code;
    this.#edited();
  }

  /** Hold still while the answer is on its way; `false` lets the editing go on. */
  freeze(frozen = true) {
    this.frozen = frozen;
    this.editor.readOnly = !this.editable;
    this.#deps.onChange('lease');
  }

  held() {
    return { tab: this.#deps.tab, token: this.lease.token };
  }

  /** What is handed in as the first answer. Whatever is unanswered is accepted as it is. */
  firstAnswer({ escalate }) {
    this.bulk += this.editor.acceptPending();
    const { boxes, rejected, no_finding } = this.editor.answer();
    return {
      boxes,
      rejected,
      no_finding,
      comment: this.comment,
      active_seconds: this.#active.seconds,
      escalate,
      bulk_accepted: Math.min(this.bulk, boxes.length),
    };
  }

  blindAnswer() {
    const boxes = this.editor
      .answer()
      .boxes.map(({ id, box, class_id }) => ({ id, box, class_id }));
    return { boxes, active_seconds: this.#active.seconds };
  }

  settledAnswer() {
    const answer = this.settling.rules.answer(this.editor.boxes, { reason: this.reason });
    return { ...answer, comment: this.comment, active_seconds: this.#active.seconds };
  }

  /** Answered: no copy is needed any more. */
  async finished() {
    this.stop();
    await this.#kept.removeAll();
  }

  /** Leave it for later, and free for others; its draft was saved before. */
  async leave() {
    const { held } = this.lease;
    this.stop();
    if (!held) return;
    try {
      await this.#deps.api.release(this.id, this.held());
    } catch {
      // It runs out by itself in some minutes.
    }
  }

  leaveByBeacon() {
    if (this.lease.held) this.#deps.api.releaseByBeacon(this.id, this.held());
  }

  /** The server said that the case is not ours any more. `told`: it was sent the last edit too. */
  lose(error, { told = true } = {}) {
    if (this.lost || this.#closed) return;
    const unsaved = this.saver.dirty;
    this.editor.cancel();
    const document = this.document();
    this.lost = { code: error.code, text: error.message, hint: error.hint, unsaved };
    this.lease.letGo();
    this.saver.stop();
    this.#active.stop();
    this.editor.readOnly = true;
    if (unsaved) {
      this.#kept.put(document, { rev: 0, orphaned: true });
      // It is refused, and kept beside the draft of whoever holds the case now.
      if (!told)
        this.#deps.api.draft(this.id, { ...this.held(), rev: 1, document }).catch(() => {});
    }
    this.#deps.onChange('lost');
  }

  stop() {
    this.#closed = true;
    this.lease.letGo();
    this.saver.stop();
    this.#active.stop();
    this.#stopListening();
  }

  /** Put a kept edit back: with its history where there is nothing else yet, else as one step. */
  async bringBack(offer) {
    if (!this.editable) return false;
    const kept = this.#editorFrom(offer.document);
    if (this.#count === 0 && this.restored === null) {
      this.#listenTo(kept);
      this.#deps.onChange('load');
    } else {
      this.editor.replaceAll(kept.boxes);
    }
    this.#comesFrom(offer.document);
    const { comment, reason } = offer.document;
    this.comment = comment || this.comment;
    this.reason = reason ?? this.reason;
    this.restored = 'recovered';
    this.#edited();
    await this.saver.flush();
    await this.discard(offer);
    return true;
  }

  async discard(offer) {
    this.offers = this.offers.filter((each) => each !== offer);
    this.#deps.onChange('lost');
    if (offer.copy) await this.#kept.remove(offer.copy);
    if (offer.id) await this.#deps.api.discardDraft(offer.id);
  }

  // How it is done

  #given() {
    const { classes } = this.#deps.me;
    return { classes, settlement: this.settling?.rules, readOnly: !this.editable };
  }

  #editorFrom({ editor }) {
    return Editor.fromDocument(editor, editorOptions(this.view, this.#given()));
  }

  #listenTo(editor) {
    this.#stopListening();
    this.editor = editor;
    this.#stopListening = editor.subscribe(({ type }) => {
      if (type === 'edit') this.#edited();
      else if (type === 'select') this.#deps.onChange('select');
    });
  }

  #edited() {
    if (!this.editable) return;
    this.#count += 1;
    if (this.attempted) {
      // What the server may have got was another answer: this is a new one.
      this.key = newId();
      this.attempted = false;
    }
    this.saver.changed();
    this.#deps.onChange('edit');
  }

  async #restore() {
    const { view } = this;
    const mine = view.lease !== null;
    const choice = chooseDraft({
      server: view.draft,
      recovered: view.recovered ?? [],
      locals: mine ? await this.#kept.all() : [],
      phase: view.phase,
    });
    this.offers = choice.offers;
    const used = this.#take(choice.restore);
    if (used) this.restored = choice.from;
    this.#active.start(used ? (choice.restore.active_seconds ?? 0) : 0);
    if (!mine) {
      this.#active.stop();
      return;
    }
    if (used && choice.from === 'browser') {
      this.#count += 1;
      this.saver.changed();
    }
    for (const copy of choice.obsolete.copies) this.#kept.remove(copy);
    for (const id of choice.obsolete.recovered) this.#deps.api.discardDraft(id).catch(() => {});
  }

  #take(document) {
    if (document === null) return false;
    try {
      this.#listenTo(this.#editorFrom(document));
    } catch {
      return false; // of another version of the page, or of other boxes: it stays where it is
    }
    this.#comesFrom(document);
    this.comment = document.comment ?? '';
    this.reason = document.reason ?? null;
    this.key = document.key ?? this.key;
    return true;
  }

  #comesFrom({ stamps }) {
    this.#before = [...(stamps ?? []), ...this.#before].slice(0, MOST_STAMPS);
  }

  async #saveAtServer(body) {
    const saved = await this.#deps.api.draft(this.id, { ...this.held(), ...body });
    if (!this.#closed && saved.lease && this.lease.held) this.lease.renewed(saved.lease);
    return saved;
  }
}

function readOnlyWithoutReason() {
  return { code: 'read_only', text: 'This case is only to be read.', can_take_over: false };
}
