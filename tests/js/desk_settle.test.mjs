import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Editor } from '../../ui/static/core.mjs';
import { Settlement, shortWords } from '../../ui/static/settle.mjs';
import { ME } from './desk_fakes.mjs';

const LAYERS = {
  model: [
    { id: 'm1', box: [0, 0, 10, 10], class_id: 0, confidence: 0.9 },
    { id: 'm2', box: [100, 100, 140, 140], class_id: 0, confidence: 0.4 },
    { id: 'm3', box: [300, 300, 340, 340], class_id: 1, confidence: 0.3 },
  ],
  first: [
    { id: 'f1', box: [0, 0, 10, 10], class_id: 0, detection_id: 'm1' },
    { id: 'f2', box: [110, 110, 150, 150], class_id: 1, detection_id: 'm2' },
    { id: 'f4', box: [200, 10, 240, 50], class_id: 1, detection_id: null },
  ],
  second: [
    { id: 's1', box: [1, 1, 11, 11], class_id: 0 },
    { id: 's2', box: [120, 120, 160, 160], class_id: 1 },
  ],
};

const group = (id, [model, first, second], differences = []) => ({
  id,
  model,
  first,
  second,
  differences,
  agree: differences.length === 0,
  text: differences.join(),
});

const ALL = group('g1', ['m1', 'f1', 's1']);
const THREE = group('g2', ['m2', 'f2', 's2'], ['moved', 'class']);
const ONLY_MODEL = group('g3', ['m3', null, null], ['only_model']);
const ONLY_FIRST = group('g4', [null, 'f4', null], ['only_first']);
const GROUPS = [THREE, ONLY_MODEL, ONLY_FIRST, ALL];

function settling({ groups = GROUPS, layers = LAYERS, reasons = ME.settle_reasons } = {}) {
  let made = 0;
  const settlement = new Settlement({ groups, layers, reasons, newId: () => `n${(made += 1)}` });
  const editor = new Editor({
    width: 640,
    height: 480,
    classes: ME.classes,
    phase: 'settle',
    boxes: settlement.start(),
  });
  const choose = (which, choice) =>
    editor.replaceAll(settlement.choose(editor.boxes, which, choice));
  const entry = (which) =>
    settlement.read(editor.boxes).entries.find((each) => each.group === which);
  const settleAll = () => {
    choose(THREE, 'first');
    choose(ONLY_MODEL, 'drop');
    choose(ONLY_FIRST, 'first');
  };
  const answer = (more) => settlement.answer(editor.boxes, more);
  const final = (which) => answer().boxes.find(({ id }) => id === entry(which).box.id);
  return { settlement, editor, choose, entry, settleAll, answer, final };
}

test('where all agree the first box is taken beforehand, and only there', () => {
  const { settlement, editor, entry } = settling();
  assert.equal(editor.boxes.length, 1);
  assert.deepEqual(
    [entry(ALL).how, entry(ALL).from, entry(ALL).reason],
    ['picked', 'first', 'agreed'],
  );
  const { settled, total, agreed, open } = settlement.read(editor.boxes);
  assert.deepEqual([settled, total, agreed, open.length], [0, 3, 1, 3]);
});

test('a picked box is its source to the last digit, and names all boxes of its group', () => {
  const odd = {
    ...LAYERS,
    first: [
      { id: 'f2', box: [110.1, 110.20000000000002, 150.3, 150.4], class_id: 1, detection_id: 'm2' },
    ],
  };
  const { choose, final } = settling({ groups: [THREE], layers: odd });
  choose(THREE, 'first');
  const { box, class_id, sources, how } = final(THREE);
  assert.deepEqual(box, [110.1, 110.20000000000002, 150.3, 150.4]);
  assert.deepEqual([class_id, sources, how], [1, ['f2', 'm2', 's2'], 'picked']);
});

test('each layer can be picked where it has a box, and nowhere else', () => {
  const { settlement } = settling();
  const choices = ['model', 'first', 'second', 'merge', 'drop'];
  const can = (which) => choices.filter((choice) => settlement.can(which, choice));
  assert.deepEqual(can(THREE), choices);
  assert.deepEqual(can(ONLY_MODEL), ['model', 'drop']);
  assert.deepEqual(can(ONLY_FIRST), ['first', 'drop']);
});

test('a merged box is the mean of the boxes, of the class that most have', () => {
  const { choose, final } = settling();
  choose(THREE, 'merge');
  const { box, class_id, sources, how } = final(THREE);
  assert.deepEqual(box, [110, 110, 150, 150]);
  assert.deepEqual([class_id, how], [1, 'merged']);
  assert.deepEqual(sources, ['m2', 'f2', 's2']);
});

test("in a tie of classes a merged box has the first reviewer's", () => {
  const both = group('g', ['m2', 'f2', null], ['class']);
  const { choose, entry } = settling({ groups: [both] });
  choose(both, 'merge');
  assert.equal(entry(both).box.class_id, 1);
});

test('a merged box stays merged though it equals one of its sources', () => {
  const { choose, entry } = settling();
  choose(THREE, 'merge'); // here the mean is where the first box is
  assert.equal(entry(THREE).how, 'merged');
});

test('editing what was picked or merged makes it redrawn, from the same sources', () => {
  for (const choice of ['second', 'merge']) {
    const { choose, editor, entry, final } = settling();
    choose(THREE, choice);
    editor.nudge(entry(THREE).box.id, 3, 0);
    assert.equal(entry(THREE).how, 'redrawn');
    assert.deepEqual(new Set(final(THREE).sources), new Set(['m2', 'f2', 's2']));
  }
});

test('another class makes it redrawn too; taken back it is picked again', () => {
  const { choose, editor, entry } = settling();
  choose(THREE, 'first');
  editor.setClass(entry(THREE).box.id, 0);
  assert.equal(entry(THREE).how, 'redrawn');
  editor.undo();
  assert.deepEqual([entry(THREE).how, entry(THREE).from], ['picked', 'first']);
});

test('a dropped group is settled and becomes no box', () => {
  const { choose, entry, answer, settleAll } = settling();
  settleAll();
  choose(THREE, 'drop');
  assert.deepEqual([entry(THREE).settled, entry(THREE).dropped], [true, true]);
  const { boxes, dropped } = answer();
  assert.equal(boxes.length, 2);
  assert.deepEqual(dropped, [
    { sources: ['m2', 'f2', 's2'], reason: 'false_positive' },
    { sources: ['m3'], reason: 'false_positive' },
  ]);
});

test('every box of the three layers is in a final box or dropped', () => {
  const { settleAll, answer } = settling();
  settleAll();
  const { boxes, dropped } = answer();
  const named = [...boxes, ...dropped].flatMap(({ sources }) => sources);
  const all = Object.values(LAYERS).flatMap((layer) => layer.map(({ id }) => id));
  assert.deepEqual(new Set(named), new Set(all));
  assert.equal(named.length, all.length);
});

test('undo and redo bring back what was decided', () => {
  const { choose, editor, entry } = settling();
  choose(THREE, 'model');
  choose(THREE, 'drop');
  editor.undo();
  assert.equal(entry(THREE).from, 'model');
  editor.undo();
  assert.equal(entry(THREE).settled, false);
  editor.redo();
  editor.redo();
  assert.equal(entry(THREE).dropped, true);
});

test('a draft brings back what was decided', () => {
  const { settlement, choose, editor } = settling();
  choose(THREE, 'merge');
  choose(ONLY_MODEL, 'drop');
  const document = JSON.parse(JSON.stringify(editor.toDocument()));
  const again = Editor.fromDocument(document, {
    width: 640,
    height: 480,
    classes: ME.classes,
    phase: 'settle',
  });
  const { entries } = settlement.read(again.boxes);
  const found = (which) => entries.find((entry) => entry.group === which);
  assert.equal(found(THREE).how, 'merged');
  assert.equal(found(ONLY_MODEL).dropped, true);
  assert.equal(found(ONLY_FIRST).settled, false);
});

test('the reason that is offered follows from the difference and the choice', () => {
  const { choose, entry } = settling();
  choose(THREE, 'first');
  assert.equal(entry(THREE).reason, 'class');
  choose(THREE, 'drop');
  assert.equal(entry(THREE).reason, 'false_positive');
  choose(ONLY_FIRST, 'first');
  assert.equal(entry(ONLY_FIRST).reason, 'missed');
});

test('a reason that was chosen by hand stays when the choice changes', () => {
  const { settlement, editor, choose, entry } = settling();
  choose(THREE, 'first');
  editor.replaceAll(settlement.withReason(editor.boxes, THREE, 'other'));
  choose(THREE, 'second');
  assert.equal(entry(THREE).reason, 'other');
});

test('reasons that the server does not know are not offered', () => {
  const { choose, entry } = settling({ reasons: [{ code: 'other', text: '' }] });
  choose(THREE, 'first');
  assert.equal(entry(THREE).reason, 'other');
});

test('the reason of the whole is the most frequent one, and can be another', () => {
  const { choose, answer, settleAll } = settling();
  settleAll();
  choose(THREE, 'drop');
  assert.equal(answer().reason, 'false_positive');
  assert.equal(answer({ reason: 'boundary' }).reason, 'boundary');
});

test('without a difference the reason of the whole is that all agree', () => {
  const { answer } = settling({ groups: [ALL] });
  assert.equal(answer().reason, 'agreed');
});

test('a final box goes back to the detection of its group', () => {
  const { settleAll, final } = settling();
  settleAll();
  assert.deepEqual([final(ALL).detection_id, final(THREE).detection_id], ['m1', 'm2']);
  assert.equal(final(ONLY_FIRST).detection_id, null);
});

test('a detection goes into one box only, that of its own group first', () => {
  const layers = {
    ...LAYERS,
    first: [{ id: 'f9', box: [400, 0, 440, 40], class_id: 0, detection_id: 'm3' }],
  };
  const moved = group('a', [null, 'f9', null], ['only_first']);
  const still = group('b', ['m3', null, null], ['only_model']);
  const both = settling({ groups: [moved, still], layers });
  both.choose(moved, 'first');
  both.choose(still, 'model');
  assert.deepEqual([both.final(moved).detection_id, both.final(still).detection_id], [null, 'm3']);
  both.choose(still, 'drop');
  assert.equal(both.final(moved).detection_id, 'm3');
});

test('a box that nobody had is an extra one, without sources', () => {
  const { settlement, editor, settleAll, answer } = settling();
  settleAll();
  const id = editor.add([500, 400, 540, 440], 1);
  const { extra } = settlement.read(editor.boxes);
  assert.deepEqual(
    extra.map((box) => box.id),
    [id],
  );
  const { sources, how, detection_id, reason } = answer().boxes.at(-1);
  assert.deepEqual([sources, how, detection_id, reason], [[], 'redrawn', null, 'missed']);
});

test('a copy of a settled box is an extra one', () => {
  const { settlement, editor, entry } = settling();
  editor.duplicate(entry(ALL).box.id);
  assert.equal(settlement.read(editor.boxes).extra.length, 1);
});

test('a new box is about the open group that it most overlaps', () => {
  const { settlement, editor, choose } = settling();
  assert.equal(settlement.groupUnder(editor.boxes, { box: [125, 125, 165, 165] }), THREE);
  assert.equal(settlement.groupUnder(editor.boxes, { box: [500, 400, 540, 440] }), null);
  choose(THREE, 'model');
  assert.equal(settlement.groupUnder(editor.boxes, { box: [125, 125, 165, 165] }), null);
});

test('an id that two layers share does not confuse them', () => {
  const layers = {
    model: [{ id: 'x', box: [0, 0, 10, 10], class_id: 0 }],
    first: [{ id: 'x', box: [2, 2, 12, 12], class_id: 1, detection_id: 'x' }],
    second: [],
  };
  const twin = group('g', ['x', 'x', null], ['class', 'missing_in_second']);
  const { choose, final } = settling({ groups: [twin], layers });
  choose(twin, 'first');
  assert.deepEqual([final(twin).box, final(twin).sources], [[2, 2, 12, 12], ['x']]);
});

test('a group in short says every way in which it differs', () => {
  assert.equal(shortWords(THREE), 'Edges, class');
  assert.equal(shortWords(ALL), 'All agree');
  assert.equal(shortWords({ differences: ['brand_new'] }), 'Brand new');
});
