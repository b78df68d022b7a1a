import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createApi, parameters, readLines } from '../../ui/static/audit/api.mjs';
import {
  count,
  followable,
  gapsIn,
  outcomeOf,
  proofWords,
  verifiedWords,
  witnessWords,
} from '../../ui/static/audit/words.mjs';

const answer = (status, body) => async () => new Response(JSON.stringify(body), { status });

test('only what is filled in is asked for', () => {
  assert.equal(parameters({ person: 'ana', case: '', before: null, forward: false }), 'person=ana');
  assert.equal(parameters({ model: 'detector/2', before: 0 }), 'model=detector%2F2&before=0');
});

test('a refusal comes with its words', async () => {
  const error = { code: 'not_found', message: 'There is no event 9.', hint: 'Look at the latest.' };
  const api = createApi({ fetch: answer(404, { error }) });
  await assert.rejects(api.event(9), { message: error.message, hint: error.hint, status: 404 });
});

test('a broken gateway, no connection and the end of a session are said in words', async () => {
  const broken = createApi({ fetch: async () => new Response('<html>', { status: 502 }) });
  await assert.rejects(broken.state(), { message: 'The server answered 502.' });
  const gone = createApi({ fetch: () => Promise.reject(new TypeError('failed')) });
  await assert.rejects(gone.state(), { message: 'No connection to the server.' });
  const out = createApi({ fetch: answer(401, {}) });
  await assert.rejects(out.state(), { message: 'You are signed out.' });
});

test('reports come line by line however the bytes are cut', async () => {
  const reports = [{ done: 1, total: 2 }, { verified: { root: 'ü' } }];
  const bytes = new TextEncoder().encode(reports.map((each) => `${JSON.stringify(each)}\n`).join(''));
  for (let size = 1; size <= bytes.length; size += 1) {
    const stream = new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) {
          controller.enqueue(bytes.slice(at, at + size));
        }
        controller.close();
      },
    });
    const found = [];
    await readLines(stream, (report) => found.push(report));
    assert.deepEqual(found, reports);
  }
});

test('what a search is about can be followed if it is one thing', () => {
  assert.deepEqual(followable({ case: ' c1 ', type: 'case' }), { kind: 'case', value: 'c1' });
  assert.deepEqual(followable({ request_id: 'r1' }), { kind: 'request', value: 'r1' });
  assert.deepEqual(followable({ kind: 'folds', value: 'f' }), { kind: 'folds', value: 'f' });
  assert.equal(followable({ case: 'c1', model: 'detector/2' }), null);
  assert.equal(followable({ person: 'ana' }), null);
  assert.equal(followable({ kind: 'person', value: 'ana' }), null);
});

test('numbers and outcomes in words', () => {
  assert.equal(count(1, 'entry'), '1 entry');
  assert.equal(count(1_000_000, 'entry'), '1,000,000 entries');
  assert.equal(count(0, 'hash'), '0 hashes');
  assert.equal(outcomeOf('done'), '');
  assert.equal(outcomeOf('failed'), 'failed');
});

test('a proof names its checkpoint, and who has signed it', () => {
  const words = proofWords({ index: 7, size: 9, root: 'ab', origin: 'log.test', hashes: 1 });
  assert.match(words, /Entry 7 is in the log log\.test: 1 hash leads .* root ab .* 9 entries/);
  assert.match(witnessWords([])[0], /No witness is named/);
  const signed = witnessWords([
    { name: 'w1', at: '2026-01-01 00:00:00 UTC' },
    { name: 'w2', at: '' },
  ]);
  assert.deepEqual(signed, [
    'w1 cosigned this checkpoint at 2026-01-01 00:00:00 UTC.',
    'w2 has not signed this checkpoint.',
  ]);
  assert.equal(verifiedWords({ size: 2, root: 'ab', seen: { w1: 1 } }).length, 2);
  const gone = verifiedWords({ size: 600, root: 'ab', seen: {}, purged: 512 });
  assert.match(gone[1], /first 512 entries were purged/);
  const stamped = { size: 1200, at: '2026-11-30 03:00:00 UTC' };
  const [, said] = verifiedWords({ size: 1300, root: 'ab', seen: {}, stamped });
  assert.match(said, /it had 1,200 entries at 2026-11-30 03:00:00 UTC/);
});

test('gaps are counted wherever they are', () => {
  const leaf = { gaps: ['one'], steps: [] };
  assert.equal(gapsIn({ gaps: ['two'], steps: [leaf, { gaps: [], steps: [leaf] }] }), 3);
});
