// The second review: what model, first and second reviewer drew for each thing, and what it becomes.

import { button, el, fill, keyed, say, show } from '../dom.mjs';
import { keyOf } from '../keys.mjs';
import { LAYERS as LOOKS } from '../palette.mjs';
import { shortWords } from '../settle.mjs';
import { reveal } from './boxes.mjs';
import { swatch } from './swatch.mjs';

const LAYER_NAMES = { model: 'Model', first: 'First', second: 'Mine' };
const LAYER_WORDS = {
  model: "The model's boxes",
  first: "The first reviewer's boxes",
  second: 'Your own, drawn blind',
};
const CHOICES = [
  ['model', 'Model', 'take-model'],
  ['first', 'First', 'take-first'],
  ['second', 'Mine', 'take-mine'],
  ['merge', 'Merge', 'merge'],
  ['drop', 'Drop', 'reject'],
];
export const CHOICE_OF = Object.fromEntries(CHOICES.map(([choice, , action]) => [action, choice]));

export function createGroups(desk) {
  const { flow, me } = desk;
  const reasons = me.settle_reasons.map(({ code, text }) => [code, text]);
  const toggles = Object.keys(LAYER_NAMES).map((layer) => {
    const toggle = button(LAYER_NAMES[layer], {
      testid: `layer-${layer}`,
      key: layer === 'model' ? keyOf('model-layer') : '',
      title: `${LAYER_WORDS[layer]}: show or hide`,
      run: (event) => {
        desk.toggleLayer(layer);
        desk.afterClick(event);
      },
    });
    toggle.prepend(el('span', { class: 'sl-letter', text: LOOKS[layer].letter }));
    return toggle;
  });
  const progress = el('span', { class: 'sl-progress-text', testid: 'settle-progress' });
  const bar = el('progress', { max: 1, value: 0, 'aria-label': 'Settled' });
  const list = el('div', {
    class: 'sl-list',
    testid: 'group-list',
    role: 'list',
    'aria-label': 'Differences',
  });
  const agreed = el('div', { class: 'sl-list', role: 'list', 'aria-label': 'Agreed' });
  const summary = el('summary', { testid: 'agreed' });
  const fold = el('details', { class: 'sl-fold' }, summary, agreed);
  const overall = el('select', {
    class: 'sl-select',
    id: desk.idOf('overall'),
    testid: 'overall-reason',
    on: { change: () => flow.session.setReason(overall.value || null) },
  });
  const element = el(
    'section',
    { class: 'sl-panel sl-groups', 'aria-label': 'Differences' },
    el('div', { class: 'sl-tools', role: 'group', 'aria-label': 'Layers' }, ...toggles),
    el('div', { class: 'sl-heading' }, el('h2', { text: 'Differences' }), progress),
    bar,
    el('div', { class: 'sl-scroll' }, list, fold),
    el(
      'div',
      { class: 'sl-overall' },
      el('label', { htmlFor: overall.id, text: 'Reason for all' }),
      overall,
    ),
  );

  function update() {
    const { session } = flow;
    element.hidden = session?.phase !== 'settle';
    if (element.hidden) return;
    const read = session.settling.read();
    toggles.forEach((toggle, index) => {
      const layer = Object.keys(LAYER_NAMES)[index];
      toggle.setAttribute('aria-pressed', String(desk.layersShown[layer]));
      toggle.disabled = session.view.layers[layer].length === 0;
    });
    say(progress, read.total ? `${read.settled} of ${read.total} settled` : 'none: all agree');
    bar.max = Math.max(1, read.total);
    bar.value = read.total ? read.settled : 1;
    const differing = read.entries.filter((entry) => !entry.group.agree);
    const extra = read.extra.map((box) => ({ group: { id: box.id, extra: true }, box }));
    keyed(list, [...differing, ...extra], (entry) => entry.group.id, makeRow, fillRow);
    const agreeing = read.entries.filter((entry) => entry.group.agree);
    show(fold, agreeing.length > 0);
    say(summary, `${agreeing.length} ${agreeing.length === 1 ? 'agrees' : 'agree'}`);
    keyed(agreed, agreeing, (entry) => entry.group.id, makeRow, fillRow);
    if (agreeing.some((entry) => entry.group === session.settling.group)) fold.open = true;
    const derived = session.settling.rules.overallReason(session.editor.boxes);
    const text = reasons.find(([code]) => code === derived)?.[1] ?? derived;
    fill(overall, [['', `Auto: ${text}`], ...reasons], session.reason ?? '');
    overall.disabled = !session.editable;
    showCurrent();
  }

  function showCurrent() {
    const current = element.querySelector('[aria-current="true"]');
    const key = current?.dataset.key ?? '';
    if (current && element.dataset.current !== key)
      reveal(element.querySelector('.sl-scroll'), current);
    element.dataset.current = key;
  }

  function makeRow({ group }) {
    const head = el(
      'button',
      {
        type: 'button',
        class: 'sl-group-head',
        on: {
          click: () =>
            group.extra ? desk.selectBox(group.id, { centre: true }) : desk.goToGroup(group),
        },
      },
      el('span', { class: 'sl-glyph', 'aria-hidden': 'true' }),
      el('span', { class: 'sl-name' }),
      el('span', { class: 'sl-status' }),
    );
    const buttons = group.extra
      ? []
      : CHOICES.map(([choice, label, action]) =>
          button(label, {
            key: keyOf(action),
            testid: `choose-${choice}`,
            data: { choice },
            run: (event) => {
              desk.settleGroup(group, choice);
              desk.afterClick(event);
            },
          }),
        );
    const reason = el('select', {
      class: 'sl-select',
      'aria-label': 'Reason',
      testid: 'group-reason',
      on: { change: (event) => desk.setGroupReason(group, event.target.value) },
    });
    const body = el(
      'div',
      { class: 'sl-group-body' },
      group.extra || group.agree ? null : el('p', { class: 'sl-quiet', text: group.text }),
      group.extra ? null : el('div', { class: 'sl-choices' }, ...buttons),
      el('div', { class: 'sl-reason' }, el('span', { class: 'sl-quiet', text: 'Reason' }), reason),
    );
    return el('div', { class: 'sl-group', role: 'listitem', testid: 'group-row' }, head, body);
  }

  function fillRow(node, entry, index) {
    const { session } = flow;
    const { group, box } = entry;
    const current = group.extra
      ? session.editor.selected === box.id
      : session.settling.group === group;
    const settled = group.extra || entry.settled;
    node.setAttribute('aria-current', String(current));
    Object.assign(node.dataset, {
      settled: String(settled),
      choice: choiceOf(entry),
      group: group.id,
    });
    const [head, body] = node.children;
    head.setAttribute('aria-expanded', String(current));
    say(head.children[0], settled ? '\u2713' : '\u25cb');
    const text = group.extra ? 'Another box of yours' : `${index + 1}. ${shortWords(group)}`;
    say(head.children[1], text);
    head.title = group.text ?? '';
    const state = el('span', { text: stateText(entry) });
    head.children[2].replaceChildren(
      ...(box && choiceOf(entry) !== 'drop'
        ? [swatch(session.editor.classLabel(box.class_id).index)]
        : []),
      state,
    );
    show(body, current);
    if (!current) return;
    for (const choice of body.querySelectorAll('[data-choice]')) {
      choice.disabled =
        !session.editable || !session.settling.rules.can(group, choice.dataset.choice);
      choice.setAttribute('aria-pressed', String(choiceOf(entry) === choice.dataset.choice));
    }
    const select = body.querySelector('select');
    const value = group.extra
      ? (box.reason ?? session.settling.rules.defaultReason(null))
      : entry.reason;
    fill(select, settled ? reasons : [['', 'Choose first'], ...reasons], value ?? '');
    select.disabled = !session.editable || !settled;
  }

  return { element, update };
}

function choiceOf(entry) {
  if (entry.group.extra) return 'extra';
  if (!entry.settled) return '';
  if (entry.dropped) return 'drop';
  if (entry.how === 'picked') return entry.from;
  return entry.how === 'merged' ? 'merge' : 'redrawn';
}

const STATES = {
  '': 'open',
  extra: '',
  model: "model's",
  first: "first's",
  second: 'mine',
  merge: 'merged',
  redrawn: 'redrawn',
  drop: 'dropped',
};

function stateText(entry) {
  return STATES[choiceOf(entry)];
}
