import assert from 'node:assert/strict';
import { test } from 'node:test';

import { History, MAX_STEPS, applied, changeOf } from '../../ui/static/history.mjs';
import { differences } from '../../ui/static/records.mjs';
import { numbers } from './random.mjs';

const box = (id, value = 0) =>
  Object.freeze({ id, box: Object.freeze([value, 0, 9, 9]), class_id: 0 });
const stepTo = (before, after) => ({ label: 'test', changes: differences(before, after) });

test('a change holds only the fields that differ', () => {
  const change = changeOf('a', 0, box('a'), { ...box('a'), class_id: 2 });
  assert.deepEqual(change, { id: 'a', at: 0, before: { class_id: 0 }, after: { class_id: 2 } });
  assert.equal(changeOf('a', 0, box('a'), box('a')), null);
});

test('the difference of any two lists leads from one to the other and back', () => {
  const random = numbers(6);
  for (let i = 0; i < 500; i += 1) {
    const before = Array.from({ length: 8 }, (_, n) => box(`b${n}`));
    const after = before
      .filter(() => random() < 0.6)
      .map((b) => (random() < 0.5 ? box(b.id, 5) : b));
    for (let n = 0; n < 3; n += 1) {
      after.splice(Math.floor(random() * (after.length + 1)), 0, box(`n${n}`));
    }
    const step = stepTo(before, after);
    assert.deepEqual(applied(before, step, false), after);
    assert.deepEqual(applied(after, step, true), before);
  }
});

test('a step that does not fit is refused instead of applied in part', () => {
  const step = stepTo([box('a')], [box('a', 3)]);
  assert.throws(() => applied([box('b')], step, true), /does not fit/);
});

test('no more than 200 steps are kept, the latest ones', () => {
  const history = new History();
  for (let i = 0; i < MAX_STEPS + 50; i += 1) history.push({ label: String(i), changes: [] });
  let count = 0;
  let last = null;
  for (let step = history.back(); step !== null; step = history.back()) {
    [count, last] = [count + 1, step];
  }
  assert.equal(count, 200);
  assert.equal(last.label, '50');
});

test('a new step forgets what had been undone', () => {
  const history = new History();
  history.push({ label: 'one', changes: [] });
  history.back();
  assert.ok(history.canRedo);
  history.push({ label: 'two', changes: [] });
  assert.ok(!history.canRedo);
});

test('a document that would be too large loses the oldest steps first', () => {
  const history = new History();
  for (let i = 0; i < 100; i += 1) history.push(stepTo([], [box(`b${i}`)]));
  const all = JSON.stringify(history.toDocument(1e6)).length;
  const half = history.toDocument(all / 2);
  assert.ok(JSON.stringify(half).length < all / 2 + 200);
  assert.ok(half.undo.length > 30 && half.undo.length < 60);
  assert.equal(half.undo.at(-1).changes[0].id, 'b99');
});

test('a stored history is asked whether it fits the boxes', () => {
  const [one, two] = [[box('a')], [box('a', 1)]];
  const step = stepTo(one, two);
  assert.ok(new History([step]).fits(two));
  assert.ok(!new History([step]).fits([]));
  assert.ok(
    !new History([], [{ label: 'x', changes: [{ id: 'zz', at: 0, before: {}, after: {} }] }]).fits(
      two,
    ),
  );
  assert.ok(!new History([{ label: 'no changes' }]).fits(two));
});
