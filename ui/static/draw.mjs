// The upper canvas: boxes, ghosts, layers to compare, handles and the crosshair.
//
// Each line lies on a white and a thin dark one: it can be seen on any stain, and on none.

import {
  HANDLES,
  areaOf,
  clamp,
  handleFrame,
  handlePoint,
  heightOf,
  widthOf,
} from './geometry.mjs';
import { LABEL_HEIGHT_PX } from './labels.mjs';
import { GLYPHS, LAYERS, LINES, classStyle } from './palette.mjs';
import { FRAME_PX } from './stage.mjs';

const HANDLE_PX = 8;
const RING_PX = 5; // the focus ring's: no label lies under it
const DIM = 0.35; // opacity of boxes below the threshold
const GHOST = 0.8;
const LAYER = 0.9;

// From these widths on screen a box has room for a short label, or for none but a plain number.
const SHORT_FROM_PX = 20;

const DARK = 'rgba(0, 0, 0, 0.6)';
const LIGHT = 'rgba(255, 255, 255, 0.9)';

/** Draws all of `stage` on a canvas of `ratio` screen pixels a CSS pixel. */
export function paintBoxes(context, stage, labels, ratio) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.lineJoin = 'miter';
  new Painter(context, stage, labels, ratio).paint();
}

class Painter {
  #labels = []; // what is still to be put over all lines: [picture, x, y, frame, opacity]

  constructor(context, stage, labels, ratio) {
    Object.assign(this, { context, stage, labels, ratio, view: stage.view });
  }

  paint() {
    const { stage } = this;
    if (stage.editor !== null) {
      if (!stage.hideAll) stage.layers.forEach((layer, place) => this.#layer(layer, place));
      for (const item of this.#inOrder(stage.items())) this.#item(item);
      for (const label of this.#labels) this.#place(...label);
      this.#handles();
    }
    if (stage.tool === 'draw') this.#drawing();
  }

  /** Large boxes first, so that small ones lie on them; what is selected last of all. */
  #inOrder(items) {
    const { hover, editor } = this.stage;
    const rank = ({ kind, of }) => {
      if (of === editor.selected) return 3;
      if (of === hover) return 2;
      return kind === 'box' ? 1 : 0;
    };
    return items
      .filter(({ box }) => this.#visible(box))
      .map((item) => ({ item, rank: rank(item), area: areaOf(item.box) }))
      .sort((a, b) => a.rank - b.rank || b.area - a.area)
      .map(({ item }) => item);
  }

  #visible(box) {
    const [x1, y1, x2, y2] = this.#frame(box);
    const edge = LABEL_HEIGHT_PX;
    return x2 > -edge && y2 > -edge && x1 < this.view.width + edge && y1 < this.view.height + edge;
  }

  #item({ kind, of, box, record }) {
    const { context, stage } = this;
    const { index, number, name } = stage.editor.classLabel(record.class_id);
    const style = classStyle(index);
    const selected = of === stage.editor.selected;
    const active = selected || of === stage.hover;
    const line = LINES[kind === 'box' ? record.status : kind];
    context.globalAlpha = stage.isDim(record) && !active ? DIM : kind === 'box' ? 1 : GHOST;
    const frame = this.#frame(box);
    // Only in passing: a tint over what is being judged would change how the stain looks.
    if (active && !selected && kind === 'box') this.#fill(frame, style.colour);
    this.#line(
      frame,
      style.colour,
      line.width + (selected && kind === 'box' ? 1 : 0),
      line.dash ?? style.dash,
    );
    if (kind === 'ghost') return;
    const glyph = GLYPHS[record.status];
    const score = typeof record.confidence === 'number' ? ` ${record.confidence.toFixed(2)}` : '';
    const look = { ...style, dashed: kind === 'rejected' };
    this.#label(frame, look, {
      whole: `${glyph} ${number} ${name}${score}`,
      short: `${glyph} ${number}`,
      active,
      lift: selected ? HANDLE_PX / 2 + 1 : 0, // clear of the handles
    });
  }

  #layer({ name, boxes, dash, visible = true }, place) {
    if (!visible) return;
    const { context, stage } = this;
    const { letter, dash: own } = LAYERS[name] ?? {
      letter: name.slice(0, 1).toUpperCase(),
      dash: [],
    };
    context.globalAlpha = LAYER;
    for (const { box, class_id } of boxes) {
      if (!this.#visible(box)) continue;
      const { index, number } = stage.editor.classLabel(class_id);
      const style = classStyle(index);
      const frame = this.#frame(box);
      this.#line(frame, style.colour, 2, dash ?? own);
      const plate = this.labels.get(
        `${letter}:${number}`,
        { colour: '#ffffff', ink: '#1f2933' },
        this.ratio,
      );
      // Beside one another along the lower edge: the boxes of the three often lie on one another.
      this.#labels.push([plate, frame[0] + place * (plate.width + 1), frame[3] + 1, null, LAYER]);
    }
  }

  /** A box in CSS pixels, its edges on whole screen pixels. */
  #frame(box) {
    const whole = (value) => Math.round(value * this.ratio) / this.ratio;
    const [x1, y1] = this.view.toScreen(box[0], box[1]);
    const [x2, y2] = this.view.toScreen(box[2], box[3]);
    return [whole(x1), whole(y1), whole(x2), whole(y2)];
  }

  #fill([x1, y1, x2, y2], colour) {
    const { context } = this;
    const { globalAlpha } = context;
    context.globalAlpha = globalAlpha * 0.14;
    context.fillStyle = colour;
    context.fillRect(x1, y1, x2 - x1, y2 - y1);
    context.globalAlpha = globalAlpha;
  }

  #line([x1, y1, x2, y2], colour, width, dash) {
    const { context } = this;
    const stroke = (style, px) => {
      context.strokeStyle = style;
      context.lineWidth = px;
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    };
    context.setLineDash([]);
    stroke(DARK, width + 2.25);
    stroke(LIGHT, width + 1);
    context.setLineDash(dash);
    stroke(colour, width);
    context.setLineDash([]);
  }

  #label(frame, look, { whole, short, active, lift }) {
    const width = frame[2] - frame[0];
    const long = this.labels.get(whole, look, this.ratio);
    let plate = long;
    if (!active && long.width > width + 2) {
      plate = this.labels.get(width >= SHORT_FROM_PX ? short : short.slice(2), look, this.ratio);
    }
    this.#labels.push([
      plate,
      frame[0],
      frame[1] - plate.height - lift,
      frame,
      this.context.globalAlpha,
    ]);
  }

  /**
   * Puts a label's picture at a point in CSS pixels; into the box where it would leave the canvas.
   */
  #place({ canvas, width, height }, x, y, frame = null, opacity = 1) {
    const { context, ratio, view } = this;
    context.globalAlpha = opacity;
    const top = frame !== null && y < RING_PX ? Math.max(frame[1] + 2, RING_PX) : y;
    const left = clamp(x, RING_PX, view.width - width - RING_PX);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(
      canvas,
      Math.round(left * ratio),
      Math.round(Math.min(top, view.height - height - RING_PX) * ratio),
    );
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  #handles() {
    const { context, stage, view } = this;
    const box = stage.selected;
    if (box === null || stage.locked || stage.hideAll || box.status === 'rejected') return;
    context.globalAlpha = 1;
    const around = handleFrame(box.box, FRAME_PX / view.scale);
    if (widthOf(around) > widthOf(box.box) || heightOf(around) > heightOf(box.box)) {
      this.#line(this.#frame(around), '#1f2933', 1, [2, 3]);
    }
    context.fillStyle = '#ffffff';
    context.strokeStyle = '#1f2933';
    context.lineWidth = 1.5;
    for (const handle of Object.keys(HANDLES)) {
      const [x, y] = view.toScreen(...handlePoint(around, handle));
      context.fillRect(x - HANDLE_PX / 2, y - HANDLE_PX / 2, HANDLE_PX, HANDLE_PX);
      context.strokeRect(x - HANDLE_PX / 2, y - HANDLE_PX / 2, HANDLE_PX, HANDLE_PX);
    }
  }

  #drawing() {
    const { stage, view } = this;
    if (stage.cursor === null) return;
    this.context.globalAlpha = 1;
    const [x, y] = view.toScreen(...stage.cursor);
    this.#hair(x, 0, x, view.height);
    this.#hair(0, y, view.width, y);
    const { index, number, name } = stage.editor.classLabel(stage.drawClass);
    const style = classStyle(index);
    let text = `+ ${number} ${name}`;
    if (stage.drawn !== null) {
      this.#line(this.#frame(stage.drawn), style.colour, 2, style.dash);
      text += ` ${Math.round(widthOf(stage.drawn))}\u00d7${Math.round(heightOf(stage.drawn))} px`;
    }
    const plate = this.labels.get(text, style, this.ratio);
    this.#place(plate, x + 10, Math.max(RING_PX, y - plate.height - 8));
  }

  #hair(x1, y1, x2, y2) {
    const { context } = this;
    for (const [style, width] of [
      [LIGHT, 3],
      ['#1f2933', 1],
    ]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
      context.lineTo(Math.round(x2) + 0.5, Math.round(y2) + 0.5);
      context.stroke();
    }
  }
}
