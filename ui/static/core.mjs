// The document of one case: its boxes, what was done to them, and how to take that back. No DOM.
//
// A box is a frozen record (`records.mjs` says what is in it); its `box` is `[x1, y1, x2, y2]` in
// float pixels of the stored image, always inside it and with an area.

import { fitted, moved, sameBox, tidy } from './geometry.mjs';
import { Ledger } from './ledger.mjs';
import { answered, answerOf, asModel, newId, pendingOf, recordOf } from './records.mjs';
import { checkDetections, checkDocument } from './stored.mjs';
import { stepFrom } from './tour.mjs';

export { newId };

const VERSION = 1;

/** The history is cut to this, so that a draft stays well under the server's 1 MB. */
const HISTORY_BYTES = 600_000;

/** How far a copy is put from its original, in pixels of the image. */
const COPY_OFFSET_PX = 10;

export class Editor {
  #detections; // by id, clipped to the image
  #ledger;
  #listeners = new Set();
  #selected = null;
  #selectedWasPending = false;

  /**
   * `width` and `height` in pixels; `classes` is `[{id, name}]` in the order of their keys. In
   * phase "first" there is one pending box per detection (`[{id, box, class_id, confidence}]`);
   * "blind" starts empty; "settle" and "done" start with `boxes`. A case that is done is read-only.
   */
  constructor(options) {
    const { width, height, classes, phase = 'first', readOnly = false } = options;
    const { detections = [], boxes = [] } = options;
    this.width = width;
    this.height = height;
    this.classes = Object.freeze([...classes]);
    this.phase = phase;
    this.readOnly = readOnly || phase === 'done';
    const visible = phase === 'blind' ? [] : detections;
    this.#detections = new Map(
      visible.map((d) => [d.id, Object.freeze({ ...d, box: fitted(d.box, width, height) })]),
    );
    const initial = { first: this.detections.map(pendingOf), blind: [] }[phase] ?? boxes;
    const records = initial.map((box) => this.#record(box));
    this.#ledger = new Ledger(records, (type) => this.#changed(type));
  }

  // What there is

  /** The boxes in a stable order; after each edit the list is another one. */
  get boxes() {
    return this.#ledger.boxes;
  }

  /**
   * The model's boxes of those that were changed, as they were: `[{id, box, class_id, confidence,
   * of}]`.
   */
  get ghosts() {
    return this.boxes
      .filter((box) => box.status === 'changed' && this.#detections.has(box.detection_id))
      .map((box) => ({
        ...this.#detections.get(box.detection_id),
        id: `ghost-${box.id}`,
        of: box.id,
      }));
  }

  /** The model's detections, clipped to the image. */
  get detections() {
    return [...this.#detections.values()];
  }

  /** The id of the selected box, or null. */
  get selected() {
    return this.#selected;
  }

  /** How many detections nobody has answered. */
  get pending() {
    return this.boxes.filter((box) => box.status === 'pending').length;
  }

  get canUndo() {
    return !this.readOnly && this.#ledger.canUndo;
  }

  get canRedo() {
    return !this.readOnly && this.#ledger.canRedo;
  }

  /** Whether a drag (or another change between `begin` and `commit`) is under way. */
  get isOpen() {
    return this.#ledger.isOpen;
  }

  /** The box with that id, or null. */
  get(id) {
    return this.#ledger.get(id);
  }

  /** A class's place in the list, the number of its key (1 for the first) and its name. */
  classLabel(classId) {
    const index = this.classes.findIndex((c) => c.id === classId);
    return { index, number: index + 1, name: this.classes[index]?.name ?? `class ${classId}` };
  }

  /** The box in words, for those who hear it: "Box 3 of 12, WBC, 0.41, pending". */
  describe(id) {
    const place = this.boxes.findIndex((box) => box.id === id);
    if (place === -1) return 'No box selected';
    const { class_id, confidence, status } = this.boxes[place];
    const score = typeof confidence === 'number' ? [confidence.toFixed(2)] : [];
    const which = `Box ${place + 1} of ${this.boxes.length}`;
    return [which, this.classLabel(class_id).name, ...score, status].join(', ');
  }

  /**
   * Calls `fn({type})` after each change: "edit" (committed: save it), "select", "load" (all of it
   * is new), and "live" during a drag, which concerns only those who draw. Returns the way to stop
   * it.
   */
  subscribe(fn) {
    this.#listeners.add(fn);
    return () => this.#listeners.delete(fn);
  }

  // Selection

  /** Selects the box with that id; null or an unknown id selects none. */
  select(id) {
    const box = this.get(id);
    this.#selectedWasPending = box?.status === 'pending';
    if ((box?.id ?? null) === this.#selected) return;
    this.#selected = box?.id ?? null;
    this.#emit('select');
  }

  /**
   * Selects the next (`step` 1) or the previous (-1) box: those pending first, the least confident
   * first, then the rest, and round again. Returns its id, or null if there is no box.
   */
  selectNext(step = 1) {
    const justAnswered = this.#selectedWasPending && this.get(this.#selected)?.status !== 'pending';
    this.select(stepFrom(this.boxes, this.#selected, step, justAnswered)?.id ?? null);
    return this.#selected;
  }

  // Edits: each is one step of the history, and says whether it changed anything

  /** The detection is right; a rejected one is brought back and accepted. */
  accept(id) {
    const box = this.get(id);
    if (box?.status === 'rejected') {
      return this.#change('accept', id, this.#answer(this.#model(box)));
    }
    return box?.status === 'pending' && this.#change('accept', id, this.#answer(box));
  }

  /** There is nothing here: a detection's box stays as a ghost, any other goes. */
  reject(id) {
    const box = this.get(id);
    if (box === null || box.status === 'rejected') return false;
    if (this.phase !== 'first' || !this.#detections.has(box.detection_id)) {
      return this.#drop('remove', id);
    }
    return this.#change('reject', id, { ...this.#model(box), status: 'rejected', origin: 'model' });
  }

  /**
   * Brings the model's box back: a rejected one waits for an answer again, a changed one is
   * accepted.
   */
  restore(id) {
    const box = this.get(id);
    const known = this.#detections.has(box?.detection_id);
    if (known && box.status === 'changed') {
      return this.#change('restore', id, this.#touched(this.#answer(this.#model(box))));
    }
    if (box?.status !== 'rejected') return false;
    const waits = known && this.phase === 'first';
    const anew = waits ? { status: 'pending', origin: 'model' } : { status: 'accepted', how: null };
    return this.#change('restore', id, { ...this.#model(box), ...anew });
  }

  /** Gives the box another class, one of the list's. */
  setClass(id, classId) {
    const box = this.get(id);
    if (!this.#editable(box) || box.class_id === classId || this.classLabel(classId).index === -1) {
      return false;
    }
    return this.#change('class', id, this.#touched(this.#answer({ ...box, class_id: classId })));
  }

  /**
   * Puts the box between two corners, in any order, in pixels. Between begin and commit it is live.
   */
  setBox(id, box) {
    return this.#move('move', id, box);
  }

  /**
   * Moves the box by pixels. `join` adds to the last step if that was the same (a key held down).
   */
  nudge(id, dx, dy, { join = false } = {}) {
    const box = this.get(id);
    if (box === null) return false;
    return this.#move('nudge', id, moved(box.box, dx, dy, this.width, this.height), join);
  }

  /** Moves the right and the lower edge by pixels; one pixel is left at least. */
  resize(id, dw, dh, { join = false } = {}) {
    const box = this.get(id);
    if (box === null) return false;
    const [x1, y1, x2, y2] = box.box;
    const corners = [x1, y1, Math.max(x2 + dw, x1 + 1), Math.max(y2 + dh, y1 + 1)];
    return this.#move('resize', id, corners, join);
  }

  /**
   * Adds a box, selects it and returns its id; null if it may not. `extra` may give `id`,
   * `detection_id`, `sources`, `how`, `reason` and `confidence`.
   */
  add(box, classId, extra = {}) {
    const known = this.classLabel(classId).index !== -1 && box.every(Number.isFinite);
    if (this.readOnly || !known || this.get(extra.id) !== null) return null;
    const how = this.phase === 'settle' ? 'redrawn' : null;
    const edges = tidy(box, this.width, this.height);
    const record = this.#record({ how, ...extra, box: edges, class_id: classId });
    this.#ledger.step('add', () => this.#ledger.put(record));
    this.select(record.id);
    return record.id;
  }

  /** Puts a copy beside the box, without its detection; selects it and returns its id, or null. */
  duplicate(id) {
    const box = this.get(id);
    if (box === null) return null;
    const places = [COPY_OFFSET_PX, -COPY_OFFSET_PX].map((d) =>
      moved(box.box, d, d, this.width, this.height),
    );
    return this.add(places.find((place) => !sameBox(place, box.box)) ?? places[0], box.class_id);
  }

  /** Deletes: a detection's box is rejected, any other goes. */
  remove(id) {
    return this.reject(id);
  }

  /**
   * In the second review: how a box came about, `{how, reason, sources}`; what is left out stays.
   */
  annotate(id, given) {
    const box = this.get(id);
    if (box === null) return false;
    const { how = box.how, reason = box.reason, sources = box.sources } = given;
    const said = { how, reason, sources: Object.freeze([...sources]) };
    return this.#change('annotate', id, { ...box, ...said });
  }

  /**
   * In the second review: one box in the place of all that have one of `sources` (ids of layers'
   * boxes), in one step. With `box` null they only go. `extra` as for `add`. Returns the new id, or
   * null.
   */
  resolve(sources, box, classId, extra = {}) {
    if (this.readOnly) return null;
    const gone = this.boxes.filter((b) => b.sources.some((source) => sources.includes(source)));
    const record = box && this.#record({ ...extra, sources, box, class_id: classId });
    this.#ledger.step('resolve', () => {
      gone.forEach(({ id }) => this.#ledger.take(id));
      if (record) this.#ledger.put(record);
    });
    if (record) this.select(record.id);
    return record?.id ?? null;
  }

  /** Other boxes in the place of all of these, in one step. */
  replaceAll(boxes) {
    if (this.readOnly) return false;
    const records = boxes.map((box) => this.#record(box));
    return this.#ledger.step('replace', () => this.#ledger.replace(records));
  }

  /** Accepts all that is pending, in one step; returns how many that were. */
  acceptPending() {
    const waiting = this.readOnly ? [] : this.boxes.filter((box) => box.status === 'pending');
    if (waiting.length > 0) {
      this.#ledger.step('accept all', () => {
        for (const box of waiting) this.#ledger.put(this.#answer(box));
      });
    }
    return waiting.length;
  }

  // History

  /** Whatever is done until `commit` is one step: a drag. */
  begin(label = 'change') {
    return !this.readOnly && this.#ledger.begin(label);
  }

  /** Ends the step; returns whether anything differs from before it. */
  commit() {
    return this.#ledger.commit();
  }

  /** Takes back what was done since `begin`. */
  cancel() {
    return this.#ledger.cancel();
  }

  /** Takes the last step back; during a drag, the drag. */
  undo() {
    return this.cancel() || (this.canUndo && this.#showStep(this.#ledger.undo()));
  }

  redo() {
    return this.canRedo && this.#showStep(this.#ledger.redo());
  }

  // Out and in

  /** All of it as JSON values, undo included: what a draft keeps. A drag under way is left out. */
  toDocument() {
    const boxes = [...this.#ledger.committed];
    const history = this.#ledger.toDocument(HISTORY_BYTES);
    return { version: VERSION, phase: this.phase, boxes, selected: this.#selected, ...history };
  }

  /**
   * The editor as it was when `document` was made; `options` are the constructor's. Throws an Error
   * if it is none of ours or about other detections. A history that does not fit the boxes is left
   * out.
   */
  static fromDocument(document, options) {
    const editor = new Editor(options);
    editor.#load(document);
    return editor;
  }

  /**
   * What the reviewer says: `{boxes: [{id, box, class_id, detection_id}], rejected: [detection
   * ids], unanswered: [ids of boxes], no_finding}`. A pending box is unanswered and in neither of
   * the others.
   */
  answer() {
    return answerOf(this.boxes);
  }

  // How it is done

  #record(given) {
    const record = recordOf(given, this.width, this.height);
    return given.status === undefined ? Object.freeze(this.#answer(record)) : record;
  }

  #answer(record) {
    return answered(record, this.#detections.get(record.detection_id));
  }

  #model(record) {
    return asModel(record, this.#detections.get(record.detection_id));
  }

  /** In the second review a box that is changed after it was picked or merged is a redrawn one. */
  #touched(record) {
    return this.phase === 'settle' ? { ...record, how: 'redrawn' } : record;
  }

  #editable(box) {
    return box !== null && box.status !== 'rejected';
  }

  #move(label, id, corners, join = false) {
    const box = this.get(id);
    if (!this.#editable(box) || !corners.every(Number.isFinite)) return false;
    const edges = Object.freeze(tidy(corners, this.width, this.height));
    if (edges.every((edge, i) => edge === box.box[i])) return false;
    // A drag that ends where it began is none: what was pending is pending still.
    const start = this.isOpen && this.#ledger.committed.find((other) => other.id === id);
    const back = start && start.class_id === box.class_id && sameBox(start.box, edges);
    const record = back ? start : this.#touched(this.#answer({ ...box, box: edges }));
    return this.#change(label, id, record, join);
  }

  #change(label, id, record, join = false) {
    if (this.readOnly) return false;
    return this.#ledger.step(label, () => this.#ledger.put(record), join ? id : null);
  }

  #drop(label, id) {
    return !this.readOnly && this.#ledger.step(label, () => this.#ledger.take(id));
  }

  #showStep({ changes }) {
    if (changes.length === 1 && this.get(changes[0].id) !== null) this.select(changes[0].id);
    return true;
  }

  #load(document) {
    const classIds = new Set(this.classes.map(({ id }) => id));
    checkDocument(document, { version: VERSION, phase: this.phase, classIds });
    const boxes = document.boxes.map((box) => this.#record(box));
    if (this.phase === 'first') checkDetections(boxes, this.#detections.keys());
    this.#ledger.load(boxes, document);
    this.select(document.selected ?? null);
    this.#emit('load');
  }

  #changed(type) {
    this.#emit(type);
    if (this.#selected !== null && this.get(this.#selected) === null) this.select(null);
  }

  #emit(type) {
    for (const fn of [...this.#listeners]) fn({ type });
  }
}
