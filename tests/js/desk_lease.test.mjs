import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SignedOut } from '../../ui/static/api.mjs';
import { LeaseKeeper } from '../../ui/static/lease.mjs';
import { FakeClock, lostTo, offline } from './desk_fakes.mjs';

function kept(answers = []) {
  const clock = new FakeClock();
  const beats = [];
  const lost = [];
  const lease = new LeaseKeeper({
    everyMs: 30_000,
    beat: async (token) => {
      beats.push([clock.now(), token]);
      const answer = answers.shift() ?? { lease: { token, expires_in: 300 } };
      if (answer instanceof Error) throw answer;
      return answer;
    },
    onLost: (error) => lost.push(error.code),
    clock,
  });
  lease.hold({ token: 7, expires_in: 300 });
  return { clock, beats, lost, lease };
}

test('a heartbeat goes out every 30 seconds, with the token', async () => {
  const { clock, beats } = kept();
  await clock.pass(90_000);
  assert.deepEqual(beats, [
    [30_000, 7],
    [60_000, 7],
    [90_000, 7],
  ]);
});

test('what is left comes from the server and the monotonic clock', async () => {
  const { clock, lease } = kept();
  await clock.pass(20_000);
  assert.equal(lease.left, 280_000);
  await clock.pass(10_000);
  assert.equal(lease.left, 300_000);
});

test('a refused heartbeat ends it, once', async () => {
  const { clock, beats, lost, lease } = kept([lostTo('stale_lease')]);
  await clock.pass(200_000);
  assert.deepEqual(lost, ['stale_lease']);
  assert.equal(beats.length, 1);
  assert.equal(lease.held, false);
});

test('without a connection it tries again soon, and keeps counting down', async () => {
  const { clock, beats, lost, lease } = kept([offline(), offline()]);
  await clock.pass(34_000);
  assert.equal(lease.reached, false);
  assert.equal(lease.left, 266_000);
  await clock.pass(6_000);
  assert.deepEqual(
    beats.map(([at]) => at),
    [30_000, 35_000, 40_000],
  );
  assert.equal(lease.reached, true);
  assert.deepEqual(lost, []);
});

test('being signed out loses nothing: it goes on after signing in', async () => {
  const { clock, lost, lease } = kept([new SignedOut({})]);
  await clock.pass(36_000);
  assert.deepEqual(lost, []);
  assert.equal(lease.held, true);
});

test('a lease that ran out by our clock is still asked for: only the server says no', async () => {
  const { clock, lease, beats } = kept(Array.from({ length: 80 }, offline));
  await clock.pass(330_000);
  assert.equal(lease.left, 0);
  assert.equal(lease.held, true);
  assert.ok(beats.at(-1)[0] >= 325_000);
});

test('back from the background, an overdue heartbeat goes out at once', async () => {
  const clock = new FakeClock();
  const beats = [];
  // A throttled timer: it never fires by itself.
  const timers = {
    now: clock.now,
    later: (fn, ms) => (ms > 0 ? null : clock.later(fn, ms)),
    cancel: clock.cancel,
  };
  const beat = async (token) => (beats.push(token), { lease: { token, expires_in: 300 } });
  const lease = new LeaseKeeper({ everyMs: 30_000, beat, onLost: () => {}, clock: timers });
  lease.hold({ token: 7, expires_in: 300 });
  await clock.pass(100_000);
  assert.equal(beats.length, 0);
  lease.wake();
  await clock.pass(0);
  assert.equal(beats.length, 1);
});

test('an answer that comes after it was let go changes nothing', async () => {
  const clock = new FakeClock();
  let answer = null;
  const beat = () => new Promise((resolve, reject) => (answer = reject));
  const lost = [];
  const lease = new LeaseKeeper({ everyMs: 1000, beat, onLost: () => lost.push(1), clock });
  lease.hold({ token: 7, expires_in: 300 });
  await clock.pass(1000);
  lease.letGo();
  answer(lostTo('stale_lease'));
  await clock.pass(5000);
  assert.deepEqual(lost, []);
});
