// What the editor of a case begins with, by the phase that the case is in.

import { Editor, newId } from './core.mjs';

/** The options of an `Editor` for a case as the server shows it. */
export function editorOptions(view, { classes, settlement, readOnly }) {
  const { image, phase, layers, annotation } = view;
  return {
    width: image.width,
    height: image.height,
    classes,
    phase,
    detections: phase === 'first' ? layers.model : [],
    boxes: phase === 'settle' ? settlement.start() : finalBoxes(annotation ?? layers.first),
    readOnly,
  };
}

/** An editor in which nothing was done yet. */
export function freshEditor(view, given) {
  const options = editorOptions(view, given);
  if (view.phase !== 'first' || !view.annotation) return new Editor(options);
  // Reopened: it begins with what was settled before, and that is no step that could be undone.
  const boxes = reopenedBoxes(view.annotation, view.layers.model);
  const document = { version: 1, phase: 'first', boxes, selected: null, undo: [], redo: [] };
  try {
    return Editor.fromDocument(document, options);
  } catch {
    return new Editor(options); // of a class that is not in the list any more: the model's boxes then
  }
}

function finalBoxes(boxes) {
  return boxes.map((box) => ({ ...box, status: box.origin === 'added' ? 'added' : 'accepted' }));
}

/** Every detection is answered: it became a box of the annotation, or it was rejected. */
function reopenedBoxes(annotation, detections) {
  const left = new Map(detections.map((detection) => [detection.id, detection]));
  const boxes = annotation.map(({ box, class_id, detection_id }) => {
    const detection = left.get(detection_id);
    left.delete(detection_id);
    // Without a status the editor reads it off the detection.
    const { id: behind = null, confidence = null } = detection ?? {};
    return { id: newId(), box, class_id, detection_id: behind, confidence };
  });
  const rejected = [...left.values()].map(({ id, ...detection }) => ({
    ...detection,
    id: newId(),
    detection_id: id,
    status: 'rejected',
    origin: 'model',
  }));
  return [...boxes, ...rejected];
}
