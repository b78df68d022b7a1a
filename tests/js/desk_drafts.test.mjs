import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Refused, SignedOut } from '../../ui/static/api.mjs';
import { DraftSaver } from '../../ui/static/drafts.mjs';
import { FakeClock, lostTo, offline, settled } from './desk_fakes.mjs';

function saving(answers = [], { rev = 0 } = {}) {
  const clock = new FakeClock();
  const log = { posts: [], kept: [], forgotten: 0, refused: [], states: [] };
  let content = 0;
  const saver = new DraftSaver({
    rev,
    clock,
    make: () => ({ content }),
    post: async ({ rev: sent, document }) => {
      log.posts.push({ at: clock.now(), rev: sent, content: document.content });
      const answer = answers.shift() ?? { rev: sent, saved_at: `T${clock.now()}` };
      if (answer instanceof Error) throw answer;
      return typeof answer === 'function' ? answer(sent) : answer;
    },
    keep: (document) => log.kept.push(document.content),
    forget: () => (log.forgotten += 1),
    onState: (state) => log.states.push(state.kind),
    onRefused: (error) => log.refused.push(error.code),
  });
  const edit = () => {
    content += 1;
    saver.changed();
  };
  return { saver, clock, log, edit };
}

test('an edit is kept in the browser at once and saved after a pause', async () => {
  const { clock, log, edit, saver } = saving();
  edit();
  assert.deepEqual(log.kept, [1]);
  await clock.pass(799);
  assert.equal(log.posts.length, 0);
  await clock.pass(1);
  assert.deepEqual(log.posts, [{ at: 800, rev: 1, content: 1 }]);
  assert.deepEqual(saver.state, { kind: 'saved', savedAt: 'T800', message: '' });
  assert.equal(log.forgotten, 1);
});

test('editing without a pause is saved within two seconds of the first edit', async () => {
  const { clock, log, edit } = saving();
  for (let i = 0; i < 40; i += 1) {
    edit();
    await clock.pass(100);
  }
  assert.ok(log.posts[0].at <= 1_500);
  const gaps = log.posts.slice(1).map(({ at }, index) => at - log.posts[index].at);
  assert.ok(Math.max(...gaps) <= 1_700, String(gaps));
});

test('an edit during a save is saved after it, and only then is the copy forgotten', async () => {
  let arrive = null;
  const { clock, log, edit, saver } = saving([() => new Promise((resolve) => (arrive = resolve))]);
  edit();
  await clock.pass(800);
  edit();
  arrive({ rev: 1, saved_at: 'T' });
  await settled();
  assert.equal(saver.dirty, true);
  assert.equal(log.forgotten, 0);
  await clock.pass(1_600);
  assert.deepEqual(
    log.posts.map((post) => post.content),
    [1, 2],
  );
  assert.equal(log.forgotten, 1);
});

test('each attempt has a higher rev than the one before', async () => {
  const { clock, log, edit } = saving([offline()], { rev: 4 });
  edit();
  await clock.pass(5_000);
  assert.deepEqual(
    log.posts.map((post) => post.rev),
    [5, 6],
  );
});

test('a server that has a later rev gets the document again, with one above it', async () => {
  const { clock, log, edit, saver } = saving([{ rev: 12, saved_at: 'old' }]);
  edit();
  await clock.pass(2_000);
  assert.deepEqual(
    log.posts.map((post) => post.rev),
    [1, 13],
  );
  assert.equal(saver.dirty, false);
});

test('without a connection it says so and tries again, less and less often', async () => {
  const { clock, log, edit, saver } = saving([offline(), offline(), offline()]);
  edit();
  await clock.pass(900);
  assert.equal(saver.state.kind, 'offline');
  await clock.pass(10_000);
  assert.deepEqual(
    log.posts.map((post) => post.at),
    [800, 1_800, 3_800, 7_800],
  );
  assert.equal(saver.state.kind, 'saved');
});

test('editing while offline keeps copies and does not hammer the server', async () => {
  const { clock, log, edit } = saving([offline(), offline()]);
  edit();
  await clock.pass(900);
  for (let i = 0; i < 5; i += 1) edit();
  await clock.pass(500);
  assert.equal(log.posts.length, 1);
  assert.deepEqual(log.kept, [1, 2, 3, 4, 5, 6]);
});

test('a conflict stops it for good and is told', async () => {
  const { clock, log, edit } = saving([lostTo('stale_lease')]);
  edit();
  await clock.pass(900);
  edit();
  await clock.pass(60_000);
  assert.deepEqual(log.refused, ['stale_lease']);
  assert.equal(log.posts.length, 1);
});

test('signed out, it waits to be told to try again', async () => {
  const { clock, log, edit, saver } = saving([new SignedOut({})]);
  edit();
  await clock.pass(60_000);
  assert.equal(log.posts.length, 1);
  assert.equal(saver.state.kind, 'signed_out');
  saver.retry();
  await clock.pass(0);
  assert.equal(saver.state.kind, 'saved');
});

test('what the server will not take is said in its words', async () => {
  const { clock, edit, saver } = saving([
    new Refused(413, { code: 'too_large', message: 'Too large.' }),
  ]);
  edit();
  await clock.pass(800);
  assert.deepEqual([saver.state.kind, saver.state.message], ['refused', 'Too large.']);
});

test('flush saves now and resolves once all is there', async () => {
  const { log, edit, saver } = saving();
  edit();
  assert.equal(await saver.flush(), true);
  assert.deepEqual(
    log.posts.map((post) => post.at),
    [0],
  );
  assert.equal(await saver.flush(), true);
  assert.equal(log.posts.length, 1);
});

test('flush waits for the save that is under way, and saves what came after it', async () => {
  let arrive = null;
  const { clock, log, edit, saver } = saving([() => new Promise((resolve) => (arrive = resolve))]);
  edit();
  await clock.pass(800);
  edit();
  const flushed = saver.flush();
  arrive({ rev: 1, saved_at: 'T' });
  assert.equal(await flushed, true);
  assert.deepEqual(
    log.posts.map((post) => post.content),
    [1, 2],
  );
});

test('flush says when it could not', async () => {
  const { edit, saver } = saving([offline()]);
  edit();
  assert.equal(await saver.flush(), false);
});

test('stopped, nothing is saved any more', async () => {
  const { clock, log, edit, saver } = saving();
  edit();
  saver.stop();
  edit();
  await clock.pass(60_000);
  assert.equal(log.posts.length, 0);
  assert.deepEqual(log.kept, [1]);
});
