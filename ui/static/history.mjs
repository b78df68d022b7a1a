// Undo and redo as a list of small differences.
//
// A step is `{label, changes: [{id, at, before, after}]}`. A change that adds a box has no
// `before`, one that removes it no `after`; otherwise both hold only the fields that differ. `at`
// is the box's place in the list. Steps are never changed once made, and are plain JSON.

/** How many steps are kept; older ones are forgotten. */
export const MAX_STEPS = 200;

/** One change between two records of a box, or null if there is none. */
export function changeOf(id, at, before, after) {
  if (before === null && after === null) return null;
  if (before === null || after === null) return { id, at, before, after };
  const fields = Object.keys(after).filter((field) => !same(before[field], after[field]));
  if (fields.length === 0) return null;
  return { id, at, before: picked(before, fields), after: picked(after, fields) };
}

const picked = (record, fields) =>
  Object.fromEntries(fields.map((field) => [field, record[field]]));

const same = (a, b) =>
  a === b ||
  (Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((x, i) => x === b[i]));

/**
 * `boxes` (a list of records) after the step, or before it if `backwards`; throws if it does not
 * fit.
 */
export function applied(boxes, step, backwards) {
  const list = [...boxes];
  const changes = backwards ? [...step.changes].reverse() : step.changes;
  for (const { id, at, before, after } of changes) {
    const [from, to] = backwards ? [after, before] : [before, after];
    const place = list.findIndex((box) => box.id === id);
    if ((from === null) !== (place === -1)) throw new Error(`The history does not fit box ${id}.`);
    if (from === null) list.splice(at, 0, Object.freeze({ ...to }));
    else if (to === null) list.splice(place, 1);
    else list[place] = Object.freeze({ ...list[place], ...to });
  }
  return list;
}

export class History {
  #undo;
  #redo;

  constructor(undo, redo) {
    [this.#undo, this.#redo] = [undo, redo].map((steps) =>
      Array.isArray(steps) ? steps.slice(-MAX_STEPS) : [],
    );
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get canRedo() {
    return this.#redo.length > 0;
  }

  /** The last step that can be undone, or undefined. */
  get last() {
    return this.#undo.at(-1);
  }

  /** Adds a step; what had been undone is forgotten. */
  push(step) {
    this.#undo = [...this.#undo, step].slice(-MAX_STEPS);
    this.#redo = [];
  }

  /** Puts a step in the place of the last one, as when a key is held down. */
  replaceLast(step) {
    this.#undo = step === null ? this.#undo.slice(0, -1) : [...this.#undo.slice(0, -1), step];
    this.#redo = [];
  }

  /** The step to take back now, or null. */
  back() {
    if (!this.canUndo) return null;
    const step = this.#undo.at(-1);
    this.#undo = this.#undo.slice(0, -1);
    this.#redo = [...this.#redo, step];
    return step;
  }

  /** The step to take again now, or null. */
  forth() {
    if (!this.canRedo) return null;
    const step = this.#redo.at(-1);
    this.#redo = this.#redo.slice(0, -1);
    this.#undo = [...this.#undo, step];
    return step;
  }

  /**
   * Whether every step can be taken back from `boxes` and again: asked of a history that was
   * stored.
   */
  fits(boxes) {
    try {
      [...this.#undo].reverse().reduce((list, step) => applied(list, step, true), boxes);
      [...this.#redo].reverse().reduce((list, step) => applied(list, step, false), boxes);
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Both lists as JSON values that take at most `bytes` together. What is furthest from now is left
   * out first, beginning with the oldest step.
   */
  toDocument(bytes) {
    let room = bytes;
    const newest = (steps) => {
      const kept = [];
      for (const step of [...steps].reverse()) {
        room -= sizeOf(step);
        if (room < 0) break;
        kept.unshift(step);
      }
      return kept;
    };
    return { undo: newest(this.#undo), redo: newest(this.#redo) };
  }
}

const encoder = new TextEncoder();
const sizes = new WeakMap();

function sizeOf(step) {
  if (!sizes.has(step)) sizes.set(step, encoder.encode(JSON.stringify(step)).length + 1);
  return sizes.get(step);
}
