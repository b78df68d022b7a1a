// A case to work on: an image of 640 x 480 pixels, three classes, four detections.

import { Editor } from '../../ui/static/core.mjs';
import { boxIn, numbers } from './random.mjs';

export const CLASSES = [
  { id: 0, name: 'RBC' },
  { id: 1, name: 'WBC' },
  { id: 2, name: 'Platelet' },
];

export const SIZE = { width: 640, height: 480, classes: CLASSES };

export const DETECTIONS = [
  { id: 'd1', box: [10.5, 10.25, 60.125, 70.3], class_id: 0, confidence: 0.9 },
  { id: 'd2', box: [100, 100, 300, 300], class_id: 1, confidence: 0.41 },
  { id: 'd3', box: [150, 150, 200, 200], class_id: 2, confidence: 0.6 },
  { id: 'd4', box: [500.7, 400.1, 640, 480], class_id: 0, confidence: 0.2 },
];

export const firstReview = (options = {}) =>
  new Editor({ ...SIZE, phase: 'first', detections: DETECTIONS, ...options });

/** The editor's box of a detection. */
export const of = (editor, detectionId) =>
  editor.boxes.find((box) => box.detection_id === detectionId);

export function manyDetections(count, seed = 7) {
  const random = numbers(seed);
  return Array.from({ length: count }, (_, i) => ({
    id: `d${i}`,
    box: boxIn(random, SIZE.width, SIZE.height),
    class_id: i % 3,
    confidence: random(),
  }));
}
