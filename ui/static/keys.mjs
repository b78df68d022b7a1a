// The keys: one table for the handler, for what is printed on the buttons, and for the list under
// `?`.
//
// Letters, digits and signs are compared with what the key prints (`event.key`), so the key that
// shows an A accepts on every keyboard. The digits of the top row count without Shift too where a
// keyboard (French) prints signs there. Cmd counts as Ctrl.

const WORK = 'Boxes';
const MOVE = 'Move and resize';
const VIEW = 'View';
const CASE = 'Case';
const SETTLE = 'Second review';

const row = (action, keys, label, group, more = {}) =>
  Object.freeze({
    action,
    keys: Object.freeze(keys),
    label,
    group,
    when: 'any',
    repeat: false,
    ...more,
  });

const HELD = { repeat: true };
const ON_CANVAS = { when: 'canvas', repeat: true };
const ON_PAGE = { when: 'page', repeat: true };

/**
 * Rows `{action, keys, label, group, when, repeat}`. `when`: "any" works wherever no text is typed,
 * "page" not on buttons and other controls that use the key themselves, "canvas" only while it has
 * focus. `repeat`: a key held down repeats it.
 */
export const KEYS = Object.freeze([
  row('next-box', ['Tab'], 'Next box, least confident first', WORK, ON_CANVAS),
  row('previous-box', ['Shift+Tab'], 'Previous box', WORK, ON_CANVAS),
  row('accept', ['A'], 'Accept', WORK),
  row('reject', ['X'], 'Reject; in a second review: drop', WORK),
  row('restore', ['B'], "Bring the model's box back", WORK),
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) =>
    row(`class-${n}`, [String(n % 10)], `Class ${n}, of the selected or the next box`, WORK),
  ),
  row('draw', ['N', 'R'], 'Draw a box', WORK),
  row('corner', ['Enter'], 'While drawing: set a corner', WORK, { when: 'canvas' }),
  row('leave', ['Escape', 'U'], 'Leave drawing, then the selection', WORK),
  row('delete', ['Delete', 'Backspace'], 'Delete', WORK),
  row('duplicate', ['Ctrl+D'], 'Duplicate', WORK),
  row('undo', ['Ctrl+Z'], 'Undo', WORK, HELD),
  row('redo', ['Ctrl+Shift+Z', 'Ctrl+Y'], 'Redo', WORK, HELD),

  row('move-left', ['ArrowLeft'], 'Move 1 px left', MOVE, ON_PAGE),
  row('move-right', ['ArrowRight'], 'Move 1 px right', MOVE, ON_PAGE),
  row('move-up', ['ArrowUp'], 'Move 1 px up', MOVE, ON_PAGE),
  row('move-down', ['ArrowDown'], 'Move 1 px down', MOVE, ON_PAGE),
  row('move-left-10', ['Shift+ArrowLeft'], 'Move 10 px left', MOVE, ON_PAGE),
  row('move-right-10', ['Shift+ArrowRight'], 'Move 10 px right', MOVE, ON_PAGE),
  row('move-up-10', ['Shift+ArrowUp'], 'Move 10 px up', MOVE, ON_PAGE),
  row('move-down-10', ['Shift+ArrowDown'], 'Move 10 px down', MOVE, ON_PAGE),
  row('narrower', ['Ctrl+ArrowLeft'], '1 px narrower', MOVE, ON_PAGE),
  row('wider', ['Ctrl+ArrowRight'], '1 px wider', MOVE, ON_PAGE),
  row('shorter', ['Ctrl+ArrowUp'], '1 px shorter', MOVE, ON_PAGE),
  row('taller', ['Ctrl+ArrowDown'], '1 px taller', MOVE, ON_PAGE),
  row('narrower-10', ['Ctrl+Shift+ArrowLeft'], '10 px narrower', MOVE, ON_PAGE),
  row('wider-10', ['Ctrl+Shift+ArrowRight'], '10 px wider', MOVE, ON_PAGE),
  row('shorter-10', ['Ctrl+Shift+ArrowUp'], '10 px shorter', MOVE, ON_PAGE),
  row('taller-10', ['Ctrl+Shift+ArrowDown'], '10 px taller', MOVE, ON_PAGE),

  row('zoom-in', ['+', '='], 'Zoom in at the cursor', VIEW, HELD),
  row('zoom-out', ['-'], 'Zoom out at the cursor', VIEW, HELD),
  row('fit', ['Z'], 'Fit the image', VIEW),
  row('pan', ['Space'], 'Hold and drag: pan', VIEW, { when: 'page' }),
  row('hide', ['H'], 'Hold: hide all boxes', VIEW),
  row('model-layer', ['I'], "Show or hide the model's boxes", VIEW),

  row('previous-case', ['D'], 'Previous case', CASE),
  row('next-case', ['F'], 'Next case', CASE),
  row('submit', ['Ctrl+Enter'], 'Submit and take the next', CASE),
  row('skip', ['Ctrl+Space'], 'Skip, with a reason', CASE),
  row('escalate', ['E'], 'Ask for a second reviewer', CASE),
  row('comment', ['M'], 'Comment', CASE),
  row('save', ['Ctrl+S'], 'Save now', CASE),
  row('help', ['?'], 'Show these keys', CASE),

  row('take-model', ['Q'], "Take the model's box", SETTLE),
  row('take-first', ['W'], "Take the first reviewer's box", SETTLE),
  row('take-mine', ['T'], 'Take my box', SETTLE),
  row('merge', ['G'], 'Merge: the mean of the boxes', SETTLE),
]);

const SIGNS = {
  ArrowLeft: '←',
  ArrowRight: '→',
  ArrowUp: '↑',
  ArrowDown: '↓',
  Escape: 'Esc',
  Delete: 'Del',
  '-': '−',
};

/** A key of the table as it is printed: "Ctrl+Shift+Z", "Shift+←", "Esc". */
export const keyText = (key) =>
  key.length === 1
    ? (SIGNS[key] ?? key)
    : key
        .split('+')
        .map((part) => SIGNS[part] ?? part)
        .join('+');

/** What to print on the button of an action: its first key, or "" for an unknown action. */
export const keyOf = (action) => {
  const found = KEYS.find((entry) => entry.action === action);
  return found ? keyText(found.keys[0]) : '';
};

const BY_KEY = new Map(KEYS.flatMap((entry) => entry.keys.map((key) => [key, entry])));

/** Inputs in which nothing is typed: letters are ours there, arrows, Space and Enter are not. */
const UNTYPED = new Set([
  'button',
  'submit',
  'reset',
  'image',
  'file',
  'checkbox',
  'radio',
  'range',
  'color',
]);
const TYPING_ROLES =
  '[role=textbox], [role=searchbox], [role=combobox], [role=spinbutton], [role=listbox]';
const CONTROLS = [
  'button, a[href], summary, label, input, audio, video',
  '[role=button], [role=link], [role=tab], [role=checkbox], [role=radio], [role=switch]',
  '[role=slider], [role=option], [role=menuitem], [role=treeitem], [role=gridcell]',
].join();

/**
 * Where a key goes: "text" (typed text, or a control that needs its keys: never ours), "control" (a
 * button or the like), "canvas", "page", or "dialog" (in one that is open: never ours either).
 */
export function focusOf(target, canvas = null) {
  if (canvas !== null && target === canvas) return 'canvas';
  if (!target?.closest) return 'page';
  if (target.closest('dialog, [role=dialog], [role=alertdialog]')) return 'dialog';
  if (target.isContentEditable || target.closest(`textarea, select, ${TYPING_ROLES}`)) {
    return 'text';
  }
  const input = target.closest('input');
  if (input && !UNTYPED.has(String(input.type).toLowerCase())) return 'text';
  return target.closest(CONTROLS) ? 'control' : 'page';
}

/** The row of the table for a keydown event, whether or not it repeats; null if there is none. */
export function rowOf(event, { focus } = {}) {
  const place = focus ?? focusOf(event.target);
  if (place === 'text' || place === 'dialog' || composing(event)) return null;
  const found = BY_KEY.get(nameOf(event)) ?? BY_KEY.get(digitOf(event));
  return found && allowed(found.when, place, event) ? found : null;
}

/**
 * The action of a keydown event, or null. `focus` as `focusOf` says; left out, it is read off the
 * event. Of a key held down only the first counts, unless the action is one that repeats.
 */
export function actionOf(event, options = {}) {
  const found = rowOf(event, options);
  return found === null || (event.repeat && !found.repeat) ? null : found.action;
}

/**
 * Calls `run(action, event)` for the keys pressed in `root` (a document), until `signal` aborts.
 *
 * The browser's own action is prevented for every key of the table, so that a held Ctrl+S opens no
 * dialog; only Tab, Space and the arrows are left to it where `run` returns false. `isActive` says
 * whether the desk is the page in front; `canvas` is the canvas's element.
 */
export function listenToKeys(root, run, { canvas = null, isActive = () => true, signal } = {}) {
  const onKey = (event) => {
    if (event.defaultPrevented || !isActive() || root.querySelector('dialog:modal')) return;
    const focus = focusOf(event.composedPath()[0] ?? event.target, canvas);
    const found = rowOf(event, { focus });
    if (found === null) return;
    const silent = event.repeat && !found.repeat;
    const handled = silent || run(found.action, event) !== false;
    if (handled || !SCROLLING.has(event.key)) event.preventDefault();
  };
  root.addEventListener('keydown', onKey, { signal });
}

/** Keys that are left to the browser, to scroll or go on with, if nothing wants them. */
const SCROLLING = new Set(['Tab', ' ', 'ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown']);

const composing = (event) =>
  event.isComposing ||
  event.keyCode === 229 ||
  event.altKey ||
  (event.getModifierState?.('AltGraph') ?? false);

/** Keys that buttons and links use themselves: there they are theirs. */
const allowed = (when, place, event) => {
  if (when === 'canvas') return place === 'canvas';
  if (when === 'page') return place !== 'control';
  return place !== 'control' || event.key !== 'Enter' || event.ctrlKey || event.metaKey;
};

function nameOf(event) {
  const ctrl = event.ctrlKey || event.metaKey ? 'Ctrl+' : '';
  if (event.key === ' ') return `${ctrl}${event.shiftKey ? 'Shift+' : ''}Space`;
  if (event.key.length > 1) return `${ctrl}${event.shiftKey ? 'Shift+' : ''}${event.key}`;
  const upper = event.key.toUpperCase();
  // Shift is part of how a sign is typed ("?" or "+"), but a letter with Shift is another key.
  const letter = upper !== event.key.toLowerCase();
  return `${ctrl}${letter && event.shiftKey ? 'Shift+' : ''}${upper}`;
}

function digitOf(event) {
  const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey;
  return plain ? /^Digit(\d)$/.exec(event.code ?? '')?.[1] : undefined;
}
