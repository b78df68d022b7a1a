import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Refused } from '../../ui/static/api.mjs';
import { Flow } from '../../ui/static/flow.mjs';
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

const DONE = { outcome: { state: 'settled', reasons: [] }, next: viewOf('c2') };

function desk(answers = {}, { memory = { caseId: null, choice: null }, ...more } = {}) {
  const said = [];
  const changed = [];
  const goneTo = [];
  const screen = {
    show: async () => {},
    changed: () => {},
    announce: (text) => said.push(text),
    caseChanged: (id) => changed.push(id),
    goToGroup: (group) => goneTo.push(group.id),
  };
  const api = new FakeApi({ next: { case: viewOf('c1') }, ...answers });
  const given = deps({ api, screen, memory, ...more });
  const flow = new Flow(given);
  const answerAll = () => {
    for (const box of flow.session.editor.boxes) flow.session.editor.accept(box.id);
  };
  return { flow, api, said, changed, goneTo, memory, answerAll, ...given };
}

async function started(...options) {
  const all = desk(...options);
  await all.flow.start();
  await settled();
  return all;
}

test('it begins with the next case of the queue, in the order that was chosen', async () => {
  const memory = {
    caseId: null,
    choice: { work: 'second', order: 'oldest', class_id: 1, model: 'm:1' },
  };
  const { flow, api } = await started({}, { memory });
  assert.deepEqual(api.sent('next'), [
    [{ work: 'second', order: 'oldest', class_id: 1, model: 'm:1', tab: 'tab1' }],
  ]);
  assert.equal(flow.session.id, 'c1');
  assert.equal(flow.image, 'ready');
});

test('work that this person may not do any more is not asked for', () => {
  const memory = { caseId: null, choice: { work: 'gone', order: 'oldest' } };
  assert.equal(desk({}, { memory }).flow.choice.work, 'first');
});

test('a reload opens the case that was open', async () => {
  const memory = { caseId: 'c9', choice: null };
  const { flow, api } = await started({ open: viewOf('c9') }, { memory });
  assert.equal(flow.session.id, 'c9');
  assert.deepEqual(api.sent('next'), []);
});

test('a reload waits a little until the page before it has let go', async () => {
  const memory = { caseId: 'c9', choice: null };
  const held = viewOf('c9', readOnly('held_elsewhere', true));
  const { flow, clock } = desk({ open: [held, held, viewOf('c9')] }, { memory });
  const start = flow.start();
  await clock.pass(600);
  await start;
  assert.equal(flow.session.editable, true);
});

test('a second tab of one person stays read-only, and can take the case over', async () => {
  const held = viewOf('c9', readOnly('held_elsewhere', true));
  const { flow, api } = await started({ open: [held, viewOf('c9')] });
  await flow.open('c9');
  assert.equal(flow.session.editable, false);
  await flow.openAgain({ takeOver: true });
  assert.equal(flow.session.editable, true);
  assert.equal(api.sent('open').at(-1)[1].take_over, true);
});

test('opening the case again that is open does not let go of it', async () => {
  const { flow, api } = await started({ open: viewOf('c1') });
  await flow.openAgain();
  await settled();
  assert.deepEqual(api.sent('release'), []);
  assert.equal(flow.session.editable, true);
});

test('a case that is gone after a reload makes way for the next', async () => {
  const memory = { caseId: 'c9', choice: null };
  const { flow } = await started({ open: new Refused(404, { code: 'not_found' }) }, { memory });
  assert.equal(flow.session.id, 'c1');
});

test('without a server at the start it says so, and can try again', async () => {
  const memory = { caseId: 'c9', choice: null };
  const { flow, api } = await started({ open: [offline(), viewOf('c9')] }, { memory });
  assert.equal(flow.status, 'failed');
  assert.deepEqual(api.sent('next'), []);
  await flow.error.retry();
  assert.equal(flow.session.id, 'c9');
});

test('an empty queue is no error', async () => {
  const { flow } = await started({ next: { case: null } });
  assert.deepEqual([flow.status, flow.session, flow.error], ['empty', null, null]);
});

test('handing in sends the draft first, then the answer, and shows the case of the same reply', async () => {
  const { flow, api, answerAll, changed, said } = await started({ submit: DONE });
  answerAll();
  await flow.submit();
  const names = api.calls
    .map(([name]) => name)
    .filter((name) => ['draft', 'submit'].includes(name));
  assert.deepEqual(names, ['draft', 'submit']);
  const [[id, body]] = api.sent('submit');
  assert.equal(id, 'c1');
  assert.deepEqual(
    [body.tab, body.token, body.key.length, body.next.work],
    ['tab1', 7, 32, 'first'],
  );
  assert.equal(flow.session.id, 'c2');
  assert.deepEqual([changed, said.at(-1)], [['c1'], 'Handed in: settled']);
});

test('unanswered boxes are asked about once', async () => {
  const { flow, api } = await started({ submit: DONE });
  await flow.submit();
  assert.deepEqual(flow.asking, { kind: 'unanswered', count: 2 });
  assert.deepEqual(api.sent('submit'), []);
  await flow.submit();
  assert.equal(api.sent('submit')[0][1].bulk_accepted, 2);
});

test('an edit takes the question back, and so does going back', async () => {
  const { flow, api } = await started({ submit: DONE });
  await flow.submit();
  flow.session.editor.accept(flow.session.editor.boxes[0].id);
  assert.equal(flow.asking, null);
  await flow.submit();
  assert.equal(flow.asking.count, 1);
  assert.equal(flow.stopAsking(), true);
  await flow.submit();
  assert.equal(api.sent('submit').length, 0);
});

test('no box at all asks "No finding?" once', async () => {
  const { flow, api } = await started({ submit: DONE });
  for (const box of flow.session.editor.boxes) flow.session.editor.reject(box.id);
  await flow.submit();
  assert.equal(flow.asking.kind, 'no_finding');
  await flow.submit();
  assert.deepEqual(
    [api.sent('submit')[0][1].no_finding, api.sent('submit')[0][1].boxes],
    [true, []],
  );
});

test('pressing twice hands in once', async () => {
  const { flow, api, answerAll, said } = await started({ submit: DONE });
  answerAll();
  await Promise.all([flow.submit(), flow.submit(), flow.submit()]);
  assert.equal(api.sent('submit').length, 1);
  assert.deepEqual(said, ['Handed in: settled']);
});

test('without an answer it is tried again with the same key and content until there is one', async () => {
  const { flow, api, answerAll, clock } = await started({ submit: [offline(), offline(), DONE] });
  answerAll();
  const handing = flow.submit();
  await clock.pass(500);
  assert.equal(flow.busy, 'retrying');
  assert.equal(flow.session.editable, false);
  await clock.pass(10_000);
  await handing;
  const bodies = api.sent('submit').map(([, body]) => JSON.stringify(body));
  assert.deepEqual([bodies.length, new Set(bodies).size], [3, 1]);
  assert.deepEqual([flow.session.id, flow.submitted, flow.error], ['c2', 1, null]);
});

test('going on editing stops the tries; an edit then makes it another answer', async () => {
  const { flow, api, answerAll, clock } = await started({ submit: [offline(), DONE] });
  answerAll();
  flow.submit();
  await clock.pass(500);
  flow.stopRetrying();
  assert.equal(flow.session.editable, true);
  await clock.pass(60_000);
  assert.equal(api.sent('submit').length, 1);
  flow.session.setComment('more');
  await flow.submit();
  const keys = api.sent('submit').map(([, body]) => body.key);
  assert.notEqual(keys[0], keys[1]);
});

test('an answer that comes after going on editing does not take the case away', async () => {
  let arrive = null;
  const slow = () => new Promise((resolve) => (arrive = resolve));
  const { flow, answerAll, clock } = await started({ submit: [offline(), slow] });
  answerAll();
  flow.submit();
  await clock.pass(1_500);
  flow.stopRetrying();
  arrive(DONE);
  await settled();
  assert.deepEqual([flow.session.id, flow.session.editable, flow.submitted], ['c1', true, 0]);
});

test('what is refused for its content can be corrected', async () => {
  const { flow, answerAll } = await started({
    submit: new Refused(422, { message: 'No.', hint: 'Look.' }),
  });
  answerAll();
  await flow.submit();
  assert.deepEqual([flow.error.text, flow.error.hint, flow.busy], ['No.', 'Look.', null]);
  assert.equal(flow.session.editable, true);
});

test('handing in a case that was lost says so and keeps the edits', async () => {
  const { flow, answerAll } = await started({ submit: lostTo('stale_lease') });
  answerAll();
  await flow.submit();
  assert.equal(flow.session.lost.code, 'stale_lease');
  assert.equal(flow.session.editor.pending, 0);
});

test('nothing is handed in before the image is there', async () => {
  let arrive = null;
  const screen = {
    show: () => new Promise((resolve) => (arrive = resolve)),
    changed: () => {},
    announce: () => {},
    caseChanged: () => {},
  };
  const { flow, api } = desk({ submit: DONE }, { screen });
  flow.start();
  await settled();
  await flow.submit();
  assert.deepEqual([flow.image, api.sent('submit')], ['loading', []]);
  arrive();
  await settled();
  assert.equal(flow.image, 'ready');
});

test('an image that does not come can be asked for again', async () => {
  const { flow, screen } = await started();
  screen.show = async () => {
    throw offline();
  };
  await flow.showImage();
  assert.equal(flow.image, 'failed');
  screen.show = async () => {};
  await flow.showImage();
  assert.equal(flow.image, 'ready');
});

test('escalating hands in what there is without asking', async () => {
  const outcome = { state: 'second', reasons: [{ code: 'escalated', text: 'asked for' }] };
  const { flow, api, said } = await started({ submit: { outcome, next: null } });
  await flow.submit({ escalate: true });
  assert.equal(api.sent('submit')[0][1].escalate, true);
  assert.equal(said.at(-1), 'Handed in: a second reviewer is asked (asked for)');
  assert.equal(flow.status, 'empty');
});

test('skipping passes the case on and goes on behind it', async () => {
  const { flow, api } = await started({ skip: { next: viewOf('c2') } });
  await flow.skip('other');
  const [[id, body]] = api.sent('skip');
  assert.deepEqual([id, body.reason, body.next.after], ['c1', 'other', 'c1']);
  assert.equal(flow.session.id, 'c2');
  assert.deepEqual(api.sent('release'), []);
});

test('next leaves the case as a draft, free for others, and goes on behind it', async () => {
  const { flow, api, answerAll } = await started({
    next: [{ case: viewOf('c1') }, { case: viewOf('c2') }],
  });
  answerAll();
  await flow.next();
  assert.equal(api.sent('next')[1][0].after, 'c1');
  assert.equal(flow.session.id, 'c2');
  assert.equal(api.sent('draft').length, 1);
  assert.deepEqual(
    api.sent('release').map(([id]) => id),
    ['c1'],
  );
});

test('next stays where it is if there is no other case', async () => {
  for (const answer of [{ case: null }, { case: viewOf('c1') }]) {
    const { flow, api, said } = await started({ next: [{ case: viewOf('c1') }, answer] });
    const { session } = flow;
    await flow.next();
    assert.equal(flow.session, session);
    assert.equal(session.editable, true);
    assert.deepEqual(api.sent('release'), []);
    assert.equal(said.at(-1), 'There is no other case in this queue');
  }
});

test('previous and next go through the cases of this session, without taking new ones', async () => {
  const open = (id) => viewOf(id, id === 'c1' ? { phase: 'done', ...readOnly('case_done') } : {});
  const { flow, api, answerAll } = await started({ submit: DONE, open });
  answerAll();
  await flow.submit();
  await flow.previous();
  assert.deepEqual([flow.session.id, flow.session.editable], ['c1', false]);
  await flow.next();
  assert.equal(flow.session.id, 'c2');
  assert.equal(api.sent('next').length, 1);
});

test('before the first case there is none', async () => {
  const { flow, said, api } = await started();
  await flow.previous();
  assert.equal(said.at(-1), 'There is no earlier case in this session');
  assert.deepEqual(api.sent('open'), []);
});

test('without a connection the open case stays open and can be edited', async () => {
  const { flow } = await started({ next: [{ case: viewOf('c1') }, offline()] });
  const { session } = flow;
  await flow.next();
  assert.equal(flow.session, session);
  assert.equal(session.editable, true);
  assert.equal(flow.error.text, 'No connection to the server.');
});

test('other work takes a case of it, an order only changes what comes next', async () => {
  const { flow, api, memory } = await started();
  await flow.choose({ order: 'random' });
  assert.equal(api.sent('next').length, 1);
  await flow.choose({ work: 'second' });
  assert.deepEqual(
    [api.sent('next')[1][0].work, api.sent('next')[1][0].order],
    ['second', 'random'],
  );
  assert.equal(memory.choice.work, 'second');
});

test('a filter in an empty queue looks again', async () => {
  const { flow, api } = await started({ next: [{ case: null }, { case: viewOf('c1') }] });
  await flow.choose({ class_id: 1 });
  assert.equal(api.sent('next').length, 2);
  assert.equal(flow.session.id, 'c1');
});

test('the reply about a case that was left meanwhile is dropped', async () => {
  let arrive = null;
  const slow = () => new Promise((resolve) => (arrive = resolve));
  const { flow } = await started({ open: [slow, viewOf('c3')] });
  const first = flow.open('c2');
  await settled();
  await flow.open('c3');
  arrive(viewOf('c2'));
  await first;
  assert.equal(flow.session.id, 'c3');
});

test('a blind review without a box asks once, then reveals', async () => {
  const blind = viewOf('c1', { phase: 'blind', layers: { model: [], first: [], second: [] } });
  const { flow, api } = await started({
    next: { case: blind },
    reveal: { ...blind, phase: 'settle' },
  });
  await flow.submit();
  assert.equal(flow.asking.kind, 'nothing_to_mark');
  await flow.submit();
  assert.deepEqual(api.sent('reveal')[0][1], {
    tab: 'tab1',
    token: 7,
    boxes: [],
    active_seconds: 0,
  });
  assert.equal(flow.session.phase, 'settle');
});

const group = {
  id: 'g',
  model: 'd1',
  first: null,
  second: null,
  agree: false,
  differences: ['only_model'],
  text: '',
};

test('an open difference is shown, not handed in; settled, all of it is', async () => {
  const view = viewOf('c1', {
    phase: 'settle',
    layers: { model: [DETECTIONS[0]], first: [], second: [] },
    groups: [group],
  });
  const { flow, api, goneTo } = await started({ next: { case: view }, settle: DONE });
  await flow.submit();
  assert.deepEqual([goneTo, api.sent('settle')], [['g'], []]);
  flow.session.settling.choose(flow.session.settling.rules.groups[0], 'model');
  await flow.submit();
  const [[, body]] = api.sent('settle');
  assert.deepEqual(
    body.boxes.map(({ how, sources, detection_id }) => [how, sources, detection_id]),
    [['picked', ['d1'], 'd1']],
  );
  assert.deepEqual([body.dropped, body.reason, body.key.length], [[], 'missed', 32]);
});

test('reopening opens the new version', async () => {
  const done = viewOf('c1', { phase: 'done', ...readOnly('case_done') });
  const { flow, api, changed } = await started({
    next: { case: done },
    reopen: { case_id: 'c7' },
    open: viewOf('c7'),
  });
  await flow.reopen('wrong class');
  assert.deepEqual(api.sent('reopen'), [['c1', { reason: 'wrong class' }]]);
  assert.deepEqual([flow.session.id, changed], ['c7', ['c7']]);
});
