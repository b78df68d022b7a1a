import assert from 'node:assert/strict';
import { test } from 'node:test';

import { CaseSession } from '../../ui/static/session.mjs';
import {
  DETECTIONS,
  FakeApi,
  deps,
  lostTo,
  offline,
  readOnly,
  settled,
  viewOf,
} from './desk_fakes.mjs';

async function opened(view = viewOf(), given = deps()) {
  const session = await CaseSession.open(view, given);
  const { clock, api, copies } = given;
  const box = (detection) => session.editor.boxes.find((each) => each.detection_id === detection);
  const saved = () => api.sent('draft').at(-1)?.[1].document;
  return { session, given, clock, api, copies, box, saved };
}

/** What the server has after `session` was edited and saved, as the view of the next opening. */
function viewWith(document, more = {}) {
  return viewOf('c1', { draft: { rev: 1, saved_at: 'T', document }, ...more });
}

test('an edit is in the browser at once, and at the server within two seconds', async () => {
  const { session, clock, api, copies, box } = await opened();
  session.editor.accept(box('d1').id);
  await settled();
  assert.equal((await copies.of('p1', 'c1')).length, 1);
  await clock.pass(2_000);
  const [[id, body]] = api.sent('draft');
  assert.deepEqual(
    [id, body.tab, body.token, body.rev, body.document.phase],
    ['c1', 'tab1', 7, 1, 'first'],
  );
  assert.deepEqual(await copies.of('p1', 'c1'), []);
});

test('a reload finds boxes, comment, key and time, and undo goes on', async () => {
  const one = await opened();
  one.session.editor.accept(one.box('d1').id);
  one.session.editor.reject(one.box('d2').id);
  one.session.setComment('odd');
  one.given.active.seconds = 42;
  await one.clock.pass(2_000);
  const two = await opened(viewWith(one.saved()));
  assert.equal(two.session.comment, 'odd');
  assert.equal(two.session.key, one.session.key);
  assert.equal(two.given.active.seconds, 42);
  assert.deepEqual(two.session.editor.boxes, one.session.editor.boxes);
  two.session.editor.undo();
  assert.equal(two.box('d2').status, 'pending');
});

test('a reload before the save finds the edit in this browser, and saves it', async () => {
  const one = await opened();
  one.session.editor.accept(one.box('d1').id);
  one.session.stop();
  const two = await opened(viewOf(), deps({ copies: one.copies }));
  assert.equal(two.session.restored, 'browser');
  assert.equal(two.box('d1').status, 'accepted');
  await two.clock.pass(2_000);
  assert.equal(two.api.sent('draft').length, 1);
});

test('a draft of other detections is left alone, and the case begins anew', async () => {
  const one = await opened();
  one.session.editor.accept(one.box('d1').id);
  await one.clock.pass(2_000);
  const layers = { model: [{ ...DETECTIONS[0], id: 'other' }], first: [], second: [] };
  const two = await opened(viewWith(one.saved(), { layers }));
  assert.equal(two.session.restored, null);
  assert.equal(two.session.editor.pending, 1);
});

test('a case that was lost is read-only, and the edit that was not saved is kept as lost', async () => {
  const api = new FakeApi({ draft: lostTo('stale_lease') });
  const { session, clock, copies, box } = await opened(viewOf(), deps({ api }));
  session.editor.accept(box('d1').id);
  await clock.pass(2_000);
  assert.equal(session.lost.code, 'stale_lease');
  assert.equal(session.lost.unsaved, true);
  assert.equal(session.editable, false);
  assert.equal(session.editor.reject(box('d2').id), false);
  const [copy] = await copies.of('p1', 'c1');
  assert.equal(copy.orphaned, true);
});

test('after a lost heartbeat the edit is sent once more, for the server to keep', async () => {
  const api = new FakeApi({
    heartbeat: lostTo('stale_lease'),
    draft: [offline(), lostTo('stale_lease')],
  });
  const { session, clock, box } = await opened(viewOf(), deps({ api }));
  await clock.pass(29_100);
  session.editor.accept(box('d1').id);
  await clock.pass(900);
  assert.equal(session.lost.code, 'stale_lease');
  assert.equal(api.sent('draft').length, 2);
  const [, body] = api.sent('draft')[1];
  assert.equal(body.token, 7);
  assert.equal(
    body.document.editor.boxes.some(({ status }) => status === 'accepted'),
    true,
  );
});

test('opened again, the lost edit is offered and not restored; brought back, it is saved', async () => {
  const copies = deps().copies;
  const api = new FakeApi({ draft: lostTo('stale_lease') });
  const one = await opened(viewOf(), deps({ api, copies }));
  one.session.editor.accept(one.box('d1').id);
  await one.clock.pass(2_000);
  const two = await opened(viewOf(), deps({ copies }));
  assert.equal(two.session.editor.pending, 2);
  assert.equal(two.session.offers.length, 1);
  assert.equal(await two.session.bringBack(two.session.offers[0]), true);
  assert.equal(two.box('d1').status, 'accepted');
  assert.deepEqual(two.session.offers, []);
  assert.equal(two.api.sent('draft').length, 1);
  assert.deepEqual(await copies.of('p1', 'c1'), []);
  two.session.editor.undo();
  assert.equal(two.session.editor.pending, 2);
});

test('brought back over other edits it is one step, and undo gives those back', async () => {
  const one = await opened();
  one.session.editor.reject(one.box('d2').id);
  await one.clock.pass(2_000);
  const recovered = [{ id: 'r1', saved_at: 'T', document: one.saved() }];
  const two = await opened(viewOf('c1', { recovered }));
  two.session.editor.accept(two.box('d1').id);
  await two.session.bringBack(two.session.offers[0]);
  assert.deepEqual([two.box('d1').status, two.box('d2').status], ['pending', 'rejected']);
  two.session.editor.undo();
  assert.deepEqual([two.box('d1').status, two.box('d2').status], ['accepted', 'pending']);
  assert.deepEqual(two.api.sent('discardDraft'), [['r1']]);
});

test('a lost edit that is discarded goes, here and at the server', async () => {
  const one = await opened();
  one.session.editor.accept(one.box('d1').id);
  await one.clock.pass(2_000);
  const recovered = [{ id: 'r1', saved_at: 'T', document: one.saved() }];
  const { session, api } = await opened(viewOf('c1', { recovered }));
  await session.discard(session.offers[0]);
  assert.deepEqual([session.offers, api.sent('discardDraft')], [[], [['r1']]]);
});

test('without a lease nothing can be changed and nothing is sent', async () => {
  const { session, clock, api, box } = await opened(viewOf('c1', readOnly('held_elsewhere', true)));
  assert.equal(session.editable, false);
  session.editor.accept(box('d1').id);
  session.setComment('x');
  await clock.pass(120_000);
  assert.equal(session.editor.pending, 2);
  assert.deepEqual(api.calls, []);
});

test('a copy of this browser stays untouched while the case is read-only', async () => {
  const one = await opened();
  one.session.editor.accept(one.box('d1').id);
  one.session.stop();
  await opened(viewOf('c1', readOnly('held_by_other')), deps({ copies: one.copies }));
  assert.equal((await one.copies.of('p1', 'c1')).length, 1);
});

test('the first answer accounts for every detection, and says what was accepted all at once', async () => {
  const { session, box } = await opened();
  session.editor.reject(box('d1').id);
  const answer = session.firstAnswer({ escalate: false });
  assert.deepEqual(
    answer.boxes.map((each) => [each.detection_id, each.box]),
    [['d2', DETECTIONS[1].box]],
  );
  assert.deepEqual([answer.rejected, answer.no_finding, answer.bulk_accepted], [['d1'], false, 1]);
  assert.deepEqual(Object.keys(answer.boxes[0]).sort(), ['box', 'class_id', 'detection_id', 'id']);
});

test('an edit after an attempt that got no answer is another answer, with another key', async () => {
  const { session, box } = await opened();
  const { key } = session;
  session.attempted = true;
  session.editor.accept(box('d1').id);
  assert.notEqual(session.key, key);
});

test('while it is handed in nothing can be changed', async () => {
  const { session, box } = await opened();
  session.freeze();
  assert.equal(session.editor.accept(box('d1').id), false);
  session.freeze(false);
  assert.equal(session.editor.accept(box('d1').id), true);
});

test('a blind answer names boxes only', async () => {
  const { session } = await opened(viewOf('c1', { phase: 'blind' }));
  session.editor.add([1, 2, 30, 40], 1);
  const [box] = session.blindAnswer().boxes;
  assert.deepEqual(Object.keys(box).sort(), ['box', 'class_id', 'id']);
});

test('a reopened case begins with what was settled, every detection answered', async () => {
  const annotation = [
    { id: 'a1', box: [12, 12, 52, 52], class_id: 0, origin: 'moved', detection_id: 'd1' },
    { id: 'a2', box: [300, 300, 340, 340], class_id: 1, origin: 'added', detection_id: null },
  ];
  const { session } = await opened(viewOf('c1', { annotation }));
  assert.deepEqual(
    session.editor.boxes.map((box) => [box.detection_id, box.status]),
    [
      ['d1', 'changed'],
      [null, 'added'],
      ['d2', 'rejected'],
    ],
  );
  assert.equal(session.editor.canUndo, false);
});

const group = {
  id: 'g',
  model: 'd1',
  first: 'f1',
  second: null,
  agree: false,
  differences: ['missing_in_second'],
  text: '',
};

function settleView() {
  const first = [
    { id: 'f1', box: [10, 10, 50, 50], class_id: 0, origin: 'accepted', detection_id: 'd1' },
  ];
  return viewOf('c1', {
    phase: 'settle',
    layers: { model: [DETECTIONS[0]], first, second: [] },
    groups: [group],
  });
}

test('a choice in the second review is one step, is saved, and selects its box', async () => {
  const { session, clock, api } = await opened(settleView());
  assert.equal(session.settling.choose(group, 'second'), false);
  assert.equal(session.settling.choose(group, 'first'), true);
  assert.equal(session.editor.selected, session.settling.entryOf(group).box.id);
  await clock.pass(2_000);
  assert.equal(api.sent('draft').length, 1);
  session.editor.undo();
  assert.equal(session.settling.entryOf(group).settled, false);
});

test('a box drawn over an open group settles it, in one step', async () => {
  const { session } = await opened(settleView());
  const id = session.editor.add([15, 15, 55, 55], 0);
  session.settling.drawn(id);
  const { settled: done, how, box } = session.settling.entryOf(group);
  assert.deepEqual([done, how, box.id], [true, 'redrawn', id]);
  session.editor.undo();
  assert.deepEqual(session.editor.boxes, []);
});

test('a box drawn where nobody had one stays an extra box', async () => {
  const { session } = await opened(settleView());
  session.settling.drawn(session.editor.add([400, 400, 440, 440], 0));
  assert.equal(session.settling.entryOf(group).settled, false);
  assert.equal(session.editor.boxes.length, 1);
});

test('leaving releases the case once, handing in leaves no copy behind', async () => {
  const one = await opened();
  await one.session.leave();
  assert.deepEqual(one.api.sent('release'), [['c1', { tab: 'tab1', token: 7 }]]);
  await one.session.leave();
  assert.equal(one.api.sent('release').length, 1);
  const two = await opened();
  two.session.editor.accept(two.box('d1').id);
  await two.session.finished();
  assert.deepEqual(await two.copies.of('p1', 'c1'), []);
});

test('a reopened case with a class that is gone begins with the boxes of the model', async () => {
  const annotation = [
    { id: 'a1', box: [1, 1, 9, 9], class_id: 99, origin: 'added', detection_id: null },
  ];
  const { session } = await opened(viewOf('c1', { annotation }));
  assert.equal(session.editor.pending, 2);
});

test('a kept edit that does not fit the case changes nothing and stays offered', async () => {
  const document = { phase: 'first', editor: { version: 1, phase: 'first', boxes: [] } };
  const recovered = [{ id: 'r1', saved_at: 'T', document }];
  const { session, api } = await opened(viewOf('c1', { recovered }));
  await assert.rejects(session.bringBack(session.offers[0]));
  assert.equal(session.editor.pending, 2);
  assert.equal(session.offers.length, 1);
  assert.deepEqual(api.sent('discardDraft'), []);
});
