// Over the canvas where there is nothing to draw on: no case, no image, no connection, no session.

import { button, el } from '../dom.mjs';

export function createOverlay(desk) {
  const element = el('div', { class: 'sl-overlay', testid: 'overlay' });

  function update() {
    const state = stateOf(desk);
    element.hidden = state === null;
    const now = JSON.stringify(state && [state.id, state.title, state.text]);
    if (element.dataset.shown === now) return;
    element.dataset.shown = now;
    element.replaceChildren(...(state ? draw(state) : []));
  }

  return { element, update };
}

function draw({ id, title, text, actions = [] }) {
  return [
    el(
      'div',
      { class: 'sl-card', testid: id },
      el('h2', { text: title }),
      text ? el('p', { text }) : null,
      actions.length ? el('div', { class: 'sl-card-actions' }, ...actions) : null,
    ),
  ];
}

const WORDS = { first: 'a first review', second: 'a second review', reopened: 'another look' };

function stateOf(desk) {
  const { flow } = desk;
  if (!flow.session && flow.status === 'failed') {
    const { text, hint, retry } = flow.error ?? { text: '', hint: '' };
    return {
      id: 'failed',
      title: 'This did not work',
      text: `${text} ${hint}`.trim(),
      actions: retry ? [button('Try again', { run: retry, kind: 'primary', testid: 'retry' })] : [],
    };
  }
  if (flow.status === 'empty') return empty(desk);
  if (!flow.session || flow.image === 'loading') return { id: 'loading', title: 'Loading…' };
  if (flow.image === 'failed') {
    return {
      id: 'image-failed',
      title: 'The image could not be loaded',
      text: 'Your work on this case is kept.',
      actions: [
        button('Try again', { run: () => flow.showImage(), kind: 'primary', testid: 'retry' }),
      ],
    };
  }
  return null;
}

function empty(desk) {
  const { flow, me } = desk;
  const { work, class_id: classId, model } = flow.choice;
  const filtered = classId !== null || model !== null;
  const others = me.works.filter((other) => other !== work && flow.counts[other] > 0);
  const actions = [
    button('Check again', { run: () => flow.takeNext(), kind: 'primary', testid: 'check-again' }),
  ];
  if (filtered) {
    actions.push(
      button('Clear the filters', { run: () => desk.clearFilters(), testid: 'clear-filters' }),
    );
  }
  for (const other of others) {
    actions.push(
      button(`${flow.counts[other]} for ${WORDS[other]}`, {
        run: () => flow.choose({ work: other }),
        testid: `go-${other}`,
      }),
    );
  }
  const source = work === 'first' ? ' New images, from Upload or over the API, bring new cases.' : '';
  const text = filtered
    ? 'No free case matches these filters. Others may be there without them.'
    : `All done here, or in the hands of others.${source}`;
  return { id: 'empty', title: `No case waits for ${WORDS[work] ?? 'you'}`, text, actions };
}
