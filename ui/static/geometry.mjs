// Boxes `[x1, y1, x2, y2]` in float pixels of the stored image, origin at its top left corner.
//
// Every edit puts edges on a grid of 1/64 px: finer than a screen pixel at any zoom, and exact in
// binary, so that moving a box there and back never drifts.

/** No box may be thinner than this, in pixels of the image. */
export const MIN_SIDE_PX = 1;

const GRID = 64;

/**
 * Two edges that differ by no more than this are the same edge: twice the grid's step, in pixels.
 */
export const SAME_PX = 2 / GRID;

/** The eight handles: which edges (by index into a box) each of them moves, or null for none. */
export const HANDLES = Object.freeze({
  nw: [0, 1],
  n: [null, 1],
  ne: [2, 1],
  e: [2, null],
  se: [2, 3],
  s: [null, 3],
  sw: [0, 3],
  w: [0, null],
});

/** The edge on the grid. */
export const snap = (edge) => Math.round(edge * GRID) / GRID;

export const widthOf = (box) => box[2] - box[0];
export const heightOf = (box) => box[3] - box[1];
export const areaOf = (box) => widthOf(box) * heightOf(box);
export const centreOf = (box) => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Whether two boxes have the same edges, give or take `SAME_PX`. */
export const sameBox = (a, b) => a.every((edge, i) => Math.abs(edge - b[i]) <= SAME_PX);

/** Whether the point lies in the box, or no further than `slack` pixels outside of it. */
export const contains = (box, x, y, slack = 0) =>
  x >= box[0] - slack && x <= box[2] + slack && y >= box[1] - slack && y <= box[3] + slack;

/**
 * The box as it comes, if it lies in an image of `width` x `height` pixels and has an area;
 * otherwise the nearest that does. Unlike `tidy` it leaves what a model said as it was said.
 */
export function fitted(box, width, height) {
  const whole =
    box[0] >= 0 &&
    box[1] >= 0 &&
    box[2] <= width &&
    box[3] <= height &&
    box[0] < box[2] &&
    box[1] < box[3];
  return whole ? [...box] : tidy(box, width, height);
}

/**
 * Any two corners made a box: in order, on the grid, inside the image, at least one pixel a side.
 */
export function tidy(box, width, height) {
  const [x1, x2] = side(box[0], box[2], width);
  const [y1, y2] = side(box[1], box[3], height);
  return [x1, y1, x2, y2];
}

function side(a, b, length) {
  const low = clamp(snap(Math.min(a, b)), 0, length);
  const high = clamp(snap(Math.max(a, b)), 0, length);
  const start = clamp(low, 0, Math.max(0, length - MIN_SIDE_PX));
  return [start, Math.max(high, Math.min(length, start + MIN_SIDE_PX))];
}

/** The box moved by (dx, dy) pixels, stopped by the image's edges; its size stays. */
export function moved(box, dx, dy, width, height) {
  const x = clamp(dx, -box[0], width - box[2]);
  const y = clamp(dy, -box[1], height - box[3]);
  return tidy([box[0] + x, box[1] + y, box[2] + x, box[3] + y], width, height);
}

/**
 * The box with one handle dragged by (dx, dy) pixels: it stops at one pixel and at the image's
 * edges.
 */
export function stretched(box, handle, dx, dy, width, height) {
  const [horizontal, vertical] = HANDLES[handle];
  const edges = [...box];
  if (horizontal !== null) edges[horizontal] = stopped(edges, horizontal, dx, width);
  if (vertical !== null) edges[vertical] = stopped(edges, vertical, dy, height);
  return tidy(edges, width, height);
}

function stopped(edges, edge, distance, length) {
  const target = edges[edge] + distance;
  if (edge < 2) return clamp(target, 0, Math.max(0, edges[edge + 2] - MIN_SIDE_PX));
  return clamp(target, Math.min(length, edges[edge - 2] + MIN_SIDE_PX), length);
}

/** Edge by edge the mean of some boxes, as a merge of several people's answers; null of none. */
export function meanBox(boxes) {
  if (boxes.length === 0) return null;
  return [0, 1, 2, 3].map((i) => boxes.reduce((sum, box) => sum + box[i], 0) / boxes.length);
}

/** Where a handle of the box is, in pixels of the image. */
export function handlePoint(box, handle) {
  const [horizontal, vertical] = HANDLES[handle];
  const [cx, cy] = centreOf(box);
  return [horizontal === null ? cx : box[horizontal], vertical === null ? cy : box[vertical]];
}

/**
 * The box that the handles sit on: the box itself, or around a small one so far off that its inside
 * can still be taken hold of. `least` is the shortest side in pixels of the image.
 */
export function handleFrame(box, least) {
  const [cx, cy] = centreOf(box);
  const [w, h] = [Math.max(widthOf(box), least) / 2, Math.max(heightOf(box), least) / 2];
  return [cx - w, cy - h, cx + w, cy + h];
}

/**
 * The handle nearest to the point within `reach` pixels of the image in both directions, or null.
 * Corners win over edges, so that a very small box can still be dragged by its corners.
 */
export function handleAt(box, x, y, reach) {
  let best = null;
  for (const handle of Object.keys(HANDLES)) {
    const [hx, hy] = handlePoint(box, handle);
    const [dx, dy] = [Math.abs(hx - x), Math.abs(hy - y)];
    if (dx > reach || dy > reach) continue;
    const cost = Math.hypot(dx, dy) + (handle.length === 1 ? reach / 4 : 0);
    if (best === null || cost < best.cost) best = { handle, cost };
  }
  return best === null ? null : best.handle;
}

/**
 * What lies under a point, smallest first, so that a box within a box can be reached. `items` have
 * a `box`; `slack` (pixels of the image) lets a thin box be hit.
 */
export function hitsAt(items, x, y, slack = 0) {
  return items
    .filter((item) => contains(item.box, x, y, slack))
    .sort((a, b) => areaOf(a.box) - areaOf(b.box));
}
