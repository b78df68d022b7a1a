// The lower canvas: the image, drawn from a copy that is about as small as it is shown.
//
// A 12-megapixel image that fills a third of its size would be sampled at every fourth pixel, and
// flicker while it is moved. Halved copies are made once, from each the next, with a pause for
// frames in between. The browser's better smoothing would make its own copies: half a second for 12
// MP.

// From so many screen pixels a pixel of the image on, pixels are shown as squares.
const SHARP_FROM = 2;

const BREATH_MS = 20;

// No copies smaller than this, in pixels of the longer side.
const SMALLEST_PX = 512;

export class ImageLayer {
  #levels = []; // [{source, width, height}], the largest first
  #load = 0;
  #onReady;

  /** `onReady()` is called when a better copy is there: draw again. */
  constructor(onReady) {
    this.#onReady = onReady;
  }

  /** Another image (an ImageBitmap, which stays the caller's), or null. */
  set(bitmap) {
    this.#load += 1;
    this.#forget();
    if (bitmap === null) return;
    this.#levels = [{ source: bitmap, width: bitmap.width, height: bitmap.height }];
    this.#halve(this.#load);
  }

  /** Draws the image of `view` on a canvas of `ratio` screen pixels a CSS pixel. */
  paint(context, view, ratio) {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, context.canvas.width, context.canvas.height);
    if (this.#levels.length === 0) return;
    const { width, height } = view.image;
    const level = this.#levelFor(width * view.scale * ratio);
    const [left, top, right, bottom] = visible(view);
    context.imageSmoothingEnabled = view.scale * ratio < SHARP_FROM;
    context.imageSmoothingQuality = 'low';
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [kx, ky] = [level.width / width, level.height / height];
    const [x, y] = view.toScreen(left, top);
    context.drawImage(
      level.source,
      left * kx,
      top * ky,
      (right - left) * kx,
      (bottom - top) * ky,
      x,
      y,
      (right - left) * view.scale,
      (bottom - top) * view.scale,
    );
  }

  destroy() {
    this.#load += 1;
    this.#forget();
  }

  #levelFor(pixels) {
    return this.#levels.findLast((level) => level.width >= pixels) ?? this.#levels[0];
  }

  async #halve(load) {
    let last = this.#levels[0];
    while (Math.max(last.width, last.height) >= 2 * SMALLEST_PX) {
      await new Promise((resume) => setTimeout(resume, BREATH_MS));
      if (load !== this.#load) return;
      last = halved(last);
      this.#levels.push(last);
      this.#onReady();
    }
  }

  #forget() {
    for (const { source } of this.#levels.slice(1)) source.close();
    this.#levels = [];
  }
}

/**
 * Exactly half as large, the mean of each four pixels: what plain smoothing does at that factor.
 */
function halved({ source, width, height }) {
  const [w, h] = [Math.round(width / 2), Math.round(height / 2)];
  const canvas = new OffscreenCanvas(w, h);
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'low';
  context.drawImage(source, 0, 0, w, h);
  return { source: canvas.transferToImageBitmap(), width: w, height: h };
}

/** The part of the image that is on the canvas, in whole pixels of the image. */
function visible(view) {
  const { width, height } = view.image;
  const [x1, y1] = view.toImage(0, 0);
  const [x2, y2] = view.toImage(view.width, view.height);
  return [
    Math.max(0, Math.floor(x1)),
    Math.max(0, Math.floor(y1)),
    Math.min(width, Math.ceil(x2)),
    Math.min(height, Math.ceil(y2)),
  ];
}
