// What a pointer does on the canvas. Points are in CSS pixels from its corner. No DOM here.

import { heightOf, moved, stretched, widthOf } from './geometry.mjs';

// A press that moves less than this is a click; one as near to the last click repeats it. CSS
// pixels.
const CLICK_SLACK_PX = 3;
const SAME_PLACE_PX = 4;

const LEFT = 0;
const MIDDLE = 1;

export class Gestures {
  #stage;
  #gesture = null;
  #place = null; // where the last click was
  #clicked = []; // what the last two clicks found

  constructor(stage) {
    this.#stage = stage;
  }

  get active() {
    return this.#gesture !== null;
  }

  /** The CSS cursor that says what a press here would do. */
  cursorAt([x, y]) {
    const stage = this.#stage;
    if (this.#gesture?.kind === 'pan') return 'grabbing';
    if (stage.panning) return 'grab';
    if (stage.tool === 'draw') return 'crosshair';
    const handle = this.#gesture?.handle ?? stage.handleUnder(x, y);
    if (handle) return CURSORS[handle];
    if (stage.hover === null) return 'default';
    return stage.hover === stage.editor?.selected && !stage.locked ? 'move' : 'pointer';
  }

  /** A button goes down; returns whether the pointer is ours until it comes up. */
  press([x, y], { button = LEFT } = {}) {
    if (this.#gesture !== null) return false;
    if (button === MIDDLE || (button === LEFT && this.#stage.panning)) this.#start('pan', [x, y]);
    else if (button !== LEFT || this.#stage.editor === null) return false;
    else if (this.#stage.tool === 'draw') this.#pressToDraw([x, y]);
    else this.#pressToSelect([x, y]);
    return true;
  }

  /** The pointer moves, with or without a button down. */
  move([x, y]) {
    const stage = this.#stage;
    stage.pointer = [x, y];
    if (stage.tool === 'draw' && this.#gesture?.kind !== 'pan') {
      stage.setCursor(...stage.view.toImage(x, y));
    } else if (this.#gesture === null) {
      this.#hoverAt(x, y);
    } else {
      this.#drag([x, y]);
    }
  }

  /** The button comes up. `shift` keeps the drawing tool. */
  release([x, y], { shift = false } = {}) {
    const gesture = this.#gesture;
    if (gesture === null) return;
    this.#gesture = null;
    if (gesture.kind === 'draw') this.#releaseDrawing(gesture, [x, y], shift);
    else if (gesture.dragging) this.#stage.editor?.commit();
    else if (gesture.kind === 'press') this.#click(gesture, [x, y]);
    this.#stage.changed();
  }

  /** The second click of a double click: a ghost that the first one found is brought back. */
  doubleClick() {
    const [item] = this.#clicked;
    if (!item || item.kind === 'box' || this.#stage.locked) return;
    this.#stage.editor.select(item.of);
    this.#stage.editor.restore(item.of);
  }

  /** Undoes what the button that is down has done so far. Returns whether one was. */
  cancel() {
    if (this.#gesture === null) return false;
    this.#gesture = null;
    this.#stage.editor?.cancel();
    this.#stage.cancelDrawing();
    return true;
  }

  /** The pointer leaves the canvas. */
  leave() {
    this.#stage.pointer = null;
    this.#setHover(null);
    if (this.#stage.tool === 'draw' && this.#stage.corner === null) this.#stage.cancelDrawing();
  }

  #start(kind, point, more = {}) {
    this.#gesture = { kind, start: point, last: point, dragging: false, ...more };
    this.#stage.changed();
  }

  #pressToDraw([x, y]) {
    const stage = this.#stage;
    stage.setCursor(...stage.view.toImage(x, y));
    if (stage.corner === null) stage.corner = stage.cursor;
    this.#start('draw', [x, y]);
  }

  #releaseDrawing({ start }, [x, y], shift) {
    const stage = this.#stage;
    stage.setCursor(...stage.view.toImage(x, y));
    const { drawn } = stage;
    if (drawn === null) return;
    const size = Math.max(widthOf(drawn), heightOf(drawn)) * stage.view.scale;
    // A click sets the first corner, and the next one the second.
    if (size >= CLICK_SLACK_PX) stage.finishDrawing(shift);
    else if (near(start, [x, y], CLICK_SLACK_PX)) stage.say('First corner set');
  }

  #pressToSelect([x, y]) {
    const stage = this.#stage;
    const handle = stage.handleUnder(x, y);
    if (handle !== null) {
      this.#start('press', [x, y], { handle, id: stage.selected.id, box: stage.selected.box });
      return;
    }
    const hits = stage.hits(x, y);
    const again = hits.some((item) => item.of === stage.editor.selected);
    if (!again && hits.length > 0) stage.editor.select(hits[0].of);
    const box = hits.length > 0 ? stage.selected : null;
    const movable = box !== null && box.status !== 'rejected' && !stage.locked;
    this.#start('press', [x, y], { hits, again, id: box?.id, box: movable ? box.box : null });
  }

  #drag([x, y]) {
    const gesture = this.#gesture;
    const { view, editor } = this.#stage;
    if (gesture.kind === 'press' && !gesture.dragging) {
      if (near(gesture.start, [x, y], CLICK_SLACK_PX)) return;
      if (gesture.box) gesture.dragging = editor.begin(gesture.handle ? 'resize' : 'move');
      else gesture.kind = 'pan';
    }
    if (gesture.kind === 'pan') {
      view.panBy(x - gesture.last[0], y - gesture.last[1]);
      this.#stage.changed('view');
    } else if (gesture.dragging) {
      const by = [(x - gesture.start[0]) / view.scale, (y - gesture.start[1]) / view.scale];
      editor.setBox(gesture.id, this.#dragged(gesture, by));
    }
    gesture.last = [x, y];
  }

  #dragged({ box, handle }, [dx, dy]) {
    const { width, height } = this.#stage.editor;
    if (handle) return stretched(box, handle, dx, dy, width, height);
    return moved(box, dx, dy, width, height);
  }

  #click({ hits, again, handle }, point) {
    const { editor } = this.#stage;
    if (handle) return;
    const ids = [...new Set(hits.map((item) => item.of))];
    const repeated = this.#place !== null && near(this.#place, point, SAME_PLACE_PX);
    if (ids.length === 0) editor.select(null);
    else if (again && repeated) editor.select(ids[(ids.indexOf(editor.selected) + 1) % ids.length]);
    else editor.select(ids[0]);
    this.#place = point;
    const found = hits.find((item) => item.of === editor.selected) ?? null;
    this.#clicked = [...this.#clicked, found].slice(-2);
  }

  #hoverAt(x, y) {
    this.#setHover(this.#stage.hits(x, y)[0]?.of ?? null);
  }

  #setHover(id) {
    if (this.#stage.hover === id) return;
    this.#stage.hover = id;
    this.#stage.changed();
  }
}

const near = ([ax, ay], [bx, by], slack) =>
  Math.abs(ax - bx) <= slack && Math.abs(ay - by) <= slack;

const CURSORS = {
  nw: 'nwse-resize',
  n: 'ns-resize',
  ne: 'nesw-resize',
  e: 'ew-resize',
  se: 'nwse-resize',
  s: 'ns-resize',
  sw: 'nesw-resize',
  w: 'ew-resize',
};
