// The order in which Tab visits boxes: those still pending, least confident first, then the rest.

const RANK = { pending: 0, rejected: 2 };
const scoreOf = (box) => box.confidence ?? 2; // a box without a score comes after all that have one

/** The boxes in that order. */
export function tourOf(boxes) {
  const rank = (box) => RANK[box.status] ?? 1;
  return [...boxes].sort((a, b) => rank(a) - rank(b) || scoreOf(a) - scoreOf(b));
}

/**
 * The box `step` (1 or -1) away from the one with the id `from`; null if there is none. If that one
 * was just answered (`answered`), the pending box after or before where it had been.
 */
export function stepFrom(boxes, from, step, answered) {
  const tour = tourOf(boxes);
  if (tour.length === 0) return null;
  const place = tour.findIndex((box) => box.id === from);
  if (place === -1) return tour.at(step > 0 ? 0 : -1);
  const waiting = tour.filter((box) => box.status === 'pending');
  if (!answered || waiting.length === 0) return tour[(place + step + tour.length) % tour.length];
  const later = waiting.findIndex((box) => scoreOf(box) >= scoreOf(tour[place]));
  const after = later === -1 ? waiting.length : later;
  return waiting[(after + (step > 0 ? 0 : -1) + waiting.length) % waiting.length];
}
