// The list of boxes and what can be undone of it; what the boxes mean is the editor's matter.

import { History, applied } from './history.mjs';
import { differences } from './records.mjs';

export class Ledger {
  #boxes = [];
  #history = new History();
  #open = null; // while a change is being made: {label, before, join}
  #onChange;

  /** `onChange` is called with "edit" after a committed change, with "live" within one. */
  constructor(boxes, onChange) {
    this.#boxes = boxes;
    this.#onChange = onChange;
  }

  /** The records in a stable order; after each change the list is another one. */
  get boxes() {
    return this.#boxes;
  }

  /** The list as it was before the change that is under way, if one is. */
  get committed() {
    return this.#open?.before ?? this.#boxes;
  }

  get isOpen() {
    return this.#open !== null;
  }

  get canUndo() {
    return this.isOpen || this.#history.canUndo;
  }

  get canRedo() {
    return !this.isOpen && this.#history.canRedo;
  }

  /** The box with that id, or null. */
  get(id) {
    return this.#boxes.find((box) => box.id === id) ?? null;
  }

  // Changing: `put`, `take` and `replace` are called from within `step`

  /** Puts the record in the place of the one with its id, or at the end. */
  put(record) {
    const frozen = Object.freeze(record);
    const place = this.#boxes.findIndex((box) => box.id === record.id);
    this.#boxes = place === -1 ? [...this.#boxes, frozen] : this.#boxes.with(place, frozen);
  }

  take(id) {
    this.#boxes = this.#boxes.filter((box) => box.id !== id);
  }

  replace(boxes) {
    this.#boxes = boxes;
  }

  /**
   * Makes `change()` one step of the history, or part of the step that is open. `join` is the id of
   * a box: if the last step has the same label and changed that box alone, this is more of it.
   * Returns whether anything is different.
   */
  step(label, change, join = null) {
    if (this.isOpen) {
      change();
      this.#onChange('live');
      return true;
    }
    this.#open = { label, before: this.#boxes, join: join !== null && this.#joins(label, join) };
    change();
    return this.commit();
  }

  /** Whatever is done until `commit` is one step. */
  begin(label) {
    if (this.isOpen) return false;
    this.#open = { label, before: this.#boxes, join: false };
    return true;
  }

  /** Ends the step; returns whether anything differs from before it. */
  commit() {
    if (!this.isOpen) return false;
    const { label, before, join } = this.#open;
    this.#open = null;
    const since = join ? applied(before, this.#history.last, true) : before;
    const changes = differences(since, this.#boxes);
    const step = changes.length > 0 ? { label, changes } : null;
    if (join) this.#history.replaceLast(step);
    else if (step === null) return false;
    else this.#history.push(step);
    this.#onChange('edit');
    return true;
  }

  /** Takes back what was done since `begin`. */
  cancel() {
    if (!this.isOpen) return false;
    this.#boxes = this.#open.before;
    this.#open = null;
    this.#onChange('live');
    return true;
  }

  /** Takes the last step back and returns it, or null. */
  undo() {
    return this.#travel(this.#history.back(), true);
  }

  /** Takes the step again that was undone last and returns it, or null. */
  redo() {
    return this.#travel(this.#history.forth(), false);
  }

  // Out and in

  /** The history as JSON values, in at most `bytes`. */
  toDocument(bytes) {
    return this.#history.toDocument(bytes);
  }

  /** Other boxes with a stored history, which is left out if it does not fit them. */
  load(boxes, { undo, redo }) {
    this.#boxes = boxes;
    const history = new History(undo, redo);
    this.#history = history.fits(boxes) ? history : new History();
  }

  #joins(label, id) {
    const { last } = this.#history;
    return last?.label === label && last.changes.length === 1 && last.changes[0].id === id;
  }

  #travel(step, backwards) {
    if (step === null) return null;
    this.#boxes = applied(this.#boxes, step, backwards);
    this.#onChange('edit');
    return step;
  }
}
