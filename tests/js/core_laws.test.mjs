// What holds for any sequence of operations.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Editor } from '../../ui/static/core.mjs';
import { SIZE, manyDetections } from './fixtures.mjs';
import { between, boxIn, numbers, pick } from './random.mjs';

const { width, height } = SIZE;
const SEEDS = Array.from({ length: 40 }, (_, i) => i + 1);

const distance = (random) => between(random, -900, 900);

const OPERATIONS = {
  accept: (editor, id) => editor.accept(id),
  reject: (editor, id) => editor.reject(id),
  restore: (editor, id) => editor.restore(id),
  remove: (editor, id) => editor.remove(id),
  duplicate: (editor, id) => editor.duplicate(id),
  setClass: (editor, id, random) => editor.setClass(id, pick(random, [0, 1, 2])),
  setBox: (editor, id, random) =>
    editor.setBox(
      id,
      [0, 1, 2, 3].map(() => distance(random)),
    ),
  add: (editor, id, random) =>
    editor.add(
      [0, 1, 2, 3].map(() => distance(random)),
      pick(random, [0, 1, 2]),
    ),
  nudge: (editor, id, random) =>
    editor.nudge(id, distance(random), distance(random), { join: random() < 0.5 }),
  resize: (editor, id, random) =>
    editor.resize(id, distance(random), distance(random), { join: random() < 0.5 }),
  acceptPending: (editor, id, random) => random() < 0.1 && editor.acceptPending(),
  drag: (editor, id, random) => {
    editor.begin();
    for (let i = 0; i < 5; i += 1) editor.setBox(id, boxIn(random, width, height));
    if (random() < 0.3) editor.cancel();
    else editor.commit();
  },
  undo: (editor) => editor.undo(),
  redo: (editor) => editor.redo(),
  select: (editor, id) => editor.select(id),
  selectNext: (editor, id, random) => editor.selectNext(pick(random, [1, -1])),
};

const editorOf = (detections) => new Editor({ ...SIZE, phase: 'first', detections });

function scramble(editor, random, count, names = Object.keys(OPERATIONS)) {
  for (let i = 0; i < count; i += 1) {
    const id = editor.boxes.length > 0 ? pick(random, editor.boxes).id : 'nobody';
    OPERATIONS[pick(random, names)](editor, id, random);
  }
}

for (const seed of SEEDS) {
  test(`after anything undoing all gives the start, redoing all the end (seed ${seed})`, () => {
    const random = numbers(seed);
    const editor = editorOf(manyDetections(12, seed));
    const start = editor.boxes;
    scramble(editor, random, 120);
    const end = editor.boxes;
    while (editor.undo());
    assert.deepEqual(editor.boxes, start);
    while (editor.redo());
    const edits = ['accept', 'nudge', 'setClass'];
    scramble(editor, random, 20, edits);
    while (editor.undo());
    assert.deepEqual(editor.boxes, start);
    assert.ok(end.length > 0);
  });
}

test('what was undone can be redone to the same boxes', () => {
  for (const seed of SEEDS) {
    const random = numbers(seed);
    const editor = editorOf(manyDetections(12, seed));
    scramble(
      editor,
      random,
      100,
      Object.keys(OPERATIONS).filter((name) => name !== 'undo' && name !== 'redo'),
    );
    const end = editor.boxes;
    while (editor.undo());
    while (editor.redo());
    assert.deepEqual(editor.boxes, end);
  }
});

test('a box is always in the image and has an area', () => {
  for (const seed of SEEDS) {
    const random = numbers(seed);
    const editor = editorOf(manyDetections(12, seed));
    for (let i = 0; i < 100; i += 1) {
      scramble(editor, random, 1);
      for (const {
        box: [x1, y1, x2, y2],
      } of editor.boxes) {
        assert.ok(
          x1 >= 0 && y1 >= 0 && x2 <= width && y2 <= height && x1 < x2 && y1 < y2,
          `seed ${seed}`,
        );
      }
    }
  }
});

test('the answer accounts for each detection exactly once', () => {
  for (const seed of SEEDS) {
    const random = numbers(seed);
    const detections = manyDetections(12, seed);
    const editor = editorOf(detections);
    for (let i = 0; i < 60; i += 1) {
      scramble(editor, random, 1);
      const { boxes, rejected, unanswered } = editor.answer();
      const behind = [
        ...boxes.map((box) => box.detection_id),
        ...rejected,
        ...unanswered.map((id) => editor.get(id).detection_id),
      ];
      const known = behind.filter((id) => id !== null).sort();
      assert.deepEqual(known, detections.map(({ id }) => id).sort(), `seed ${seed}`);
      assert.equal(boxes.length + rejected.length + unanswered.length, editor.boxes.length);
    }
  }
});

test('a document is the editor again, undo and all', () => {
  for (const seed of SEEDS) {
    const random = numbers(seed);
    const detections = manyDetections(12, seed);
    const editor = editorOf(detections);
    scramble(editor, random, 80);
    const stored = JSON.parse(JSON.stringify(editor.toDocument()));
    const again = Editor.fromDocument(stored, { ...SIZE, phase: 'first', detections });
    assert.deepEqual(JSON.parse(JSON.stringify(again.toDocument())), stored);
    assert.deepEqual(again.answer(), editor.answer());
    while (editor.undo());
    while (again.undo());
    assert.deepEqual(again.boxes, editor.boxes);
  }
});

test('300 boxes and 200 large steps stay under a megabyte, with the latest steps', () => {
  const detections = manyDetections(300);
  const editor = editorOf(detections.map((d) => ({ ...d, id: d.id.padStart(32, '0') })));
  const random = numbers(8);
  for (let i = 0; i < 200; i += 1) {
    if (i % 2 === 0) editor.acceptPending();
    else editor.undo();
    editor.begin();
    for (const { id } of editor.boxes) editor.setBox(id, boxIn(random, width, height));
    editor.commit();
  }
  assert.ok(Buffer.byteLength(JSON.stringify(editor.toDocument())) < 1_000_000);
  const stored = JSON.parse(JSON.stringify(editor.toDocument()));
  const again = Editor.fromDocument(stored, {
    ...SIZE,
    phase: 'first',
    detections: editor.detections,
  });
  assert.ok(again.undo());
});

test('200 ordinary steps with 300 boxes are all kept', () => {
  const editor = editorOf(manyDetections(300));
  for (let i = 0; i < 200; i += 1) editor.nudge(editor.boxes[i].id, 1, 1);
  const document = editor.toDocument();
  assert.equal(document.undo.length, 200);
  assert.ok(Buffer.byteLength(JSON.stringify(document)) < 250_000);
});

test('the status says how the box differs from its detection', () => {
  for (const seed of SEEDS) {
    const random = numbers(seed);
    const editor = editorOf(manyDetections(12, seed));
    const detections = new Map(editor.detections.map((d) => [d.id, d]));
    scramble(editor, random, 100);
    for (const { status, box, class_id, detection_id } of editor.boxes) {
      const detection = detections.get(detection_id);
      const same =
        detection &&
        detection.class_id === class_id &&
        detection.box.every((edge, i) => edge === box[i]);
      if (detection === undefined) assert.equal(status, 'added');
      else if (status === 'changed') assert.ok(!same);
      else assert.ok(same, `seed ${seed}: ${status}`);
    }
  }
});
