// Above the canvas: which work, in which order, why this case is here, and whether all is saved.

import { button, el, fill, minutes, say, show, timeOf } from '../dom.mjs';

const WORKS = { first: 'First review', second: 'Second review', reopened: 'Reopened' };
const ORDERS = [
  ['uncertain', 'Uncertain first'],
  ['disagreed', 'Disagreed first'],
  ['oldest', 'Oldest first'],
  ['random', 'At random'],
];
// Below this the time that is left is worth a look.
const SHORT_MS = 120_000;

export function createTopbar(desk) {
  const { flow, me } = desk;
  const works = me.works.map((work) => workButton(work, flow));
  const order = select('Order of the queue', 'order', (value) => flow.choose({ order: value }));
  const ofClass = select('Only cases with this class', 'filter-class', (value) =>
    flow.choose({ class_id: value === '' ? null : Number(value) }),
  );
  const ofModel = select('Only cases of this model', 'filter-model', (value) =>
    flow.choose({ model: value || null }),
  );
  const queue = button('Queue', { run: () => desk.dialogs.queue(), testid: 'queue-open' });
  const chips = el('div', {
    class: 'sl-chips',
    testid: 'reasons',
    role: 'list',
    'aria-label': 'Why this case is here',
  });
  const lease = el('span', { class: 'sl-lease', testid: 'lease-state' });
  const saved = el('span', { class: 'sl-saved', testid: 'saved-state', role: 'status' });
  const element = el(
    'header',
    { class: 'sl-top' },
    el(
      'div',
      { class: 'sl-row' },
      el(
        'div',
        { class: 'sl-works', role: 'group', 'aria-label': 'Class of work' },
        ...works.map((w) => w.element),
      ),
      el('div', { class: 'sl-filters' }, order, ofClass, ofModel, queue),
    ),
    el('div', { class: 'sl-row sl-about' }, chips, lease, saved),
  );

  function update() {
    for (const work of works) work.update();
    fill(order, ORDERS, flow.choice.order);
    const classes = me.classes.map(({ id, name }) => [id, name]);
    fill(ofClass, [['', 'All classes'], ...classes], flow.choice.class_id ?? '');
    const models = [
      ...new Set([...desk.models, ...(flow.choice.model ? [flow.choice.model] : [])]),
    ];
    fill(
      ofModel,
      [['', 'All models'], ...models.map((model) => [model, model])],
      flow.choice.model ?? '',
    );
    const about = flow.session ? reasonsOf(flow.session.view) : [];
    const now = JSON.stringify(about);
    if (chips.dataset.shown !== now) {
      chips.dataset.shown = now;
      chips.replaceChildren(
        ...about.map(([kind, text]) =>
          el('span', { class: `sl-chip ${kind}`, role: 'listitem', text, title: text }),
        ),
      );
    }
    tick();
    showSaved(saved, flow.session, desk.copies.durable);
  }

  function tick() {
    showLease(lease, flow.session);
  }

  return { element, update, tick };
}

function workButton(work, flow) {
  const count = el('span', { class: 'sl-count', testid: `counts-${work}` });
  const element = el(
    'button',
    {
      type: 'button',
      class: 'sl-work',
      testid: `work-${work}`,
      on: { click: () => flow.choose({ work }) },
    },
    el('span', { text: WORKS[work] ?? work }),
    count,
  );
  return {
    element,
    update() {
      element.setAttribute('aria-pressed', String(flow.choice.work === work));
      say(count, String(flow.counts[work] ?? '…'));
    },
  };
}

function select(label, testid, choose) {
  return el('select', {
    class: 'sl-select',
    testid,
    'aria-label': label,
    title: label,
    on: { change: (event) => choose(event.target.value) },
  });
}

// Before the reveal of a second review the server tells no more than that it is wanted, and no model.
function reasonsOf(view) {
  const chips = view.case.reasons.map((reason) => ['sl-why', reason.text]);
  if (view.picked === 'random') chips.unshift(['sl-random', 'Drawn at random']);
  if (view.case.reopens) chips.unshift(['sl-why', 'New version of a settled case']);
  if (view.case.model) chips.push(['sl-model', view.case.model]);
  return chips;
}

function showLease(node, session) {
  const { lease } = session ?? {};
  let text = '';
  let kind = 'none';
  if (session?.lost) [text, kind] = ['No longer held', 'lost'];
  else if (session?.readOnly) [text, kind] = ['Read-only', 'read-only'];
  else if (lease?.held && lease.left === 0)
    [text, kind] = ['Hold ran out, asked for again', 'short'];
  else if (lease?.held && !lease.reached)
    [text, kind] = [`No connection, held ${minutes(lease.left)} more`, 'short'];
  else if (lease?.held && lease.left < SHORT_MS)
    [text, kind] = [`Held ${minutes(lease.left)} more`, 'short'];
  else if (lease?.held) [text, kind] = ['Held for you', 'held'];
  say(node, text);
  node.dataset.kind = kind;
}

const KEPT = ['kept in this browser', 'keep this page open'];

function showSaved(node, session, durable) {
  const kept = KEPT[durable ? 0 : 1];
  const { kind, savedAt, message } = session?.saver.state ?? { kind: 'clean' };
  const texts = {
    clean: '',
    unsaved: 'Saving…',
    saving: 'Saving…',
    saved: `Saved ${timeOf(savedAt)}`,
    offline: `Not saved: no connection, ${kept}`,
    signed_out: `Not saved: signed out, ${kept}`,
    refused: `Not saved: ${message}`,
  };
  const readOnly = !session || session.readOnly || session.lost;
  say(node, readOnly ? '' : texts[kind]);
  node.dataset.kind = readOnly ? 'clean' : kind;
  show(node, node.textContent !== '');
}
