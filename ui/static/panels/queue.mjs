// The queue as a list, page by page: what waits and why, and what is settled.

import { button, el, fill, say, show } from '../dom.mjs';

const ROWS = 50;
const STATES = {
  first: 'First review',
  second: 'Second review',
  reopened: 'Reopened',
  settled: 'Settled',
};

export function queueDialog(desk, open) {
  const { flow, api } = desk;
  const state = el('select', {
    class: 'sl-select',
    'aria-label': 'State',
    testid: 'queue-state',
    on: { change: () => load() },
  });
  const about = el('span', { class: 'sl-quiet', testid: 'queue-total', role: 'status' });
  const body = el('tbody', null);
  const more = button('Show more', { run: () => load(cursor), testid: 'queue-more' });
  const columns = [
    ['Why it is here', ''],
    ['Uncertainty', 'sl-number'],
    ['Model', 'sl-more'],
    ['Since', 'sl-more'],
  ];
  const table = el(
    'table',
    { class: 'sl-table' },
    el(
      'thead',
      null,
      el(
        'tr',
        null,
        ...columns.map(([text, kind]) => el('th', { scope: 'col', class: kind, text })),
        el('td', null),
      ),
    ),
    body,
  );
  const { dialog, close } = open(
    'queue',
    'Queue',
    el('div', { class: 'sl-row' }, state, about),
    el(
      'div',
      { class: 'sl-table-box', tabIndex: 0, role: 'region', 'aria-label': 'Cases' },
      table,
      more,
    ),
  );
  let cursor = null;
  let round = 0;
  const works = Object.entries(STATES).filter(
    ([each]) => each === 'settled' || desk.me.works.includes(each),
  );
  fill(state, works, flow.choice.work);
  load();

  async function load(from = null) {
    round += 1;
    const mine = round;
    const { order, class_id, model } = flow.choice;
    const query = { state: state.value, order, class_id, model, cursor: from, limit: ROWS };
    more.disabled = true;
    try {
      const page = await api.queue(query);
      if (mine !== round || !dialog.isConnected) return;
      cursor = page.cursor;
      desk.sawModels(page.models ?? []);
      if (from === null) body.replaceChildren();
      body.append(...page.rows.map(row));
      say(about, `${page.total} ${page.total === 1 ? 'case' : 'cases'}`);
    } catch (error) {
      if (mine === round) say(about, `${error.message} ${error.hint ?? ''}`.trim());
    }
    more.disabled = false;
    show(more, cursor !== null);
  }

  function row(entry) {
    const take = button('Open', {
      testid: 'queue-row-open',
      run: () => {
        close();
        flow.open(entry.id);
      },
    });
    return el(
      'tr',
      { testid: 'queue-row', data: { case: entry.id } },
      el('td', { text: reasonText(entry) }),
      el('td', { class: 'sl-number', text: entry.priority === null ? '' : `${Math.round(entry.priority * 100)} %` }),
      el('td', { class: 'sl-more', text: entry.model ?? '' }),
      el('td', { class: 'sl-more', text: new Date(entry.created_at).toLocaleDateString() }),
      el('td', null, take),
    );
  }
}

/** Of a case that waits for a second review the server tells nothing that would unblind. */
function reasonText({ reasons }) {
  return reasons.map((reason) => reason.text).join(', ');
}
