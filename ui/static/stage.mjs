// What the canvas shows and how: the state behind it. No DOM here.

import { clamp, handleAt, handleFrame, hitsAt } from './geometry.mjs';
import { View } from './view.mjs';

// Handles are 8 CSS pixels large and taken within 6 of their middle; a smaller box than the frame's
// 28 has them around it, or its inside could not be taken hold of.
export const HANDLE_REACH_PX = 6;
export const FRAME_PX = 28;

// A box is hit so many CSS pixels outside of it too: a box of one pixel can be clicked.
const HIT_SLACK_PX = 3;

export class Stage {
  view = new View();
  editor = null;
  layers = []; // [{name, boxes, dash, visible}], read-only boxes to compare with
  hover = null; // id of the box under the pointer
  pointer = null; // [x, y] in CSS pixels while the pointer is over the canvas
  cursor = null; // [x, y] in pixels of the image: where the crosshair is
  corner = null; // [x, y] in pixels of the image: the first corner of the box being drawn
  panning = false; // Space is held
  focused = false;
  readOnly = false;
  threshold = 0;
  hideAll = false;
  modelVisible = true;
  tool = 'select'; // or 'draw'
  drawClass = null;
  #listeners = new Map();
  #unsubscribe = () => {};
  #announce;
  #invalidate;

  /** `announce(text)` is heard, `invalidate('view' | 'boxes')` asks for a new frame. */
  constructor({ announce, invalidate }) {
    this.#announce = announce;
    this.#invalidate = invalidate;
  }

  // Telling others

  say(text) {
    this.#announce(text);
  }

  /** Something looks different: 'view' if the image moved too, else 'boxes'. */
  changed(what = 'boxes') {
    this.#invalidate(what);
    if (what === 'view') this.emit('view', { scale: this.view.scale });
  }

  on(name, fn) {
    const fns = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, fns.add(fn));
    return () => fns.delete(fn);
  }

  emit(name, value) {
    for (const fn of this.#listeners.get(name) ?? []) fn(value);
    if (name !== 'change') this.emit('change', name);
  }

  /** Sets one of the fields that others may watch, and tells them under its name. */
  set(name, value) {
    if (this[name] === value) return;
    this[name] = value;
    this.changed();
    this.emit(name, value);
  }

  // The document

  setEditor(editor) {
    this.#unsubscribe();
    this.editor = editor;
    this.hover = null;
    this.cancelDrawing();
    this.set('tool', 'select');
    this.#unsubscribe = editor ? editor.subscribe(({ type }) => this.#heard(type)) : () => {};
    const known = editor?.classes.some(({ id }) => id === this.drawClass);
    if (!known) this.set('drawClass', editor?.classes[0]?.id ?? null);
    this.changed();
  }

  #heard(type) {
    this.changed();
    if (type === 'select' || (type === 'edit' && this.selected)) {
      this.say(this.editor.describe(this.editor.selected));
    } else if (type === 'edit') {
      this.say(`${this.editor.boxes.length} boxes, ${this.editor.pending} pending`);
    }
  }

  /** Whether boxes can be looked at only. */
  get locked() {
    return this.readOnly || this.editor === null || this.editor.readOnly;
  }

  /** The selected box, or null. */
  get selected() {
    return this.editor?.get(this.editor.selected) ?? null;
  }

  // What is where

  /**
   * The editor's boxes that are visible, as `{id, box, kind, of, record}`: kind 'box', 'rejected',
   * or 'ghost' for the model's box behind one that was changed. `of` is what a click selects.
   */
  items() {
    if (this.editor === null || this.hideAll) return [];
    const boxes = this.editor.boxes.map((record) => {
      const kind = record.status === 'rejected' ? 'rejected' : 'box';
      return { id: record.id, of: record.id, box: record.box, kind, record };
    });
    const ghosts = this.editor.ghosts.map((ghost) => ({ ...ghost, kind: 'ghost', record: ghost }));
    return [...ghosts, ...boxes].filter((item) => this.modelVisible || !isModels(item));
  }

  /** What is under a point in CSS pixels, smallest first, ghosts after all that count. */
  hits(x, y) {
    const [ix, iy] = this.view.toImage(x, y);
    const found = hitsAt(this.items(), ix, iy, HIT_SLACK_PX / this.view.scale);
    return [...found.filter(isLive), ...found.filter((item) => !isLive(item))];
  }

  /** The handle of the selected box at a point in CSS pixels, or null. */
  handleUnder(x, y) {
    const box = this.selected;
    if (this.locked || !box || !this.items().some((item) => item.id === box.id && isLive(item))) {
      return null;
    }
    const { scale } = this.view;
    const frame = handleFrame(box.box, FRAME_PX / scale);
    return handleAt(frame, ...this.view.toImage(x, y), HANDLE_REACH_PX / scale);
  }

  /** The box with that id, of the editor's or of a layer, in pixels; or null. */
  boxOf(id) {
    const boxes = [...(this.editor?.boxes ?? []), ...this.layers.flatMap((layer) => layer.boxes)];
    return boxes.find((box) => box.id === id)?.box ?? null;
  }

  /** Whether the confidence is below the threshold: such a box is dimmed, not hidden. */
  isDim({ confidence }) {
    return typeof confidence === 'number' && confidence < this.threshold;
  }

  // Drawing a box, with the pointer or with keys

  setTool(tool) {
    if (tool === 'draw' && this.locked) return;
    this.cancelDrawing();
    if (tool === 'draw') this.#readyToDraw();
    this.set('tool', tool);
  }

  /** Nothing is selected while drawing, so that a class key is about the next box. */
  #readyToDraw() {
    this.hover = null;
    this.editor.select(null);
  }

  /** Puts the crosshair on a point in pixels; it does not leave the image. */
  setCursor(x, y) {
    const { width, height } = this.view.image;
    this.cursor = [clamp(x, 0, width), clamp(y, 0, height)];
    this.changed();
  }

  /**
   * Where the crosshair starts when keys move it: under the pointer, or in the middle of the view.
   */
  ensureCursor() {
    const [x, y] = this.pointer ?? [this.view.width / 2, this.view.height / 2];
    if (this.cursor === null) this.setCursor(...this.view.toImage(x, y).map(Math.round));
  }

  /** The box between the first corner and the crosshair, in order, in pixels; or null. */
  get drawn() {
    if (this.corner === null || this.cursor === null) return null;
    const [[ax, ay], [bx, by]] = [this.corner, this.cursor];
    return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
  }

  /**
   * Adds what is drawn and goes back to selecting, unless `more` is to be drawn. Returns the id.
   */
  finishDrawing(more = false) {
    const id = this.editor.add(this.drawn, this.drawClass);
    this.cancelDrawing();
    if (more) this.editor.select(null);
    else this.setTool('select');
    if (id !== null) this.emit('drawn', id);
    return id;
  }

  cancelDrawing() {
    this.corner = null;
    this.cursor = null;
    this.changed();
  }
}

const isLive = (item) => item.kind === 'box';

/** What the model says and nobody has made their own: hidden with the model's layer. */
const isModels = ({ kind, record }) =>
  kind !== 'box' || record.status === 'pending' || record.origin === 'accepted';
