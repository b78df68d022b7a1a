// What the actions of the key table do on the canvas; a button does the same. No DOM here.

const ZOOM_STEP = 1.25;
const PAN_PX = 40; // CSS pixels that an arrow key moves the image by while nothing is selected
const DIRECTIONS = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] };
const GROWTH = { narrower: [-1, 0], wider: [1, 0], shorter: [0, -1], taller: [0, 1] };
// Ctrl and an arrow move the crosshair by this part of the view while drawing.
const STRIDE = 0.1;

export class Commands {
  #stage;
  #gestures;
  #actions;
  #letTabGo = false;

  constructor(stage, gestures) {
    this.#stage = stage;
    this.#gestures = gestures;
    this.#actions = this.#table();
  }

  /**
   * Does what `action` means here and returns true, or false if it means nothing (then the page or
   * the browser may have it). `held`: the key is held down and repeats.
   */
  run(action, { held = false } = {}) {
    if (this.#stage.editor === null || !Object.hasOwn(this.#actions, action)) return false;
    return this.#actions[action](held) !== false;
  }

  /** The canvas got the focus: Tab goes from box to box again. */
  focused() {
    this.#letTabGo = false;
  }

  #table() {
    const stage = this.#stage;
    const table = {
      'next-box': () => this.#step(1),
      'previous-box': () => this.#step(-1),
      accept: () => this.#onSelected((editor, id) => editor.accept(id)),
      reject: () => this.#onSelected((editor, id) => editor.reject(id)),
      restore: () => this.#onSelected((editor, id) => editor.restore(id)),
      delete: () => this.#onSelected((editor, id) => editor.remove(id)),
      duplicate: () => this.#onSelected((editor, id) => editor.duplicate(id)),
      draw: () => this.#draw(),
      corner: () => this.#corner(),
      leave: () => this.#leave(),
      undo: () => this.#edit((editor) => editor.undo(), 'Nothing to undo'),
      redo: () => this.#edit((editor) => editor.redo(), 'Nothing to redo'),
      'zoom-in': () => this.#zoom(ZOOM_STEP),
      'zoom-out': () => this.#zoom(1 / ZOOM_STEP),
      fit: () => this.#fit(),
      pan: () => stage.set('panning', true),
      hide: () => stage.set('hideAll', true),
      'model-layer': () => this.#toggleModel(),
    };
    for (let n = 1; n <= 10; n += 1) table[`class-${n}`] = () => this.#setClass(n - 1);
    for (const [name, by] of Object.entries(DIRECTIONS)) {
      table[`move-${name}`] = (held) => this.#arrow(by, 1, held);
      table[`move-${name}-10`] = (held) => this.#arrow(by, 10, held);
    }
    for (const [name, by] of Object.entries(GROWTH)) {
      table[name] = (held) => this.#grow(by, 1, held);
      table[`${name}-10`] = (held) => this.#grow(by, 10, held);
    }
    return table;
  }

  // Boxes

  #step(by) {
    const { editor, view } = this.#stage;
    if (this.#letTabGo) return false;
    const id = editor.selectNext(by);
    if (id === null) return false;
    const { box } = editor.get(id);
    if (!view.shows(box)) {
      view.centreOn(box);
      this.#stage.changed('view');
    }
    return true;
  }

  #edit(change, otherwise) {
    if (this.#stage.locked) this.#stage.say('This case is read-only');
    else if (!change(this.#stage.editor)) this.#stage.say(otherwise);
  }

  #onSelected(change) {
    const { editor } = this.#stage;
    const id = editor.selected;
    if (id === null) this.#stage.say('No box selected');
    else this.#edit(() => change(editor, id), editor.describe(id));
  }

  #setClass(index) {
    const stage = this.#stage;
    const { editor } = stage;
    const chosen = editor.classes[index];
    const box = stage.selected;
    if (chosen === undefined) stage.say(`There is no class ${index + 1}`);
    else if (box !== null && box.status !== 'rejected') {
      this.#edit(() => editor.setClass(box.id, chosen.id), editor.describe(box.id));
    } else {
      stage.set('drawClass', chosen.id);
      stage.say(`Next box: ${chosen.name}`);
    }
  }

  #arrow(by, px, held) {
    const stage = this.#stage;
    if (stage.tool === 'draw') return this.#moveCursor(by.map((d) => d * px));
    if (stage.selected !== null) {
      const [dx, dy] = by.map((d) => d * px);
      return this.#shift((editor, id) => editor.nudge(id, dx, dy, { join: held }));
    }
    if (!stage.focused) return false;
    stage.view.panBy(...by.map((d) => -d * PAN_PX * (px === 1 ? 1 : 4)));
    stage.changed('view');
    return true;
  }

  #grow(by, px, held) {
    const stage = this.#stage;
    if (stage.tool === 'draw') {
      const { view } = stage;
      const stride = Math.max(
        1,
        Math.round((STRIDE * Math.min(view.width, view.height)) / view.scale),
      );
      return this.#moveCursor(by.map((d) => d * stride));
    }
    if (stage.selected === null) return stage.focused;
    const [dw, dh] = by.map((d) => d * px);
    return this.#shift((editor, id) => editor.resize(id, dw, dh, { join: held }));
  }

  #shift(change) {
    this.#onSelected(change);
    const { editor } = this.#stage;
    const [x1, y1, x2, y2] = editor
      .get(editor.selected)
      .box.map((edge) => Math.round(edge * 10) / 10);
    const size = [x2 - x1, y2 - y1].map((side) => Math.round(side * 10) / 10);
    this.#stage.say(`At ${x1}, ${y1}, ${size[0]} by ${size[1]} pixels`);
  }

  // Drawing with keys

  #draw() {
    const stage = this.#stage;
    if (stage.locked) return stage.say('This case is read-only');
    stage.setTool('draw');
    stage.ensureCursor();
    stage.say('Drawing: arrow keys move the crosshair, Enter sets a corner, Escape leaves');
    return undefined;
  }

  #moveCursor([dx, dy]) {
    const stage = this.#stage;
    stage.ensureCursor();
    stage.setCursor(Math.round(stage.cursor[0] + dx), Math.round(stage.cursor[1] + dy));
    const [x, y] = stage.cursor;
    if (!stage.view.shows([x, y, x, y])) {
      const [sx, sy] = stage.view.toScreen(x, y);
      stage.view.panBy(stage.view.width / 2 - sx, stage.view.height / 2 - sy);
      stage.changed('view');
    }
    const size = stage.drawn && [stage.drawn[2] - stage.drawn[0], stage.drawn[3] - stage.drawn[1]];
    stage.say(size ? `${size.map(Math.round).join(' by ')} pixels` : `At ${x}, ${y}`);
    return true;
  }

  #corner() {
    const stage = this.#stage;
    if (stage.tool !== 'draw') return false;
    stage.ensureCursor();
    if (stage.corner === null) {
      stage.corner = stage.cursor;
      stage.changed();
      stage.say(`First corner at ${stage.cursor.map(Math.round).join(', ')}`);
    } else if (stage.drawn[2] - stage.drawn[0] < 1 || stage.drawn[3] - stage.drawn[1] < 1) {
      stage.say('This box has no area: move the crosshair both ways');
    } else {
      stage.finishDrawing();
    }
    return true;
  }

  #leave() {
    const stage = this.#stage;
    if (this.#gestures.cancel()) stage.say('Cancelled');
    else if (stage.corner !== null) {
      stage.corner = null;
      stage.changed();
      stage.say('First corner taken back');
    } else if (stage.tool === 'draw') {
      stage.setTool('select');
      stage.say('Selecting');
    } else if (stage.editor.selected !== null) stage.editor.select(null);
    else if (stage.focused) {
      this.#letTabGo = true;
      stage.say('Tab leaves the image');
    } else return false;
    return true;
  }

  // The view

  #zoom(factor) {
    this.#stage.view.zoomBy(factor, ...(this.#stage.pointer ?? []));
    this.#stage.changed('view');
  }

  #fit() {
    this.#stage.view.fit();
    this.#stage.changed('view');
  }

  #toggleModel() {
    const stage = this.#stage;
    stage.set('modelVisible', !stage.modelVisible);
    stage.say(stage.modelVisible ? "The model's boxes are shown" : "The model's boxes are hidden");
  }
}
