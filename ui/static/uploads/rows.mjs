// One upload as a row: its name, size, subject and state, and below them what went wrong.

import { button, el, setText } from './dom.mjs';
import { bytes } from './files.mjs';
import { actionOf, problemOf, stateOf } from './words.mjs';

const ROW_PX = 36;
const LINE_PX = 18;
const LETTER_PX = 6.4; // of the font that problems are written in, on average
const MOST_LINES = 3;

/** Pixels, in a list of this width. */
export function heightOf(item, width) {
  const letters = Math.max((width - 32) / LETTER_PX, 20);
  return ROW_PX + LINE_PX * Math.min(Math.ceil(problemOf(item).length / letters), MOST_LINES);
}

/** @param {(id: number, action: 'retry'|'remove') => void} act */
export function makeRow(act) {
  const row = el(
    'div',
    { class: 'slu-row', role: 'listitem' },
    el('span', { class: 'slu-name' }),
    el('span', { class: 'slu-size' }),
    el('span', { class: 'slu-subject' }),
    el('span', { class: 'slu-state' }, el('span'), el('progress', { max: 1 })),
    button('', () => act(Number(row.dataset.id), row.dataset.action)),
    el('span', { class: 'slu-problem' }),
  );
  return row;
}

export function fillRow(row, item) {
  const [name, size, subject, state, act, problem] = row.children;
  row.dataset.id = String(item.id);
  row.dataset.state = item.state;
  setText(name, item.name);
  name.title = item.path;
  setText(size, bytes(item.size));
  setText(subject, item.subject);
  subject.title = item.subject;
  setText(state.firstElementChild, stateOf(item));
  const moving = item.state === 'sending' || item.state === 'detecting';
  state.lastElementChild.hidden = !moving;
  if (moving) state.lastElementChild.value = item.progress;
  const action = actionOf(item);
  act.hidden = action === null;
  if (action !== null) {
    row.dataset.action = action[1];
    setText(act, action[0]);
    act.ariaLabel = `${action[0]} ${item.name}`;
  }
  setText(problem, problemOf(item));
  problem.title = problemOf(item);
}
