// The annotation canvas: a stage to look at, a surface to draw it on, and the events between them.

import { Commands } from './commands.mjs';
import { paintBoxes } from './draw.mjs';
import { Gestures } from './gestures.mjs';
import { ImageLayer } from './image_layer.mjs';
import { Labels } from './labels.mjs';
import { Stage } from './stage.mjs';
import { createSurface } from './surface.mjs';

// A wheel's step of 100 CSS pixels zooms by about a sixth; one event by no more than half.
const ZOOM_A_PX = 0.0015;
const MAX_WHEEL_PX = 270;
const LINE_PX = 16; // Firefox counts wheels in lines

/**
 * Puts the canvas into `host`, which must have a size. `announce(text)` gets what a person who does
 * not see it should hear: put it into a live region.
 *
 * It handles pointers itself; keys come in through `run`, from `listenToKeys` (pass `element` as
 * its `canvas`). Space and H, once run, end by themselves when the key is released.
 *
 * `on(name, fn)` returns the way to stop it; names and values: 'tool' ("select" | "draw"),
 * 'drawClass' (id), 'modelVisible', 'hideAll', 'panning', 'focused' (boolean), 'threshold' (0..1),
 * 'view' ({scale}: CSS pixels a pixel of the image), 'drawn' (id of the new box), and 'change' (the
 * name) after any of them.
 */
export function createCanvas(host, { announce = () => {} } = {}) {
  const frames = new Frames((what, latest) => paint(what, latest));
  const stage = new Stage({ announce, invalidate: (what) => frames.ask(what) });
  const gestures = new Gestures(stage);
  const commands = new Commands(stage, gestures);
  const labels = new Labels();
  const picture = new ImageLayer(() => stage.changed('view'));
  const surface = createSurface(host, (width, height) => {
    stage.view.resize(width, height);
    frames.now('view');
  });
  const stop = new AbortController();
  const stats = { handleMs: 0, frameMs: 0, paintMs: 0 };

  function paint(what, latest) {
    const started = performance.now();
    if (what.has('view')) picture.paint(surface.imageContext, stage.view, surface.ratio);
    paintBoxes(surface.boxContext, stage, labels, surface.ratio);
    stats.paintMs = performance.now() - started;
    if (latest !== null) stats.frameMs = performance.now() - latest;
  }

  listen({ surface, stage, gestures, commands, frames, stats, signal: stop.signal });

  return {
    /** The focusable element: the upper canvas. */
    element: surface.element,
    /**
     * The last pointer event, in ms: `handleMs` in its handler, `paintMs` its frame, `frameMs` from
     * it to drawn.
     */
    stats,
    on: (name, fn) => stage.on(name, fn),
    /**
     * Does an action of the key table; false if it is not the canvas's. `event`: the key, if any.
     */
    run: (action, event = null) => commands.run(action, { held: event?.repeat ?? false }),

    /**
     * Shows an ImageBitmap (yours to close, once another is set) of an image of `width` x `height`
     * pixels.
     */
    setImage(bitmap, { width = 1, height = 1 } = {}) {
      picture.set(bitmap);
      stage.view.show(width, height);
      stage.changed('view');
    },
    setEditor(editor) {
      gestures.cancel();
      stage.setEditor(editor);
    },
    /**
     * Boxes to compare with, `[{name, boxes: [{id, box, class_id}], dash, visible}]`: "model",
     * "first", "second".
     */
    setLayers(layers) {
      stage.layers = layers;
      stage.changed();
    },
    fit() {
      stage.view.fit();
      stage.changed('view');
    },
    /** Zooms; `at` is `[x, y]` in CSS pixels from the canvas's corner, by default its middle. */
    zoomBy(factor, at = []) {
      stage.view.zoomBy(factor, ...at);
      stage.changed('view');
    },
    /** Brings the editor's or a layer's box to the middle. */
    centreOn(id) {
      const box = stage.boxOf(id);
      if (box === null) return;
      stage.view.centreOn(box);
      stage.changed('view');
    },
    /** Whether all of that box is to be seen. */
    shows: (id) => stage.boxOf(id) !== null && stage.view.shows(stage.boxOf(id)),
    setThreshold: (confidence) => stage.set('threshold', confidence),
    setHideAll: (hidden) => stage.set('hideAll', hidden),
    setModelVisible: (visible) => stage.set('modelVisible', visible),
    setTool: (tool) => stage.setTool(tool),
    setDrawClass: (classId) => stage.set('drawClass', classId),
    setReadOnly(readOnly) {
      if (readOnly) gestures.cancel();
      stage.set('readOnly', readOnly);
      if (readOnly) stage.setTool('select');
    },
    get tool() {
      return stage.tool;
    },
    get drawClass() {
      return stage.drawClass;
    },
    get modelVisible() {
      return stage.modelVisible;
    },
    get hideAll() {
      return stage.hideAll;
    },
    get threshold() {
      return stage.threshold;
    },
    /** CSS pixels a pixel of the image. */
    get scale() {
      return stage.view.scale;
    },
    /**
     * Where a box is on the canvas, `[x1, y1, x2, y2]` in CSS pixels from its corner; null if there
     * is none.
     */
    screenBox(id) {
      const box = stage.boxOf(id);
      if (box === null) return null;
      return [...stage.view.toScreen(box[0], box[1]), ...stage.view.toScreen(box[2], box[3])];
    },
    destroy() {
      stop.abort();
      frames.stop();
      stage.setEditor(null);
      picture.destroy();
      surface.destroy();
    },
  };
}

/** At most one drawing a frame, however often it is asked for. */
class Frames {
  #draw;
  #asked = new Set();
  #frame = null;
  #latest = null;

  constructor(draw) {
    this.#draw = draw;
  }

  ask(what) {
    this.#asked.add(what);
    this.#frame ??= requestAnimationFrame(() => this.#run());
  }

  /** A pointer event of that time stamp waits to be seen. */
  note(timeStamp) {
    this.#latest = timeStamp;
  }

  /** Draws at once: a canvas that got another size is empty. */
  now(what) {
    this.#asked.add(what);
    this.#run();
  }

  stop() {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#draw = () => {};
  }

  #run() {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#frame = null;
    const [asked, latest] = [this.#asked, this.#latest];
    this.#asked = new Set();
    this.#latest = null;
    this.#draw(asked, latest);
  }
}

function listen({ surface, stage, gestures, commands, frames, stats, signal }) {
  const { element } = surface;
  const window = element.ownerDocument.defaultView;
  const at = (event) => [event.offsetX, event.offsetY];
  const on = (target, name, fn, options = {}) =>
    target.addEventListener(name, fn, { signal, ...options });
  const timed = (handle) => (event) => {
    const started = performance.now();
    handle(event);
    element.style.cursor = gestures.cursorAt(at(event));
    frames.note(event.timeStamp);
    stats.handleMs = performance.now() - started;
  };

  on(
    element,
    'pointerdown',
    timed((event) => {
      if (gestures.press(at(event), event)) element.setPointerCapture(event.pointerId);
    }),
  );
  on(
    element,
    'pointermove',
    timed((event) => gestures.move(at(event))),
  );
  on(
    element,
    'pointerup',
    timed((event) => gestures.release(at(event), { shift: event.shiftKey })),
  );
  on(element, 'pointercancel', () => gestures.cancel());
  on(element, 'pointerleave', () => gestures.leave());
  on(element, 'dblclick', () => gestures.doubleClick());
  // The middle button would scroll the page, or paste.
  on(element, 'mousedown', (event) => event.button === 1 && event.preventDefault());
  on(element, 'auxclick', (event) => event.preventDefault());
  on(
    element,
    'wheel',
    timed((event) => {
      event.preventDefault();
      const px = event.deltaY * (event.deltaMode === 1 ? LINE_PX : 1);
      const factor = Math.exp(-Math.sign(px) * Math.min(Math.abs(px), MAX_WHEEL_PX) * ZOOM_A_PX);
      stage.view.zoomBy(factor, ...at(event));
      stage.changed('view');
    }),
    { passive: false },
  );

  const focus = (focused) => {
    surface.showFocus(focused);
    if (focused) commands.focused();
    stage.set('focused', focused);
  };
  on(element, 'focus', () => focus(true));
  on(element, 'blur', () => focus(false));
  const let_go = () => {
    stage.set('panning', false);
    stage.set('hideAll', false);
  };
  on(window, 'keyup', ({ key }) => {
    if (key === ' ') stage.set('panning', false);
    if (key.toLowerCase() === 'h') stage.set('hideAll', false);
  });
  on(window, 'blur', let_go);
}
