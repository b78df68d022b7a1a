// Whether a stored document can be taken up again: it comes from a server or from the browser's
// store, perhaps from an older page.

/**
 * Throws an Error that says why, unless `document` is one of `version` and `phase` whose boxes are
 * whole and of known classes.
 *
 * @param {{version: number, phase: string, classIds: Set<number>}} expected
 */
export function checkDocument(document, { version, phase, classIds }) {
  if (document?.version !== version || document.phase !== phase) {
    throw new Error("This draft is not one of this page's, or of another phase of the case.");
  }
  const sound = (box) =>
    isBox(box?.box) && typeof box.id === 'string' && classIds.has(box.class_id);
  if (!Array.isArray(document.boxes) || !document.boxes.every(sound)) {
    throw new Error('This draft is damaged.');
  }
}

/** Throws an Error unless each of the detections, by id, is behind one of the boxes, and once. */
export function checkDetections(boxes, ids) {
  const behind = boxes.map((box) => box.detection_id).filter((id) => id !== null);
  const known = new Set(ids);
  const all = behind.length === known.size && new Set(behind).size === known.size;
  if (!all || !behind.every((id) => known.has(id))) {
    throw new Error('This draft is about other detections.');
  }
}

const isBox = (box) => Array.isArray(box) && box.length === 4 && box.every(Number.isFinite);
