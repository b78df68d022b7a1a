import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ActiveTime } from '../../ui/static/clock.mjs';
import { FakeClock } from './desk_fakes.mjs';

function timed() {
  const clock = new FakeClock();
  const page = { visible: true };
  const active = new ActiveTime({ clock, visible: () => page.visible });
  active.start();
  return { clock, page, active };
}

test('time counts while somebody is at work', async () => {
  const { clock, active } = timed();
  await clock.pass(10_000);
  assert.equal(active.seconds, 10);
});

test('time without input counts for 30 seconds and no longer', async () => {
  const { clock, active } = timed();
  await clock.pass(120_000);
  assert.equal(active.seconds, 30);
  active.input();
  await clock.pass(5_000);
  assert.equal(active.seconds, 35);
});

test('time in another tab does not count', async () => {
  const { clock, page, active } = timed();
  page.visible = false;
  await clock.pass(10_000);
  page.visible = true;
  active.input();
  await clock.pass(2_000);
  assert.equal(active.seconds, 2);
});

test('a machine that slept did not work', () => {
  let now = 0;
  let tick = null;
  const clock = { now: () => now, later: (fn) => (tick = fn), cancel: () => {} };
  const active = new ActiveTime({ clock, visible: () => true });
  active.start();
  now = 3_600_000;
  active.input();
  tick();
  assert.ok(active.seconds <= 2.5);
});

test('a case that was begun before goes on where it was', async () => {
  const { clock, active } = timed();
  active.start(100);
  await clock.pass(3_000);
  active.stop();
  await clock.pass(3_000);
  assert.equal(active.seconds, 103);
});
