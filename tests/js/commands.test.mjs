import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Commands } from '../../ui/static/commands.mjs';
import { Gestures } from '../../ui/static/gestures.mjs';
import { KEYS } from '../../ui/static/keys.mjs';
import { Stage } from '../../ui/static/stage.mjs';
import { firstReview, of } from './fixtures.mjs';

function desk(editor = firstReview()) {
  const said = [];
  const stage = new Stage({ announce: (text) => said.push(text), invalidate: () => {} });
  stage.view.resize(656, 496);
  stage.view.show(640, 480);
  stage.setEditor(editor);
  stage.set('focused', true);
  const commands = new Commands(stage, new Gestures(stage));
  const run = (...actions) => actions.map((action) => commands.run(action)).at(-1);
  return {
    stage,
    editor,
    commands,
    run,
    said,
    last: () => said.at(-1),
    select: (id) => editor.select(of(editor, id).id),
  };
}

test('accept, reject, restore and delete are about the selected box', () => {
  const { run, select, editor } = desk();
  select('d1');
  run('accept');
  select('d2');
  run('reject');
  select('d3');
  run('delete');
  assert.deepEqual(
    editor.boxes.map(({ status }) => status),
    ['accepted', 'rejected', 'rejected', 'pending'],
  );
  run('restore');
  assert.equal(of(editor, 'd3').status, 'pending');
});

test('without a selection they say so', () => {
  const { run, last, editor } = desk();
  assert.equal(run('accept'), true);
  assert.equal(last(), 'No box selected');
  assert.equal(editor.pending, 4);
});

test('a class key is for the selected box, else for the next one that is drawn', () => {
  const { run, select, editor, stage, last } = desk();
  select('d1');
  run('class-3');
  assert.equal(of(editor, 'd1').class_id, 2);
  assert.equal(stage.drawClass, 0);
  run('leave', 'class-2');
  assert.equal(stage.drawClass, 1);
  run('class-9');
  assert.equal(stage.drawClass, 1);
  assert.equal(last(), 'There is no class 9');
});

test('arrows move by one pixel and by ten, with Ctrl they resize', () => {
  const { run, select, editor } = desk();
  select('d2');
  run('move-left', 'move-down-10', 'wider', 'shorter-10');
  assert.deepEqual(of(editor, 'd2').box, [99, 110, 300, 300]);
});

test('undo and redo go through what was done', () => {
  const { run, select, editor, last } = desk();
  select('d2');
  run('move-left', 'move-left', 'undo');
  assert.equal(of(editor, 'd2').box[0], 99);
  run('redo');
  assert.equal(of(editor, 'd2').box[0], 98);
  run('undo', 'undo', 'undo');
  assert.equal(last(), 'Nothing to undo');
});

test('a box can be drawn with keys alone', () => {
  const { run, editor, stage } = desk();
  run('class-2', 'draw');
  assert.deepEqual(stage.cursor, [320, 240]);
  run('move-left-10', 'corner', 'move-right-10', 'move-right', 'move-down-10', 'corner');
  const box = editor.get(editor.selected);
  assert.deepEqual([box.box, box.class_id, stage.tool], [[310, 240, 321, 250], 1, 'select']);
});

test('a second corner on a line with the first one makes no box', () => {
  const { run, editor, last } = desk();
  run('draw', 'corner', 'move-left-10', 'corner');
  assert.match(last(), /no area/);
  assert.equal(editor.boxes.length, 4);
});

test('the crosshair stays in the image and in sight', () => {
  const { run, stage } = desk();
  stage.view.zoomBy(4);
  run('draw');
  for (let i = 0; i < 90; i += 1) run('move-left-10');
  assert.equal(stage.cursor[0], 0);
  assert.ok(stage.view.shows([...stage.cursor, ...stage.cursor]));
});

test('Ctrl and an arrow take the crosshair a tenth of the view further', () => {
  const { run, stage } = desk();
  run('draw', 'wider');
  assert.deepEqual(stage.cursor, [370, 240]);
});

test('Escape leaves the corner, the tool, the selection, and then lets Tab out', () => {
  const { run, stage, editor, commands } = desk();
  run('draw', 'corner', 'leave');
  assert.deepEqual([stage.corner, stage.tool], [null, 'draw']);
  run('leave');
  assert.equal(stage.tool, 'select');
  run('next-box', 'leave');
  assert.equal(editor.selected, null);
  assert.equal(run('next-box'), true);
  run('leave', 'leave');
  assert.equal(run('next-box'), false);
  commands.focused();
  assert.equal(run('next-box'), true);
});

test('Escape during a drag takes the drag back', () => {
  const { stage, editor } = desk();
  const gestures = new Gestures(stage);
  const commands = new Commands(stage, gestures);
  gestures.press(stage.view.toScreen(110, 110));
  gestures.move(stage.view.toScreen(150, 150));
  commands.run('leave');
  assert.equal(of(editor, 'd2').status, 'pending');
});

test('Tab in an image without boxes is the browser’s', () => {
  assert.equal(desk(firstReview({ detections: [] })).run('next-box'), false);
});

test('the next box is brought into view only when it is out of it', () => {
  const { run, stage, editor } = desk();
  const before = { ...stage.view };
  run('next-box');
  assert.deepEqual({ ...stage.view }, before);
  stage.view.zoomBy(10, 8, 8);
  assert.ok(!stage.view.shows(of(editor, 'd2').box));
  run('next-box');
  assert.equal(editor.selected, of(editor, 'd2').id);
  assert.ok(stage.view.shows(of(editor, 'd2').box));
});

test('plus and minus zoom at the cursor, or at the middle without one', () => {
  const { run, stage } = desk();
  stage.pointer = [200, 100];
  const there = stage.view.toImage(200, 100);
  run('zoom-in', 'zoom-in');
  assert.ok(Math.abs(stage.view.toImage(200, 100)[0] - there[0]) < 1e-9);
  stage.pointer = null;
  const middle = stage.view.toImage(328, 248);
  run('zoom-out');
  assert.ok(Math.abs(stage.view.toImage(328, 248)[0] - middle[0]) < 1e-9);
  run('fit');
  assert.equal(stage.view.scale, stage.view.fitScale);
});

test('arrows move the image while nothing is selected, if the canvas has the focus', () => {
  const { run, stage } = desk();
  const { x } = stage.view;
  assert.equal(run('move-left'), true);
  assert.equal(stage.view.x, x + 40);
  stage.set('focused', false);
  assert.equal(run('move-left'), false);
});

test('what belongs to the page is left to it', () => {
  const { run } = desk();
  const pages = [
    'previous-case',
    'next-case',
    'submit',
    'skip',
    'escalate',
    'comment',
    'save',
    'help',
    'take-model',
    'take-first',
    'take-mine',
    'merge',
  ];
  for (const action of pages) assert.equal(run(action), false, action);
  assert.equal(run('toString'), false);
});

test('every action of the table is either the page’s or does something here', () => {
  const { run, stage } = desk();
  const here = KEYS.filter(({ action }) => {
    stage.set('focused', true);
    stage.setTool('select');
    return run(action);
  });
  assert.equal(here.length, KEYS.length - 12 - 1); // a corner is set while drawing only
});

test('a read-only case says so', () => {
  const { run, select, stage, last, editor } = desk();
  stage.set('readOnly', true);
  select('d1');
  for (const action of ['accept', 'reject', 'delete', 'class-2', 'duplicate', 'undo', 'draw']) {
    run(action);
    assert.equal(last(), 'This case is read-only', action);
  }
  assert.equal(editor.pending, 4);
});

test('selections and edits are announced', () => {
  const { run, said } = desk();
  run('next-box');
  assert.equal(said.at(-1), 'Box 4 of 4, RBC, 0.20, pending');
  run('accept');
  assert.equal(said.at(-1), 'Box 4 of 4, RBC, 0.20, accepted');
  run('move-left');
  assert.match(said.at(-1), /^At 499\.7, 400\.1, 139\.3 by 79\.9 pixels$/);
});

test('without a case no action is the canvas’s', () => {
  const { stage, run } = desk();
  stage.setEditor(null);
  for (const { action } of KEYS) assert.equal(run(action), false, action);
});
