// The settling of one open case: `Settlement`'s rules, on the editor's boxes, about a current group.

/** A part of `CaseSession`: what happens here is a step of its editor's history. */
export class Settling {
  group = null; // the one that the keys are about
  #session;
  #onChange;

  /** @param {{rules: import('./settle.mjs').Settlement, onChange: (kind: string) => void}} given */
  constructor(session, { rules, onChange }) {
    this.#session = session;
    this.rules = rules;
    this.#onChange = onChange;
  }

  get #editor() {
    return this.#session.editor;
  }

  /** Which groups are settled and how, as the boxes are now. */
  read() {
    return this.rules.read(this.#editor.boxes);
  }

  entryOf(group) {
    return this.read().entries.find((entry) => entry.group === group);
  }

  /** The group that this box is the answer to; null for an extra one. */
  groupOf(box) {
    return this.read().entries.find((entry) => entry.box === box)?.group ?? null;
  }

  /** Makes it the current group; its box is selected, if it has one. */
  goTo(group) {
    this.group = group;
    this.#editor.select(this.entryOf(group).box?.id ?? null);
    this.#onChange('select');
  }

  /** Settles `group` by a choice; false if that choice does not exist. */
  choose(group, choice) {
    if (!this.#session.editable || !this.rules.can(group, choice)) return false;
    this.#editor.replaceAll(this.rules.choose(this.#editor.boxes, group, choice));
    this.group = group;
    this.#editor.select(this.entryOf(group).box.id);
    return true;
  }

  /** The reason for what became of `group`. */
  setReason(group, code) {
    if (!this.#session.editable) return;
    this.#editor.replaceAll(this.rules.withReason(this.#editor.boxes, group, code));
  }

  /** A new box over boxes of an open group is the answer to it, in the same step of the history. */
  drawn(id) {
    if (!this.#session.editable) return;
    const editor = this.#editor;
    const box = editor.get(id);
    const others = editor.boxes.filter((each) => each.id !== id);
    const group = this.rules.groupUnder(others, box);
    if (group === null) return;
    editor.undo();
    editor.add(box.box, box.class_id, { id, ...this.rules.asAnswerTo(group) });
    this.group = group;
  }
}
