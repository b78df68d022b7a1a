import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Editor, newId } from '../../ui/static/core.mjs';
import { DETECTIONS, SIZE, firstReview, of } from './fixtures.mjs';

const heard = (editor) => {
  const types = [];
  editor.subscribe(({ type }) => types.push(type));
  return types;
};

test('a first review starts with one pending box a detection', () => {
  const editor = firstReview();
  assert.equal(editor.pending, 4);
  assert.deepEqual(
    editor.boxes.map((box) => box.detection_id),
    ['d1', 'd2', 'd3', 'd4'],
  );
  assert.ok(editor.boxes.every((box) => /^[0-9a-f]{32}$/.test(box.id)));
  assert.deepEqual(of(editor, 'd1').box, DETECTIONS[0].box);
});

test('a blind review starts empty, whatever it is given', () => {
  const editor = firstReview({
    phase: 'blind',
    boxes: [{ id: 'x', box: [1, 1, 9, 9], class_id: 0 }],
  });
  assert.deepEqual(editor.boxes, []);
  assert.deepEqual(editor.detections, []);
});

test('ids are 32 hex digits and never the same', () => {
  const ids = new Set(Array.from({ length: 1000 }, newId));
  assert.equal(ids.size, 1000);
  assert.ok([...ids].every((id) => /^[0-9a-f]{32}$/.test(id)));
});

test('accepting, moving and relabelling a detection say so in status and origin', () => {
  const editor = firstReview();
  editor.accept(of(editor, 'd1').id);
  editor.nudge(of(editor, 'd2').id, 5, 0);
  editor.setClass(of(editor, 'd3').id, 0);
  const said = editor.boxes.map(({ status, origin }) => [status, origin]);
  assert.deepEqual(said, [
    ['accepted', 'accepted'],
    ['changed', 'moved'],
    ['changed', 'relabelled'],
    ['pending', 'model'],
  ]);
});

test('a box moved back to where the model had it is an accepted one, to the last digit', () => {
  const editor = firstReview();
  const { id } = of(editor, 'd1');
  editor.nudge(id, 3, 0);
  assert.equal(editor.get(id).status, 'changed');
  editor.nudge(id, -3, 0);
  assert.equal(editor.get(id).status, 'accepted');
  assert.deepEqual(editor.get(id).box, DETECTIONS[0].box);
});

test('a changed box keeps its detection and leaves the model’s box as a ghost', () => {
  const editor = firstReview();
  const { id } = of(editor, 'd2');
  editor.setBox(id, [300, 310, 120, 130]);
  assert.deepEqual(editor.get(id).box, [120, 130, 300, 310]);
  assert.equal(editor.get(id).detection_id, 'd2');
  const [ghost] = editor.ghosts;
  assert.deepEqual([ghost.box, ghost.class_id, ghost.of], [[100, 100, 300, 300], 1, id]);
  editor.restore(id);
  assert.deepEqual(editor.ghosts, []);
  assert.equal(editor.get(id).status, 'accepted');
});

test('a rejected box is a ghost with the model’s edges, and waits again once restored', () => {
  const editor = firstReview();
  const { id } = of(editor, 'd3');
  editor.nudge(id, 30, 30);
  editor.reject(id);
  assert.deepEqual([editor.get(id).status, editor.get(id).box], ['rejected', [150, 150, 200, 200]]);
  assert.ok(!editor.nudge(id, 1, 1) && !editor.setClass(id, 0) && !editor.reject(id));
  editor.restore(id);
  assert.equal(editor.get(id).status, 'pending');
  editor.reject(id);
  editor.accept(id);
  assert.equal(editor.get(id).status, 'accepted');
});

test('deleting rejects a detection but takes an added box away', () => {
  const editor = firstReview();
  const added = editor.add([5, 5, 50, 50], 1);
  assert.equal(editor.selected, added);
  assert.deepEqual([editor.get(added).status, editor.get(added).origin], ['added', 'added']);
  editor.remove(added);
  assert.equal(editor.get(added), null);
  assert.equal(editor.selected, null);
  editor.remove(of(editor, 'd1').id);
  assert.equal(of(editor, 'd1').status, 'rejected');
});

test('a copy lies beside its original and has no detection', () => {
  const editor = firstReview();
  const { id } = of(editor, 'd4'); // in the lower right corner: there is room only up and left
  const copy = editor.get(editor.duplicate(id));
  assert.equal(copy.detection_id, null);
  assert.equal(copy.class_id, 0);
  assert.ok(copy.box[0] < DETECTIONS[3].box[0] - 9);
});

test('resizing moves the far edges and leaves a pixel', () => {
  const editor = firstReview();
  const { id } = of(editor, 'd2');
  editor.resize(id, 10, -5);
  assert.deepEqual(editor.get(id).box, [100, 100, 310, 295]);
  editor.resize(id, -5000, 5000);
  assert.deepEqual(editor.get(id).box, [100, 100, 101, 480]);
});

test('what is no class, no box or no number is refused', () => {
  const editor = firstReview();
  const before = editor.boxes;
  assert.equal(editor.add([1, 1, 9, 9], 99), null);
  assert.equal(editor.add([1, NaN, 9, 9], 0), null);
  assert.ok(!editor.setClass(before[0].id, 99));
  assert.ok(!editor.setBox(before[0].id, [0, 0, Infinity, 3]));
  for (const edit of ['accept', 'reject', 'restore', 'remove', 'nudge', 'resize']) {
    assert.ok(!editor[edit]('nobody', 1, 1));
  }
  assert.equal(editor.boxes, before);
});

test('a read-only case cannot be changed by any edit', () => {
  const editor = firstReview({ readOnly: true });
  const { id } = editor.boxes[0];
  const before = editor.boxes;
  editor.accept(id);
  editor.reject(id);
  editor.setClass(id, 2);
  editor.nudge(id, 5, 5);
  editor.resize(id, 5, 5);
  editor.add([1, 1, 9, 9], 0);
  editor.duplicate(id);
  editor.replaceAll([]);
  editor.resolve([], [1, 1, 9, 9], 0);
  editor.annotate(id, { reason: 'x' });
  assert.equal(editor.acceptPending(), 0);
  assert.ok(!editor.begin() && !editor.undo() && !editor.redo());
  assert.equal(editor.boxes, before);
  assert.ok(new Editor({ ...SIZE, phase: 'done' }).readOnly);
});

test('accepting all pending is one step that can be taken back', () => {
  const editor = firstReview();
  editor.reject(editor.boxes[0].id);
  assert.equal(editor.acceptPending(), 3);
  assert.equal(editor.pending, 0);
  editor.undo();
  assert.equal(editor.pending, 3);
  editor.redo();
  assert.equal(editor.acceptPending(), 0);
});

test('the tour goes to the least confident pending box first and then to the rest', () => {
  const editor = firstReview();
  editor.accept(of(editor, 'd2').id);
  const order = Array.from({ length: 5 }, () => editor.get(editor.selectNext(1)).detection_id);
  assert.deepEqual(order, ['d4', 'd3', 'd1', 'd2', 'd4']);
  editor.selectNext(-1);
  assert.equal(editor.selected, of(editor, 'd2').id);
});

test('after an answer the tour goes on where it was', () => {
  const editor = firstReview();
  editor.selectNext(1); // d4, 0.2
  editor.selectNext(1); // d2, 0.41
  editor.accept(editor.selected);
  assert.equal(editor.get(editor.selectNext(1)).detection_id, 'd3');
  editor.reject(editor.selected);
  assert.equal(editor.get(editor.selectNext(-1)).detection_id, 'd4');
});

test('accept and next, again and again, visits every detection once', () => {
  const editor = firstReview();
  const seen = [];
  for (let i = 0; i < 4; i += 1) {
    seen.push(editor.get(editor.selectNext(1)).detection_id);
    editor.accept(editor.selected);
  }
  assert.deepEqual(seen, ['d4', 'd2', 'd3', 'd1']);
  assert.equal(editor.pending, 0);
});

test('there is nothing to go to in an empty case', () => {
  assert.equal(new Editor({ ...SIZE, phase: 'blind' }).selectNext(1), null);
});

test('a box is described by place, class, score and status', () => {
  const editor = firstReview();
  assert.equal(editor.describe(of(editor, 'd2').id), 'Box 2 of 4, WBC, 0.41, pending');
  const id = editor.add([1, 1, 9, 9], 2);
  assert.equal(editor.describe(id), 'Box 5 of 5, Platelet, added');
  assert.equal(editor.describe(null), 'No box selected');
});

test('a drag is one step, seen live and saved once', () => {
  const editor = firstReview();
  const { id } = of(editor, 'd2');
  const types = heard(editor);
  editor.begin('move');
  for (let x = 1; x <= 20; x += 1) editor.setBox(id, [100 + x, 100, 300 + x, 300]);
  assert.ok(editor.commit());
  assert.deepEqual(
    [
      types.filter((type) => type === 'live').length,
      types.filter((type) => type === 'edit').length,
    ],
    [20, 1],
  );
  editor.undo();
  assert.deepEqual(editor.get(id).box, [100, 100, 300, 300]);
  assert.equal(editor.get(id).status, 'pending');
  assert.ok(!editor.canUndo);
});

test('a drag that ends where it began is none', () => {
  const editor = firstReview();
  const { id, box } = of(editor, 'd1');
  editor.begin();
  editor.setBox(
    id,
    box.map((edge) => edge + 20),
  );
  editor.setBox(id, box);
  assert.ok(!editor.commit());
  assert.equal(editor.get(id).status, 'pending');
  assert.deepEqual(editor.get(id).box, box);
  assert.ok(!editor.canUndo);
});

test('a drag that is cancelled leaves nothing behind', () => {
  const editor = firstReview();
  const { id, box } = of(editor, 'd1');
  for (const end of ['cancel', 'undo']) {
    editor.begin();
    editor.setBox(id, [0, 0, 5, 5]);
    editor[end]();
    assert.deepEqual(editor.get(id).box, box);
    assert.ok(!editor.isOpen && !editor.canUndo && !editor.canRedo);
  }
});

test('a key held down is one step, single presses are one each', () => {
  const editor = firstReview();
  const { id, box } = of(editor, 'd2');
  editor.nudge(id, 1, 0);
  for (let i = 0; i < 9; i += 1) editor.nudge(id, 1, 0, { join: true });
  editor.nudge(id, 1, 0);
  assert.equal(editor.get(id).box[0], 111);
  editor.undo();
  assert.equal(editor.get(id).box[0], 110);
  editor.undo();
  assert.deepEqual(editor.get(id).box, box);
  assert.ok(!editor.canUndo);
});

test('the answer accounts for each detection, with pending ones apart', () => {
  const editor = firstReview();
  editor.accept(of(editor, 'd1').id);
  editor.reject(of(editor, 'd2').id);
  editor.nudge(of(editor, 'd3').id, 9, 9);
  editor.add([1, 1, 20, 20], 2);
  const answer = editor.answer();
  assert.deepEqual(
    answer.boxes.map((box) => box.detection_id),
    ['d1', 'd3', null],
  );
  assert.deepEqual(Object.keys(answer.boxes[0]), ['id', 'box', 'class_id', 'detection_id']);
  assert.deepEqual(answer.rejected, ['d2']);
  assert.deepEqual(answer.unanswered, [of(editor, 'd4').id]);
  assert.equal(answer.no_finding, false);
});

test('no finding is when no box stands and none is pending', () => {
  const editor = firstReview();
  assert.equal(editor.answer().no_finding, false);
  for (const { id } of editor.boxes) editor.reject(id);
  assert.equal(editor.answer().no_finding, true);
  assert.equal(new Editor({ ...SIZE, phase: 'blind' }).answer().no_finding, true);
});

test('a document brings back boxes, selection and undo', () => {
  const editor = firstReview();
  editor.nudge(of(editor, 'd1').id, 4, 4);
  editor.add([1, 1, 30, 30], 2);
  editor.undo();
  editor.select(of(editor, 'd3').id);
  const document = JSON.parse(JSON.stringify(editor.toDocument()));
  const again = Editor.fromDocument(document, { ...SIZE, phase: 'first', detections: DETECTIONS });
  assert.deepEqual(again.boxes, editor.boxes);
  assert.equal(again.selected, editor.selected);
  again.redo();
  assert.equal(again.boxes.length, 5);
  again.undo();
  again.undo();
  assert.deepEqual(
    again.boxes.map((box) => box.box),
    DETECTIONS.map((detection) => detection.box),
  );
  assert.deepEqual(JSON.parse(JSON.stringify(editor.toDocument())), document);
});

test('a draft saved during a drag is that from before it', () => {
  const editor = firstReview();
  editor.begin();
  editor.setBox(of(editor, 'd1').id, [0, 0, 9, 9]);
  assert.deepEqual(editor.toDocument().boxes[0].box, DETECTIONS[0].box);
});

test('a document that is none of ours, or about other detections, is refused', () => {
  const document = firstReview().toDocument();
  const options = { ...SIZE, phase: 'first', detections: DETECTIONS };
  const refused = (other, given = options) =>
    assert.throws(() => Editor.fromDocument(other, given), /draft/);
  refused(null);
  refused({ ...document, version: 99 });
  refused({ ...document, boxes: 'no' });
  for (const bad of [{ box: [1, 2, null, 4] }, { box: [1, 2] }, { class_id: 99 }, { id: 7 }]) {
    refused({ ...document, boxes: [{ ...document.boxes[0], ...bad }, ...document.boxes.slice(1)] });
  }
  refused(document, { ...options, phase: 'blind' });
  refused(document, { ...options, detections: DETECTIONS.slice(1) });
  refused({ ...document, boxes: [...document.boxes.slice(1), document.boxes[1]] });
});

test('a history that does not fit its boxes is left out, the boxes are kept', () => {
  const editor = firstReview();
  editor.nudge(editor.boxes[0].id, 1, 1);
  const document = {
    ...editor.toDocument(),
    undo: [{ label: 'x', changes: [{ id: 'zz', at: 0, before: {}, after: {} }] }],
  };
  const again = Editor.fromDocument(document, { ...SIZE, phase: 'first', detections: DETECTIONS });
  assert.deepEqual(again.boxes, editor.boxes);
  assert.ok(!again.canUndo);
});

test('in the second review a picked box that is changed is a redrawn one', () => {
  const boxes = [
    {
      id: 'p',
      box: [5, 5, 50, 50],
      class_id: 0,
      sources: ['a', 'b'],
      how: 'picked',
      reason: 'agreed',
    },
  ];
  const editor = new Editor({ ...SIZE, phase: 'settle', boxes });
  assert.equal(editor.get('p').status, 'accepted');
  editor.nudge('p', 2, 0);
  assert.equal(editor.get('p').how, 'redrawn');
  editor.undo();
  assert.equal(editor.get('p').how, 'picked');
  assert.equal(editor.get(editor.add([1, 1, 9, 9], 0)).how, 'redrawn');
});

test('in the second review one box takes the place of all with its sources, as one step', () => {
  const boxes = [
    { id: 'p', box: [5, 5, 50, 50], class_id: 0, sources: ['a'] },
    { id: 'q', box: [6, 6, 52, 52], class_id: 0, sources: ['b'] },
    { id: 'r', box: [100, 100, 150, 150], class_id: 1, sources: ['c'] },
  ];
  const editor = new Editor({ ...SIZE, phase: 'settle', boxes });
  const merged = editor.resolve(['a', 'b'], [5.5, 5.5, 51, 51], 0, { how: 'merged' });
  assert.deepEqual(
    editor.boxes.map(({ id }) => id),
    ['r', merged],
  );
  assert.deepEqual(editor.get(merged).sources, ['a', 'b']);
  editor.resolve(['c'], null);
  assert.deepEqual(
    editor.boxes.map(({ id }) => id),
    [merged],
  );
  editor.undo();
  editor.undo();
  assert.deepEqual(
    editor.boxes.map(({ id }) => id),
    ['p', 'q', 'r'],
  );
});

test('in the second review a box that stands for nothing is marked as rejected', () => {
  const dropped = {
    id: 'x',
    box: [5, 5, 50, 50],
    class_id: 0,
    sources: ['a'],
    how: 'dropped',
    status: 'rejected',
  };
  const editor = new Editor({ ...SIZE, phase: 'settle', boxes: [dropped] });
  assert.deepEqual([editor.answer().boxes, editor.answer().rejected], [[], []]);
  assert.ok(editor.restore('x'));
  assert.equal(editor.get('x').status, 'accepted');
});

test('a listener that has stopped hears nothing more', () => {
  const editor = firstReview();
  let count = 0;
  const stop = editor.subscribe(() => (count += 1));
  editor.select(editor.boxes[0].id);
  stop();
  editor.select(null);
  assert.equal(count, 1);
});

test('replacing all boxes is one step, also where some stay and some change places', () => {
  const box = (id, x) => ({
    id,
    box: [x, 5, x + 20, 50],
    class_id: 0,
    status: 'accepted',
    sources: ['a'],
  });
  const editor = new Editor({
    ...SIZE,
    phase: 'settle',
    boxes: [box('a', 1), box('b', 30), box('c', 60)],
  });
  const start = editor.boxes;
  editor.replaceAll([box('a', 1), box('new', 30), box('c', 61)]);
  const end = editor.boxes;
  editor.undo();
  assert.deepEqual(editor.boxes, start);
  editor.redo();
  assert.deepEqual(editor.boxes, end);
  editor.replaceAll([box('c', 61), box('a', 1)]);
  assert.deepEqual(
    editor.boxes.map(({ id }) => id),
    ['c', 'a'],
  );
  editor.undo();
  assert.deepEqual(editor.boxes, end);
});
