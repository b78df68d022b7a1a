import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Gestures } from '../../ui/static/gestures.mjs';
import { Stage } from '../../ui/static/stage.mjs';
import { firstReview, of } from './fixtures.mjs';

/** A stage of 640 x 480 CSS pixels on which a pixel of the image is one, unless zoomed. */
function scene({ editor = firstReview(), zoom = 1 } = {}) {
  const stage = new Stage({ announce: () => {}, invalidate: () => {} });
  stage.view.resize(640 * zoom, 480 * zoom);
  stage.view.image = { width: 640, height: 480 };
  Object.assign(stage.view, { scale: zoom, x: 0, y: 0, fits: false });
  stage.setEditor(editor);
  const gestures = new Gestures(stage);
  const click = (point, more) => {
    gestures.move(point);
    gestures.press(point, more);
    gestures.release(point, more);
  };
  const drag = (from, to, more) => {
    gestures.press(from, more);
    gestures.move([(from[0] + to[0]) / 2, (from[1] + to[1]) / 2]);
    gestures.move(to);
    gestures.release(to, more);
  };
  const selected = () => editor.get(editor.selected)?.detection_id ?? editor.selected;
  return { stage, editor, gestures, click, drag, selected };
}

test('a click selects the smallest box, and again at the same place the next larger one', () => {
  const { click, selected, editor } = scene();
  editor.add([90, 90, 400, 400], 0);
  const largest = editor.selected;
  editor.select(null);
  const order = Array.from({ length: 4 }, () => {
    click([175, 175]);
    return selected();
  });
  assert.deepEqual(order, ['d3', 'd2', largest, 'd3']);
});

test('a click elsewhere in the selected box selects the smallest box there', () => {
  const { click, selected } = scene();
  click([110, 110]);
  assert.equal(selected(), 'd2');
  click([175, 175]);
  assert.equal(selected(), 'd3');
});

test('a click beside all boxes selects none and changes nothing', () => {
  const { click, selected, editor } = scene();
  click([110, 110]);
  click([400, 100]);
  assert.equal(selected(), null);
  assert.ok(!editor.canUndo);
});

test('dragging a box moves it by as much, as one step', () => {
  const { drag, editor } = scene({ zoom: 2 });
  drag([220, 220], [260, 240]);
  assert.deepEqual(of(editor, 'd2').box, [120, 110, 320, 310]);
  editor.undo();
  assert.deepEqual(of(editor, 'd2').box, [100, 100, 300, 300]);
  assert.ok(!editor.canUndo);
});

test('a press that shakes a little is a click', () => {
  const { drag, editor } = scene();
  drag([220, 120], [222, 121]);
  assert.equal(of(editor, 'd2').status, 'pending');
});

test('dragging keeps to the selected box although a smaller one lies there', () => {
  const { drag, click, editor } = scene();
  click([110, 110]);
  drag([175, 175], [185, 175]);
  assert.equal(of(editor, 'd2').box[0], 110);
  assert.equal(of(editor, 'd3').box[0], 150);
});

test('each of the eight handles can be dragged', () => {
  const places = {
    nw: [100, 100],
    n: [200, 100],
    ne: [300, 100],
    e: [300, 200],
    se: [300, 300],
    s: [200, 300],
    sw: [100, 300],
    w: [100, 200],
  };
  for (const [handle, [x, y]] of Object.entries(places)) {
    const { drag, click, editor, gestures } = scene();
    click([110, 110]);
    assert.match(gestures.cursorAt([x, y]), /resize$/, handle);
    drag([x + 3, y - 3], [x + 13, y + 17]);
    const [x1, y1, x2, y2] = of(editor, 'd2').box;
    const [w, n] = [handle.includes('w') ? 110 : 100, handle.includes('n') ? 120 : 100];
    const [e, s] = [handle.includes('e') ? 310 : 300, handle.includes('s') ? 320 : 300];
    assert.deepEqual([x1, y1, x2, y2], [w, n, e, s], handle);
  }
});

test('the area of a handle is at least ten CSS pixels at any zoom', () => {
  for (const zoom of [0.25, 1, 8]) {
    const { stage, editor } = scene({ zoom });
    editor.select(of(editor, 'd2').id);
    for (const [dx, dy] of [
      [5, 5],
      [-5, -5],
      [5, -5],
      [-5, 5],
    ]) {
      assert.equal(stage.handleUnder(100 * zoom + dx, 100 * zoom + dy), 'nw', `zoom ${zoom}`);
    }
  }
});

test('a box of a few pixels can still be moved by its inside', () => {
  const { drag, editor } = scene();
  const id = editor.add([400, 50, 404, 54], 0);
  drag([402, 52], [412, 62]);
  assert.deepEqual(editor.get(id).box, [410, 60, 414, 64]);
});

test('dragging empty ground, with the middle button, or with Space held pans', () => {
  const { drag, editor, stage } = scene();
  drag([400, 100], [410, 120]);
  assert.deepEqual([stage.view.x, stage.view.y], [10, 20]);
  drag([200, 200], [190, 180], { button: 1 });
  assert.deepEqual([stage.view.x, stage.view.y], [0, 0]);
  stage.panning = true;
  drag([200, 200], [205, 205]);
  assert.deepEqual([stage.view.x, stage.view.y], [5, 5]);
  assert.deepEqual(of(editor, 'd2').box, [100, 100, 300, 300]);
});

test('other buttons do nothing', () => {
  const { drag, editor } = scene();
  drag([120, 120], [180, 180], { button: 2 });
  assert.equal(editor.selected, null);
  assert.ok(!editor.canUndo);
});

test('a drag in the drawing tool adds a box of the chosen class and selects it', () => {
  const { drag, editor, stage } = scene();
  stage.set('drawClass', 2);
  stage.setTool('draw');
  drag([450, 200], [700, 100]);
  const box = editor.get(editor.selected);
  assert.deepEqual([box.box, box.class_id, box.status], [[450, 100, 640, 200], 2, 'added']);
  assert.equal(stage.tool, 'select');
});

test('Shift keeps the drawing tool', () => {
  const { drag, editor, stage } = scene();
  stage.setTool('draw');
  drag([400, 50], [450, 90], { shift: true });
  assert.deepEqual([stage.tool, editor.selected, editor.boxes.length], ['draw', null, 5]);
});

test('two clicks in the drawing tool are two corners', () => {
  const { click, editor, stage, gestures } = scene();
  stage.setTool('draw');
  click([400, 50]);
  assert.equal(editor.boxes.length, 4);
  gestures.move([420, 60]);
  click([440, 80]);
  assert.deepEqual(editor.get(editor.selected).box, [400, 50, 440, 80]);
});

test('a double click on a rejected ghost brings it back', () => {
  const { click, editor, gestures } = scene();
  editor.reject(of(editor, 'd3').id);
  editor.select(null);
  editor.setBox(of(editor, 'd2').id, [400, 10, 500, 60]); // nothing else lies there
  click([175, 175]);
  click([175, 175]);
  gestures.doubleClick();
  assert.equal(of(editor, 'd3').status, 'pending');
});

test('a double click on the ghost of a changed box brings the model’s box back', () => {
  const { click, editor, gestures } = scene();
  editor.setBox(of(editor, 'd2').id, [400, 10, 500, 60]);
  click([250, 250]);
  click([250, 250]);
  gestures.doubleClick();
  assert.deepEqual(of(editor, 'd2').box, [100, 100, 300, 300]);
});

test('a double click on a box is two clicks', () => {
  const { click, editor, gestures } = scene();
  click([250, 250]);
  click([250, 250]);
  gestures.doubleClick();
  assert.ok(!editor.canUndo);
});

test('a ghost cannot be dragged', () => {
  const { drag, editor } = scene();
  editor.reject(of(editor, 'd1').id);
  drag([30, 30], [90, 90]);
  assert.deepEqual(of(editor, 'd1').box, [10.5, 10.25, 60.125, 70.3]);
  assert.equal(of(editor, 'd1').status, 'rejected');
});

test('in a read-only case boxes can be selected, and dragging pans', () => {
  const { drag, click, stage, selected, editor } = scene();
  stage.set('readOnly', true);
  click([110, 110]);
  assert.equal(selected(), 'd2');
  drag([110, 110], [120, 110]);
  assert.deepEqual(of(editor, 'd2').box, [100, 100, 300, 300]);
  assert.equal(stage.view.x, 10);
  stage.setTool('draw');
  assert.equal(stage.tool, 'select');
});

test('what is hidden cannot be hit', () => {
  const { click, stage, selected } = scene();
  stage.set('hideAll', true);
  click([175, 175]);
  assert.equal(selected(), null);
  stage.set('hideAll', false);
  stage.set('modelVisible', false);
  click([175, 175]);
  assert.equal(selected(), null);
});

test('without the model’s layer one’s own boxes are still there', () => {
  const { stage, editor } = scene();
  editor.nudge(of(editor, 'd2').id, 5, 5);
  editor.accept(of(editor, 'd1').id);
  editor.add([1, 1, 9, 9], 0);
  stage.set('modelVisible', false);
  assert.deepEqual(
    stage.items().map(({ record }) => record.status),
    ['changed', 'added'],
  );
});

test('a cancelled drag leaves the box where it was', () => {
  const { gestures, editor } = scene();
  gestures.press([110, 110]);
  gestures.move([150, 150]);
  assert.ok(gestures.cancel());
  gestures.release([150, 150]);
  assert.deepEqual(of(editor, 'd2').box, [100, 100, 300, 300]);
  assert.ok(!editor.canUndo);
});

test('another case while a button is down is not drawn on by it', () => {
  const { gestures, stage } = scene();
  gestures.press([110, 110]);
  gestures.move([150, 150]);
  gestures.cancel();
  const next = firstReview();
  stage.setEditor(next);
  gestures.move([200, 200]);
  gestures.release([200, 200]);
  assert.ok(!next.canUndo);
});
