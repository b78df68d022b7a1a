import assert from 'node:assert/strict';
import { test } from 'node:test';

import { GLYPHS, LAYERS, LINES, classStyle, inkOn } from '../../ui/static/palette.mjs';

test('classes with one colour differ in their dash', () => {
  const looks = Array.from({ length: 18 }, (_, i) => JSON.stringify(classStyle(i)));
  assert.equal(new Set(looks).size, 18);
  assert.equal(classStyle(0).colour, classStyle(6).colour);
  assert.notDeepEqual(classStyle(0).dash, classStyle(6).dash);
});

test('a label has the ink that can be read on its colour', () => {
  assert.equal(inkOn('#0072B2'), '#ffffff');
  assert.equal(inkOn('#E69F00'), '#000000');
});

test('each status has a glyph of its own and a line', () => {
  assert.equal(new Set(Object.values(GLYPHS)).size, 5);
  for (const status of Object.keys(GLYPHS)) assert.ok(LINES[status].width > 0, status);
});

test('the layers to compare differ in letter and in dash', () => {
  const layers = Object.values(LAYERS);
  assert.equal(new Set(layers.map(({ letter }) => letter)).size, 3);
  assert.equal(new Set(layers.map(({ dash }) => String(dash))).size, 3);
});
