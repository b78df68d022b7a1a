// One case while it is open: its editor, its lease, its draft, and what is handed in. No DOM here.

import { Editor, newId } from './core.mjs';
import { DraftSaver } from './drafts.mjs';
import { LeaseKeeper } from './lease.mjs';
import { chooseDraft } from './restoring.mjs';
import { Settlement } from './settle.mjs';

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
  comment = '';
  reason = null; // of the whole second review, if it was chosen by hand
  key = newId(); // makes handing in twice one answer
  attempted = false; // handed in, and no answer came yet
  bulk = 0; // how many boxes were accepted all at once
  frozen = false; // while it is being handed in
  lost = null; // {code, text, hint, unsaved}: what took the case away
  restored = null; // where what is shown comes from: "server" | "browser" | "recovered"
  offers = [];
  settlement = null;
  group = null; // of the settlement: the one that the keys are about

  /**
   * @param {object} view the case as the server shows it
   * @param {{me: object, api: object, copies: object, active: object, tab: string, clock?: object,
   *   wallClock?: () => number, onChange: (kind: string) => void}} deps `onChange` is called with
   *   "edit", "select", "saved", "lease", "lost" or "load"
   */
  constructor(view, deps) {
    this.view = view;
    this.#deps = { wallClock: Date.now, ...deps };
    this.readOnly = view.read_only ?? (view.lease ? null : readOnlyWithoutReason());
    if (view.phase === 'settle') {
      const { groups, layers } = view;
      this.settlement = new Settlement({ groups, layers, reasons: deps.me.settle_reasons, newId });
    }
    this.lease = new LeaseKeeper({
      everyMs: deps.me.heartbeat_seconds * 1000,
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
      keep: (document, rev) => this.#keepHere(document, rev),
      forget: () => this.#forgetHere(),
      onState: () => deps.onChange('saved'),
      onRefused: (error) => this.lose(error),
      clock: deps.clock,
    });
    this.#listenTo(this.#freshEditor());
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

  /** Settle `group` by a choice; false if that choice does not exist. */
  choose(group, choice) {
    if (!this.editable || !this.settlement.can(group, choice)) return false;
    this.editor.replaceAll(this.settlement.choose(this.editor.boxes, group, choice));
    this.editor.select(this.entryOf(group).box.id);
    return true;
  }

  entryOf(group) {
    return this.settlement.read(this.editor.boxes).entries.find((entry) => entry.group === group);
  }

  /** The group that the keys are about; its box is selected, if it has one. */
  goTo(group) {
    this.group = group;
    const { box } = this.entryOf(group);
    this.editor.select(box?.id ?? null);
    this.#deps.onChange('select');
  }

  /** A new box over boxes of an open group is the answer to it, in the same step of the history. */
  drawn(id) {
    if (!this.editable || !this.settlement) return;
    const { editor, settlement } = this;
    const box = editor.get(id);
    const others = editor.boxes.filter((each) => each.id !== id);
    const group = settlement.groupUnder(others, box);
    if (group === null) return;
    editor.undo();
    editor.add(box.box, box.class_id, { id, ...settlement.asAnswerTo(group) });
    this.group = group;
  }

  setGroupReason(group, code) {
    if (!this.editable) return;
    this.editor.replaceAll(this.settlement.withReason(this.editor.boxes, group, code));
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
    const boxes = this.editor.answer().boxes.map(({ id, box, class_id }) => ({ id, box, class_id }));
    return { boxes, active_seconds: this.#active.seconds };
  }

  settledAnswer() {
    const answer = this.settlement.answer(this.editor.boxes, { reason: this.reason });
    return { ...answer, comment: this.comment, active_seconds: this.#active.seconds };
  }

  /** Answered: no copy is needed any more. */
  async finished() {
    this.stop();
    const { me, copies } = this.#deps;
    const left = await copies.of(me.pseudonym, this.id).catch(() => []);
    await Promise.allSettled(left.map((copy) => copies.remove(copy)));
  }

  /** Leave it for later, and free for others; its draft was saved before. */
  async leave() {
    const held = this.held();
    this.stop();
    if (held.token === null) return;
    try {
      await this.#deps.api.release(this.id, held);
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
    const held = this.held();
    this.editor.cancel();
    const document = this.document();
    this.lost = { code: error.code, text: error.message, hint: error.hint, unsaved };
    this.lease.letGo();
    this.saver.stop();
    this.#active.stop();
    this.editor.readOnly = true;
    if (unsaved) {
      this.#keepHere(document, 0);
      // It is refused, and kept beside the draft of whoever holds the case now.
      if (!told) this.#deps.api.draft(this.id, { ...held, rev: 1, document }).catch(() => {});
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
    const { editor, comment = '', reason = null } = offer.document;
    if (this.#count === 0 && this.restored === null) {
      this.#listenTo(Editor.fromDocument(editor, this.#editorOptions()));
      this.#deps.onChange('load');
    } else {
      this.editor.replaceAll(editor.boxes);
    }
    this.#comesFrom(offer.document);
    if (comment) this.comment = comment;
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
    if (offer.copy) await this.#deps.copies.remove(offer.copy);
    if (offer.id) await this.#deps.api.discardDraft(offer.id);
  }

  // How it is done

  #editorOptions() {
    const { image, phase, layers, annotation } = this.view;
    return {
      width: image.width,
      height: image.height,
      classes: this.#deps.me.classes,
      phase,
      detections: phase === 'first' ? layers.model : [],
      boxes: phase === 'settle' ? this.settlement.start() : doneBoxes(annotation ?? layers.first),
      readOnly: !this.editable,
    };
  }

  #freshEditor() {
    const options = this.#editorOptions();
    const { phase, annotation, layers } = this.view;
    if (phase !== 'first' || !annotation) return new Editor(options);
    // Reopened: it begins with what was settled before.
    const boxes = reopenedBoxes(annotation, layers.model);
    const document = { version: 1, phase, boxes, selected: null, undo: [], redo: [] };
    return Editor.fromDocument(document, options);
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
    const { me, copies } = this.#deps;
    const mine = view.lease !== null;
    const choice = chooseDraft({
      server: view.draft,
      recovered: view.recovered ?? [],
      locals: mine ? await copies.of(me.pseudonym, this.id).catch(() => []) : [],
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
    for (const copy of choice.obsolete.copies) copies.remove(copy).catch(() => {});
    for (const id of choice.obsolete.recovered) this.#deps.api.discardDraft(id).catch(() => {});
  }

  #take(document) {
    if (document === null) return false;
    try {
      this.#listenTo(Editor.fromDocument(document.editor, this.#editorOptions()));
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

  #copyOf(document, rev) {
    const { me, wallClock } = this.#deps;
    return {
      who: me.pseudonym,
      caseId: this.id,
      by: this.#me,
      rev,
      at: wallClock(),
      orphaned: this.lost !== null,
      document,
    };
  }

  async #keepHere(document, rev) {
    try {
      await this.#deps.copies.put(this.#copyOf(document, rev));
    } catch {
      // No room, or a private window: the server's draft is what remains.
    }
  }

  async #forgetHere() {
    try {
      await this.#deps.copies.remove(this.#copyOf({}, 0));
    } catch {
      // As above.
    }
  }
}

function readOnlyWithoutReason() {
  return { code: 'read_only', text: 'This case is only to be read.', can_take_over: false };
}

function doneBoxes(boxes) {
  return (boxes ?? []).map((box) => ({ ...box, status: box.origin === 'added' ? 'added' : 'accepted' }));
}

function reopenedBoxes(annotation, detections) {
  const known = new Map(detections.map((detection) => [detection.id, detection]));
  const boxes = annotation.map((box) => {
    const detection = known.get(box.detection_id);
    known.delete(box.detection_id);
    const { id, confidence = null } = detection ?? {};
    // Without a status the editor reads it off the detection.
    return { id: newId(), box: box.box, class_id: box.class_id, detection_id: id ?? null, confidence };
  });
  const left = [...known.values()].map(({ id, box, class_id, confidence }) => ({
    id: newId(),
    box,
    class_id,
    confidence,
    detection_id: id,
    status: 'rejected',
    origin: 'model',
  }));
  return [...boxes, ...left];
}
