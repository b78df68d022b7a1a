import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as geometry from '../../ui/static/geometry.mjs';
import { between, boxIn, numbers, pick } from './random.mjs';

const { HANDLES, MIN_SIDE_PX, areaOf, handleAt, handleFrame, hitsAt, moved, stretched, tidy } =
  geometry;

const [WIDTH, HEIGHT] = [640, 480];
const item = (id, box) => ({ id, box });

function assertInside([x1, y1, x2, y2], width = WIDTH, height = HEIGHT) {
  assert.ok(x1 >= 0 && y1 >= 0 && x2 <= width && y2 <= height, `inside: ${[x1, y1, x2, y2]}`);
  assert.ok(x2 - x1 >= MIN_SIDE_PX && y2 - y1 >= MIN_SIDE_PX, `has an area: ${[x1, y1, x2, y2]}`);
}

test('two corners in any order and anywhere become a box in the image with an area', () => {
  const random = numbers(1);
  for (let i = 0; i < 2000; i += 1) {
    const any = () => between(random, -WIDTH, 2 * WIDTH);
    assertInside(tidy([any(), any(), any(), any()], WIDTH, HEIGHT));
  }
  assert.deepEqual(tidy([30, 40, 10, 20], WIDTH, HEIGHT), [10, 20, 30, 40]);
});

test('a box without a side at the far corner still gets one pixel', () => {
  assert.deepEqual(tidy([WIDTH, HEIGHT, WIDTH, HEIGHT], WIDTH, HEIGHT), [639, 479, 640, 480]);
  assert.deepEqual(tidy([-5, -5, -1, -1], WIDTH, HEIGHT), [0, 0, 1, 1]);
});

test('what a model says is left as it is unless it leaves the image', () => {
  assert.deepEqual(geometry.fitted([1 / 3, 0.2, 9.87654321, 7.1], WIDTH, HEIGHT), [
    1 / 3,
    0.2,
    9.87654321,
    7.1,
  ]);
  assert.deepEqual(geometry.fitted([-4, 470.5, 20, 500], WIDTH, HEIGHT), [0, 470.5, 20, 480]);
});

test('moving keeps the size and stops at the edges', () => {
  assert.deepEqual(moved([10, 10, 30, 50], -100, 1000, WIDTH, HEIGHT), [0, 440, 20, 480]);
  const random = numbers(2);
  for (let i = 0; i < 500; i += 1) {
    const box = tidy(boxIn(random, WIDTH, HEIGHT), WIDTH, HEIGHT);
    const [dx, dy] = [between(random, -900, 900), between(random, -900, 900)];
    const other = moved(box, dx, dy, WIDTH, HEIGHT);
    assertInside(other);
    assert.ok(
      Math.abs(areaOf(other) - areaOf(box)) <=
        (geometry.widthOf(box) + geometry.heightOf(box)) / 32 + 1,
    );
  }
});

test('a thousand steps of a pixel there and back lead exactly to where they began', () => {
  const start = tidy([100 / 3, 50.1, 80.7, 90.9], WIDTH, HEIGHT);
  let box = start;
  for (let i = 0; i < 100; i += 1) box = moved(box, 1, -0.25, WIDTH, HEIGHT);
  for (let i = 0; i < 100; i += 1) box = moved(box, -1, 0.25, WIDTH, HEIGHT);
  assert.deepEqual(box, start);
});

test('each handle moves its own edges and no other', () => {
  const box = [100, 100, 200, 200];
  for (const [handle, edges] of Object.entries(HANDLES)) {
    const other = stretched(box, handle, 7, 9, WIDTH, HEIGHT);
    const changed = [0, 1, 2, 3].filter((i) => other[i] !== box[i]);
    assert.deepEqual(changed, edges.filter((edge) => edge !== null).sort(), handle);
  }
});

test('a handle stops at one pixel and at the edges of the image', () => {
  const box = [100, 100, 200, 200];
  assert.deepEqual(stretched(box, 'e', -500, 0, WIDTH, HEIGHT), [100, 100, 101, 200]);
  assert.deepEqual(stretched(box, 'nw', -500, 500, WIDTH, HEIGHT), [0, 199, 200, 200]);
  const random = numbers(3);
  for (let i = 0; i < 1000; i += 1) {
    const start = tidy(boxIn(random, WIDTH, HEIGHT), WIDTH, HEIGHT);
    const handle = pick(random, Object.keys(HANDLES));
    assertInside(
      stretched(
        start,
        handle,
        between(random, -900, 900),
        between(random, -900, 900),
        WIDTH,
        HEIGHT,
      ),
    );
  }
});

test('the smallest of the boxes under a point comes first', () => {
  const boxes = [
    item('large', [0, 0, 300, 300]),
    item('small', [90, 90, 110, 110]),
    item('middle', [50, 50, 150, 150]),
  ];
  assert.deepEqual(
    hitsAt(boxes, 100, 100).map(({ id }) => id),
    ['small', 'middle', 'large'],
  );
  assert.deepEqual(
    hitsAt(boxes, 60, 60).map(({ id }) => id),
    ['middle', 'large'],
  );
  assert.deepEqual(hitsAt(boxes, 400, 400), []);
});

test('a box of one pixel is hit within the slack', () => {
  assert.equal(hitsAt([item('dot', [10, 10, 11, 11])], 14, 10, 3).length, 1);
  assert.equal(hitsAt([item('dot', [10, 10, 11, 11])], 15, 10, 3).length, 0);
});

test('all eight handles are found where they are, and nothing is in between', () => {
  const box = [100, 100, 200, 200];
  for (const handle of Object.keys(HANDLES)) {
    const [x, y] = geometry.handlePoint(box, handle);
    assert.equal(handleAt(box, x + 5, y - 5, 6), handle);
  }
  assert.equal(handleAt(box, 150, 150, 6), null);
  assert.equal(handleAt(box, 125, 100, 6), null);
});

test('the handles of a small box stand off so that its inside can be taken hold of', () => {
  const frame = handleFrame([100, 100, 104, 104], 28);
  assert.deepEqual(frame, [88, 88, 116, 116]);
  assert.equal(handleAt(frame, 102, 102, 6), null);
  assert.deepEqual(handleFrame([0, 0, 100, 4], 28), [0, -12, 100, 16]);
});

test('the mean of boxes is taken edge by edge', () => {
  assert.deepEqual(
    geometry.meanBox([
      [0, 0, 10, 10],
      [2, 4, 20, 30],
    ]),
    [1, 2, 15, 20],
  );
  assert.equal(geometry.meanBox([]), null);
});
