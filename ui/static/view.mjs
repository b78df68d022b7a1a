// Where the image is on the canvas: from pixels of the image to CSS pixels and back. No DOM here.

import { centreOf, clamp, heightOf, widthOf } from './geometry.mjs';

// CSS pixels a pixel of the image, at most: a cell of 10 px then fills the canvas.
export const MAX_SCALE = 40;

// The image can be made half as large as it is when it fits, and no smaller.
const MIN_OF_FIT = 0.5;

// So much of the image stays in sight however it is panned, and so much room is left around it
// when it fits and around a box that is brought into view. CSS pixels.
const IN_SIGHT_PX = 48;
const FIT_MARGIN_PX = 8;
const BOX_MARGIN_PX = 24;

export class View {
  scale = 1; // CSS pixels a pixel of the image
  x = 0; // CSS pixels from the canvas's corner to the image's
  y = 0;
  width = 0; // of the canvas, CSS pixels
  height = 0;
  image = { width: 1, height: 1 }; // pixels
  fits = true; // nobody zoomed or panned: stay fitted when the canvas's size changes

  /** The canvas has another size in CSS pixels: what was in the middle stays there. */
  resize(width, height) {
    const [dx, dy] = [(width - this.width) / 2, (height - this.height) / 2];
    [this.width, this.height] = [width, height];
    if (this.fits) this.fit();
    else this.panBy(dx, dy);
  }

  /** Another image of `width` x `height` pixels: shown as a whole. */
  show(width, height) {
    this.image = { width, height };
    this.fit();
  }

  get fitScale() {
    const room = (length) => Math.max(1, length - 2 * FIT_MARGIN_PX);
    const scales = [room(this.width) / this.image.width, room(this.height) / this.image.height];
    return Math.min(MAX_SCALE, ...scales);
  }

  fit() {
    this.scale = this.fitScale;
    this.x = (this.width - this.image.width * this.scale) / 2;
    this.y = (this.height - this.image.height * this.scale) / 2;
    this.fits = true;
  }

  /** Zooms by a factor; the point of the image at (x, y) CSS pixels stays where it is. */
  zoomBy(factor, x = this.width / 2, y = this.height / 2) {
    const scale = clamp(this.scale * factor, this.fitScale * MIN_OF_FIT, MAX_SCALE);
    const real = scale / this.scale;
    this.scale = scale;
    this.x = x - (x - this.x) * real;
    this.y = y - (y - this.y) * real;
    this.#settle();
  }

  /** Moves the image by CSS pixels. */
  panBy(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.#settle();
  }

  /** Brings the box to the middle, smaller if it is larger than the canvas. */
  centreOn(box) {
    const room = Math.min(
      (this.width - 2 * BOX_MARGIN_PX) / widthOf(box),
      (this.height - 2 * BOX_MARGIN_PX) / heightOf(box),
    );
    if (room > 0 && room < this.scale) this.scale = Math.max(room, this.fitScale * MIN_OF_FIT);
    const [cx, cy] = centreOf(box);
    this.x = this.width / 2 - cx * this.scale;
    this.y = this.height / 2 - cy * this.scale;
    this.#settle();
  }

  /** Whether all of the box is on the canvas. */
  shows(box) {
    const [x1, y1] = this.toScreen(box[0], box[1]);
    const [x2, y2] = this.toScreen(box[2], box[3]);
    return x1 >= 0 && y1 >= 0 && x2 <= this.width && y2 <= this.height;
  }

  /** CSS pixels of a point of the image. */
  toScreen(x, y) {
    return [this.x + x * this.scale, this.y + y * this.scale];
  }

  /** Pixels of the image under a point in CSS pixels; may lie outside of the image. */
  toImage(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  #settle() {
    this.fits = false;
    const span = (length) => length * this.scale;
    this.x = within(this.x, this.width, span(this.image.width));
    this.y = within(this.y, this.height, span(this.image.height));
  }
}

const within = (offset, room, span) =>
  clamp(offset, Math.min(IN_SIGHT_PX, room / 2) - span, room - Math.min(IN_SIGHT_PX, room / 2));
