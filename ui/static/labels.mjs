// Labels as small pictures, each drawn once: writing 300 texts a frame would cost most of it.

const FONT_PX = 12;
const PADDING_PX = 4;
export const LABEL_HEIGHT_PX = 17;

// More than a case has; the oldest go first. Zooming does not change them.
const KEPT = 1500;

export class Labels {
  #kept = new Map();
  #ratio = 1;

  /**
   * The picture of `text` on a plate of `colour`: `{canvas, width, height}`, CSS pixels. `ratio` is
   * screen pixels a CSS pixel; `dashed` frames it as a ghost's.
   */
  get(text, { colour, ink, dashed = false }, ratio) {
    if (ratio !== this.#ratio) this.#kept.clear();
    this.#ratio = ratio;
    const key = `${text}|${colour}|${ink}|${dashed}`;
    const label = this.#kept.get(key) ?? made(text, { colour, ink, dashed }, ratio);
    this.#kept.set(key, label);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value);
    return label;
  }
}

function made(text, { colour, ink, dashed }, ratio) {
  const canvas = new OffscreenCanvas(1, 1);
  const font = `600 ${FONT_PX}px system-ui, sans-serif`;
  const measure = canvas.getContext('2d');
  measure.font = font;
  const width = Math.ceil(measure.measureText(text).width) + 2 * PADDING_PX;
  canvas.width = Math.ceil(width * ratio);
  canvas.height = Math.ceil(LABEL_HEIGHT_PX * ratio);
  const context = canvas.getContext('2d');
  context.scale(ratio, ratio);
  context.fillStyle = dashed ? '#ffffff' : colour;
  context.fillRect(0, 0, width, LABEL_HEIGHT_PX);
  context.strokeStyle = dashed ? colour : 'rgba(0, 0, 0, 0.55)';
  if (dashed) context.setLineDash([3, 2]);
  context.strokeRect(0.5, 0.5, width - 1, LABEL_HEIGHT_PX - 1);
  context.font = font;
  context.textBaseline = 'middle';
  context.fillStyle = dashed ? '#1f2933' : ink;
  context.fillText(text, PADDING_PX, LABEL_HEIGHT_PX / 2 + 0.5);
  return { canvas, width, height: LABEL_HEIGHT_PX };
}
