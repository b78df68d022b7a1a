// What one box is: a frozen record
// `{id, box, class_id, confidence, detection_id, origin, status, sources, how, reason}`.
//
// status: "pending" (a detection nobody answered), "accepted", "changed" (it differs from its
// detection), "added" (no detection behind it), "rejected" (a ghost). origin: "model" until
// answered, then as the store names it: "accepted", "moved", "relabelled", "added".

import { fitted, sameBox } from './geometry.mjs';
import { changeOf } from './history.mjs';

/** A new id: 32 lower-case hex digits. Works on plain http too, where `randomUUID` is missing. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** A whole record from what is known of a box; an image of `width` x `height` pixels holds it. */
export function recordOf(given, width, height) {
  return Object.freeze({
    id: given.id ?? newId(),
    box: Object.freeze(fitted(given.box, width, height)),
    class_id: given.class_id,
    confidence: given.confidence ?? null,
    detection_id: given.detection_id ?? null,
    origin: given.origin ?? 'added',
    status: given.status ?? 'accepted',
    sources: Object.freeze([...(given.sources ?? [])]),
    how: given.how ?? null,
    reason: given.reason ?? null,
  });
}

/** The record of a detection that waits for an answer. */
export function pendingOf(detection) {
  return {
    ...detection,
    id: newId(),
    detection_id: detection.id,
    status: 'pending',
    origin: 'model',
  };
}

/**
 * The record with the status and origin that follow from how it differs from `detection`, if any.
 */
export function answered(record, detection) {
  if (detection === undefined) {
    const added = record.detection_id === null && record.sources.length === 0;
    return added
      ? { ...record, status: 'added', origin: 'added' }
      : { ...record, status: 'accepted' };
  }
  const still = sameBox(record.box, detection.box);
  const box = still ? detection.box : record.box;
  if (record.class_id !== detection.class_id) {
    return { ...record, box, status: 'changed', origin: 'relabelled' };
  }
  if (!still) return { ...record, status: 'changed', origin: 'moved' };
  return { ...record, box, status: 'accepted', origin: 'accepted' };
}

/** The record with the edges and the class that the model gave it, if a detection is behind it. */
export function asModel(record, detection) {
  return detection === undefined
    ? record
    : { ...record, box: detection.box, class_id: detection.class_id };
}

/**
 * What a reviewer says with these boxes: `{boxes: [{id, box, class_id, detection_id}],
 * rejected: [ids of detections], unanswered: [ids of boxes], no_finding}`.
 */
export function answerOf(records) {
  const said = { boxes: [], rejected: [], unanswered: [] };
  for (const { id, box, class_id, detection_id, status } of records) {
    if (status === 'pending') said.unanswered.push(id);
    else if (status !== 'rejected') said.boxes.push({ id, box: [...box], class_id, detection_id });
    else if (detection_id !== null) said.rejected.push(detection_id);
  }
  return { ...said, no_finding: said.boxes.length === 0 && said.unanswered.length === 0 };
}

/**
 * The changes that lead from one list of records to another, in the order in which a history takes
 * them. Boxes that changed places are taken out and put in again.
 */
export function differences(before, after) {
  const [old, now] = [byId(before), byId(after)];
  const order = (list, other) => list.flatMap(({ id }) => (other.has(id) ? [id] : [])).join();
  const ordered = order(before, now) === order(after, old);
  const stays = (id) => ordered && old.has(id) && now.has(id);
  const gone = before
    .map((box, at) => (stays(box.id) ? null : changeOf(box.id, at, box, null)))
    .reverse();
  const kept = after.map((box, at) =>
    stays(box.id) ? changeOf(box.id, at, old.get(box.id), box) : null,
  );
  const made = after.map((box, at) => (stays(box.id) ? null : changeOf(box.id, at, null, box)));
  return [...gone, ...kept, ...made].filter((change) => change !== null);
}

const byId = (boxes) => new Map(boxes.map((box) => [box.id, box]));
