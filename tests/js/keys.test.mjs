import assert from 'node:assert/strict';
import { test } from 'node:test';

import { KEYS, actionOf, focusOf, keyOf, keyText, listenToKeys } from '../../ui/static/keys.mjs';

/** A keydown event of what one presses, such as "Ctrl+Shift+Z". */
function press(keys, more = {}) {
  const parts = keys === '+' ? ['+'] : keys.split('+');
  const has = (name) => parts.slice(0, -1).includes(name);
  const key = parts.at(-1) === 'Space' ? ' ' : parts.at(-1);
  const typed = /^[A-Z]$/.test(key) && !has('Shift') ? key.toLowerCase() : key;
  return {
    key: typed,
    code: '',
    ctrlKey: has('Ctrl'),
    metaKey: has('Meta'),
    shiftKey: has('Shift'),
    altKey: has('Alt'),
    repeat: false,
    isComposing: false,
    getModifierState: () => false,
    ...more,
  };
}

const on = (focus) => (keys, more) => actionOf(press(keys, more), { focus });
const onCanvas = on('canvas');
const onPage = on('page');

// As the issue lists them.
const PROMISED = {
  Tab: 'next-box',
  'Shift+Tab': 'previous-box',
  A: 'accept',
  X: 'reject',
  1: 'class-1',
  2: 'class-2',
  3: 'class-3',
  4: 'class-4',
  5: 'class-5',
  6: 'class-6',
  7: 'class-7',
  8: 'class-8',
  9: 'class-9',
  0: 'class-10',
  N: 'draw',
  R: 'draw',
  Escape: 'leave',
  U: 'leave',
  Delete: 'delete',
  Backspace: 'delete',
  ArrowLeft: 'move-left',
  ArrowRight: 'move-right',
  ArrowUp: 'move-up',
  ArrowDown: 'move-down',
  'Shift+ArrowLeft': 'move-left-10',
  'Shift+ArrowDown': 'move-down-10',
  'Ctrl+ArrowRight': 'wider',
  'Ctrl+ArrowUp': 'shorter',
  'Ctrl+Shift+ArrowLeft': 'narrower-10',
  'Ctrl+Z': 'undo',
  'Ctrl+Shift+Z': 'redo',
  'Ctrl+Y': 'redo',
  'Ctrl+D': 'duplicate',
  '+': 'zoom-in',
  '-': 'zoom-out',
  Space: 'pan',
  Z: 'fit',
  H: 'hide',
  I: 'model-layer',
  D: 'previous-case',
  F: 'next-case',
  'Ctrl+Enter': 'submit',
  'Ctrl+Space': 'skip',
  E: 'escalate',
  M: 'comment',
  'Ctrl+S': 'save',
  '?': 'help',
  Q: 'take-model',
  W: 'take-first',
  T: 'take-mine',
  G: 'merge',
  Enter: 'corner',
  B: 'restore',
};

test('each key that was promised does what was promised', () => {
  for (const [keys, action] of Object.entries(PROMISED)) assert.equal(onCanvas(keys), action, keys);
});

test('no key has two meanings, no action two rows', () => {
  const keys = KEYS.flatMap((row) => row.keys);
  assert.equal(new Set(keys).size, keys.length);
  assert.equal(new Set(KEYS.map(({ action }) => action)).size, KEYS.length);
});

test('each row has what the list under the question mark prints', () => {
  for (const { action, keys, label, group, when } of KEYS) {
    assert.ok(keys.length > 0 && label && group, action);
    assert.ok(['any', 'page', 'canvas'].includes(when), action);
  }
});

test('nothing fires where text is typed or in a dialog', () => {
  for (const keys of KEYS.flatMap((row) => row.keys)) {
    assert.equal(on('text')(keys), null, keys);
    assert.equal(on('dialog')(keys), null, keys);
  }
});

test('Cmd counts as Ctrl', () => {
  assert.equal(onPage('Meta+Z'), 'undo');
  assert.equal(onPage('Meta+S'), 'save');
});

test('letters count with caps lock on, but not with Shift or Alt', () => {
  assert.equal(onPage('A', { key: 'A' }), 'accept');
  assert.equal(onPage('Shift+A'), null);
  assert.equal(onPage('Alt+A'), null);
  assert.equal(onPage('Ctrl+A'), null);
});

test('AltGr and text that is being composed are left alone', () => {
  assert.equal(onPage('E', { getModifierState: (name) => name === 'AltGraph' }), null);
  assert.equal(onPage('A', { isComposing: true }), null);
  assert.equal(onPage('A', { keyCode: 229 }), null);
});

test('what the key prints counts, wherever it is on the keyboard', () => {
  assert.equal(onPage('A', { code: 'KeyQ' }), 'accept');
  assert.equal(onPage('Z', { code: 'KeyY' }), 'fit');
});

test('the top row counts as digits where it prints signs, and not with Shift', () => {
  assert.equal(onPage('&', { code: 'Digit1' }), 'class-1');
  assert.equal(onPage('à', { code: 'Digit0' }), 'class-10');
  assert.equal(onPage('1', { code: 'Digit1', shiftKey: true }), 'class-1');
  assert.equal(onPage('!', { code: 'Digit1', shiftKey: true }), null);
  assert.equal(onPage('&', { code: 'Digit1', ctrlKey: true }), null);
  assert.equal(onPage('7', { code: 'Numpad7' }), 'class-7');
});

test('a sign counts however it is typed', () => {
  assert.equal(onPage('?', { shiftKey: true }), 'help');
  assert.equal(onPage('+', { shiftKey: true }), 'zoom-in');
  assert.equal(onPage('=', {}), 'zoom-in');
});

test('Tab and Enter are the page’s own until the canvas has focus', () => {
  assert.equal(onPage('Tab'), null);
  assert.equal(onPage('Enter'), null);
  assert.equal(on('control')('Tab'), null);
});

test('a focused button keeps Space, Enter and arrows, and lets letters through', () => {
  const onButton = on('control');
  for (const keys of ['Space', 'Enter', 'ArrowLeft', 'Shift+ArrowUp']) {
    assert.equal(onButton(keys), null, keys);
  }
  assert.equal(onButton('A'), 'accept');
  assert.equal(onButton('Ctrl+Enter'), 'submit');
});

test('a key held down repeats movement and undo, but no answer', () => {
  const held = { repeat: true };
  assert.equal(onPage('ArrowLeft', held), 'move-left');
  assert.equal(onPage('Ctrl+Z', held), 'undo');
  for (const keys of ['A', 'X', 'Ctrl+Enter', 'Ctrl+D', 'N']) {
    assert.equal(onPage(keys, held), null, keys);
  }
});

test('keys are printed as they are on a keyboard', () => {
  assert.equal(keyText('Shift+ArrowLeft'), 'Shift+←');
  assert.equal(keyText('+'), '+');
  assert.equal(keyOf('submit'), 'Ctrl+Enter');
  assert.equal(keyOf('class-10'), '0');
  assert.equal(keyOf('leave'), 'Esc');
  assert.equal(keyOf('no such action'), '');
});

/** An element that answers `closest` for one selector among the many. */
const element = (name, more = {}) => ({
  isContentEditable: false,
  closest(selector) {
    const names = selector.split(',').map((part) => part.trim());
    return names.includes(name) ? this : null;
  },
  ...more,
});

test('where the focus is decides what a key may mean', () => {
  const canvas = element('canvas');
  assert.equal(focusOf(canvas, canvas), 'canvas');
  assert.equal(focusOf(canvas, element('canvas')), 'page');
  assert.equal(focusOf(element('body')), 'page');
  assert.equal(focusOf({}), 'page');
  assert.equal(focusOf(element('button')), 'control');
  assert.equal(focusOf(element('textarea')), 'text');
  assert.equal(focusOf(element('select')), 'text');
  assert.equal(focusOf(element('[role=textbox]')), 'text');
  assert.equal(focusOf(element('div', { isContentEditable: true })), 'text');
  assert.equal(focusOf(element('dialog')), 'dialog');
});

test('inputs that hold text get every key, others only those that they use', () => {
  for (const type of ['text', 'search', 'number', 'password', 'date', 'email', '']) {
    assert.equal(focusOf(element('input', { type })), 'text', type);
  }
  for (const type of ['range', 'checkbox', 'radio', 'button', 'file']) {
    assert.equal(focusOf(element('input', { type })), 'control', type);
  }
});

/** A document with listeners, and what became of the keys that were pressed in it. */
function page({ handled = true, modal = false, ...options } = {}) {
  const ran = [];
  let listener = null;
  const root = {
    addEventListener: (name, fn) => (listener = fn),
    querySelector: () => (modal ? element('dialog') : null),
  };
  const run = (action) => {
    ran.push(action);
    return handled;
  };
  listenToKeys(root, run, options);
  const type = (keys, target = element('body'), more = {}) => {
    const event = {
      ...press(keys),
      target,
      composedPath: () => [target],
      prevented: false,
      ...more,
    };
    event.preventDefault = () => (event.prevented = true);
    listener(event);
    return event.prevented;
  };
  return { ran, type };
}

test('the browser’s own action is prevented for our keys and no other', () => {
  const { ran, type } = page();
  assert.ok(type('Ctrl+S') && type('Space') && type('Ctrl+D') && type('ArrowDown'));
  assert.ok(!type('Ctrl+P') && !type('F5') && !type('K'));
  assert.deepEqual(ran, ['save', 'pan', 'duplicate', 'move-down']);
});

test('a held Ctrl+S is prevented each time and saves once', () => {
  const { ran, type } = page();
  type('Ctrl+S');
  assert.ok(type('Ctrl+S', undefined, { repeat: true }));
  assert.deepEqual(ran, ['save']);
});

test('Tab, Space and arrows that nothing wants are the browser’s', () => {
  const canvas = element('canvas');
  const { type } = page({ handled: false, canvas });
  assert.ok(!type('Tab', canvas) && !type('ArrowDown', canvas) && !type('Space', canvas));
  assert.ok(type('Ctrl+S', canvas));
});

test('nothing is run in text, under a modal dialog, or while another tab is in front', () => {
  const { ran, type } = page();
  assert.ok(!type('A', element('textarea')) && !type('Ctrl+Z', element('textarea')));
  assert.deepEqual(ran, []);
  for (const options of [{ modal: true }, { isActive: () => false }]) {
    const other = page(options);
    assert.ok(!other.type('A'));
    assert.deepEqual(other.ran, []);
  }
});
