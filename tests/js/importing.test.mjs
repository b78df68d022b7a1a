import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Refused, SignedOut, Unreachable } from '../../ui/static/api.mjs';
import { goesOn, Importing, PATTERNS, stepOf } from '../../ui/static/uploads/importing.mjs';

const ZIP = { size: 200 };
const REPORT = { images: 2, boxes: 1, unchanged: 0, subjects: 1, problem_count: 0, problems: [] };
const status = (state, more = {}) => ({
  id: 'i1',
  state,
  size: 200,
  received: 0,
  done: 0,
  total: 0,
  report: null,
  error: null,
  ...more,
});

/** Answers in order: a status, or an error to throw. */
function world(...answers) {
  const asked = [];
  const waiting = [];
  const importing = new Importing({
    send: async (method, path, how = {}) => {
      asked.push([method, path, how]);
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      return typeof answer === 'function' ? answer(how) : answer;
    },
    onChange: () => {},
    clock: { later: (fn, ms) => waiting.push({ fn, ms }), cancel: () => waiting.splice(0) },
  });
  const tick = () => waiting.splice(0)[0].fn();
  return { importing, asked, waiting, tick };
}

test('a ZIP is announced, sent, and followed until it is over', async () => {
  const { importing, asked, waiting, tick } = world(
    status('receiving'),
    status('unpacking'),
    status('importing', { done: 1, total: 2 }),
    status('done', { report: REPORT }),
  );
  await importing.begin({ format: 'voc' }, ZIP);
  assert.deepEqual(asked[0], ['POST', '', { body: { format: 'voc', size: 200 } }]);
  assert.deepEqual(asked[1].slice(0, 2), ['PUT', '/i1/archive']);
  assert.equal(asked[1][2].body, ZIP);
  await tick();
  assert.deepEqual(stepOf(importing.status), ['Importing: image 1 of 2', 0.5]);
  await tick();
  assert.deepEqual(stepOf(importing.status), ['2 images with 1 box of 1 subject came in.', 1]);
  assert.equal(waiting.length, 0, 'what is over is not asked about again');
});

test('nothing is sent when the server has another import to do', async () => {
  const refusal = new Refused(409, { message: 'Another import is going on.', hint: 'Wait.' });
  const { importing, asked } = world(refusal);
  await importing.begin({}, ZIP);
  assert.equal(asked.length, 1);
  assert.deepEqual(importing.problem, { message: 'Another import is going on.', hint: 'Wait.' });
  assert.equal(importing.busy, false);
});

test('while the ZIP is sent the page says how far, and can be told to stop', async () => {
  const { importing, waiting } = world(status('receiving'), (how) => {
    how.onProgress(0.5);
    assert.deepEqual(stepOf(importing.status), ['Sending: 100 B of 200 B', 0.5]);
    assert.equal(importing.sending, true);
    importing.cancel();
    assert.equal(how.signal.aborted, true);
    throw new Unreachable('aborted');
  });
  await importing.begin({}, ZIP);
  assert.equal(importing.problem.message, 'Cancelled.');
  assert.equal(importing.status, null);
  assert.equal(importing.sending, false);
  assert.equal(waiting.length, 0);
});

test('a second click begins no second import', async () => {
  const { importing, asked } = world(status('receiving'), status('done', { report: REPORT }));
  await Promise.all([importing.begin({}, ZIP), importing.begin({}, ZIP)]);
  assert.equal(asked.length, 2);
});

test('a server that is away for a moment is asked again later', async () => {
  const { importing, waiting, tick } = world(
    status('importing'),
    new Unreachable('error'),
    status('done', { report: REPORT }),
  );
  await importing.show('i1');
  await tick();
  assert.match(importing.problem.message, /No connection/);
  assert.ok(waiting[0].ms >= 5000);
  await tick();
  assert.equal(importing.problem, null);
  assert.equal(importing.status.state, 'done');
});

test('whoever is signed out is told so, and the server is left in peace', async () => {
  const { importing, waiting } = world(new SignedOut());
  await importing.show('i1');
  assert.match(importing.problem.hint, /Sign in again/);
  assert.equal(waiting.length, 0);
});

test('a failed import says why and what to do', () => {
  const failed = status('failed', { error: { message: 'It is no ZIP.', hint: 'Pack it again.' } });
  assert.deepEqual(stepOf(failed), ['Not imported. It is no ZIP. Pack it again.', null]);
  assert.equal(goesOn(failed), false);
});

test('what was here already is counted apart', () => {
  const report = { ...REPORT, images: 1, boxes: 3, unchanged: 4 };
  assert.equal(
    stepOf(status('done', { report }))[0],
    '1 image with 3 boxes of 1 subject came in; 4 were here already.',
  );
});

test('the patterns find the same subjects as uploads do', () => {
  const subject = (pattern, name) => new RegExp(pattern).exec(name)?.[1] ?? '';
  assert.equal(subject(PATTERNS.name, 'b_c_d'), 'b');
  assert.equal(subject(PATTERNS.name, 'train/b_c'), 'b');
  assert.equal(subject(PATTERNS.name, 'a_a/bc'), '');
  assert.equal(subject(PATTERNS.folder, 'p/a/b'), 'a');
  assert.equal(subject(PATTERNS.folder, 'b'), '');
});
