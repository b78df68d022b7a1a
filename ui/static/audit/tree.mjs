// A chain of steps as a tree that opens and closes; each entry in it is a button.

import { el } from '../uploads/dom.mjs';
import { count, gapsIn, outcomeOf } from './words.mjs';

// Of many side by side, such as the answers of a snapshot, each opens when somebody wants to see it.
const MOST_OPEN = 6;

export function tree(step, onEntry) {
  const gaps = gapsIn(step);
  const told = gaps === 0 ? 'No gap in it.' : `${count(gaps, 'gap')} in it, named where they are.`;
  return el('div', { class: 'sla-tree' }, el('p', { class: 'sla-quiet' }, told), node(step, onEntry));
}

function node(step, onEntry, open = true) {
  const quiet = (text) => el('p', { class: 'sla-quiet' }, text);
  return el(
    'details',
    { open },
    el('summary', {}, step.title, gapMark(step)),
    ...(step.note ? [quiet(step.note)] : []),
    ...step.gaps.map((gap) => el('p', { class: 'sla-gap' }, el('strong', {}, 'Gap. '), gap)),
    ...(step.events.length > 0 ? [entries(step.events, onEntry)] : []),
    ...step.steps.map((each) => node(each, onEntry, step.steps.length <= MOST_OPEN)),
  );
}

function gapMark(step) {
  const gaps = gapsIn(step);
  return gaps === 0 ? '' : el('span', { class: 'sla-mark' }, ` ${count(gaps, 'gap')}`);
}

function entries(events, onEntry) {
  return el('ul', {}, ...events.map((event) => el('li', {}, link(event, onEntry))));
}

function link(event, onEntry) {
  const outcome = outcomeOf(event.outcome);
  return el(
    'button',
    {
      type: 'button',
      class: 'sla-link',
      data: { index: event.index },
      on: { click: () => onEntry(event.index) },
    },
    `${event.index} ${event.type}`,
    el(
      'span',
      { class: 'sla-quiet' },
      ` ${event.at.slice(0, 19).replace('T', ' ')} UTC · ${event.actor}${outcome ? ` · ${outcome}` : ''}`,
    ),
  );
}
