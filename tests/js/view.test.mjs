import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MAX_SCALE, View } from '../../ui/static/view.mjs';
import { between, numbers } from './random.mjs';

function viewOf(width = 800, height = 600, image = [4000, 3000]) {
  const view = new View();
  view.resize(width, height);
  view.show(...image);
  return view;
}

const near = (a, b) => a.every((value, i) => Math.abs(value - b[i]) < 1e-6);

test('a new image is shown as a whole and in the middle', () => {
  const view = viewOf();
  assert.ok(view.shows([0, 0, 4000, 3000]));
  assert.deepEqual(view.toScreen(2000, 1500), [400, 300]);
});

test('the point under the cursor stays there while zooming', () => {
  const view = viewOf();
  const before = view.toImage(400, 310);
  view.zoomBy(5, 400, 310);
  assert.ok(near(view.toImage(400, 310), before));
});

test('screen and image coordinates are each other’s inverse at any zoom and place', () => {
  const [view, random] = [viewOf(), numbers(4)];
  for (let i = 0; i < 500; i += 1) {
    view.zoomBy(between(random, 0.3, 3), between(random, 0, 800), between(random, 0, 600));
    view.panBy(between(random, -900, 900), between(random, -900, 900));
    const point = [between(random, 0, 4000), between(random, 0, 3000)];
    assert.ok(near(view.toImage(...view.toScreen(...point)), point));
  }
});

test('however it is panned and zoomed, some of the image is in sight', () => {
  const [view, random] = [viewOf(), numbers(5)];
  for (let i = 0; i < 500; i += 1) {
    view.zoomBy(between(random, 0.2, 4), between(random, 0, 800), between(random, 0, 600));
    view.panBy(between(random, -9000, 9000), between(random, -9000, 9000));
    const [x1, y1] = view.toScreen(0, 0);
    const [x2, y2] = view.toScreen(4000, 3000);
    assert.ok(x2 > 40 && y2 > 40 && x1 < 760 && y1 < 560);
    assert.ok(view.scale <= MAX_SCALE && view.scale >= view.fitScale / 2);
  }
});

test('a box that is out of sight or too large comes into view as a whole', () => {
  const view = viewOf();
  view.zoomBy(20, 0, 0);
  for (const box of [
    [3900, 2900, 3950, 2960],
    [0, 0, 4000, 3000],
    [0, 0, 1, 1],
  ]) {
    view.centreOn(box);
    assert.ok(view.shows(box), String(box));
  }
});

test('in a canvas of another size what was fitted fits, what was zoomed keeps its middle', () => {
  const view = viewOf();
  view.resize(500, 500);
  assert.ok(view.shows([0, 0, 4000, 3000]));
  view.zoomBy(3);
  const middle = view.toImage(250, 250);
  view.resize(700, 300);
  assert.ok(near(view.toImage(350, 150), middle));
});
