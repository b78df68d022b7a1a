// A remark on the case. Esc goes back to the image; Ctrl+Enter and Ctrl+S work here too.

import { el, keycap, show } from '../dom.mjs';
import { keyOf } from '../keys.mjs';

// As the server takes it.
const LONGEST = 4000;

export function createComment(desk) {
  const { flow } = desk;
  const area = el('textarea', {
    id: desk.idOf('comment'),
    rows: 2,
    maxLength: LONGEST,
    testid: 'comment',
    placeholder: 'Optional',
    on: { input: () => flow.session?.setComment(area.value), keydown: onKey },
  });
  const earlier = el('div', { class: 'sl-earlier' });
  const element = el(
    'section',
    { class: 'sl-panel sl-comment' },
    earlier,
    el(
      'div',
      { class: 'sl-heading' },
      el('label', { htmlFor: area.id, text: 'Comment' }),
      keycap(keyOf('comment')),
    ),
    area,
  );

  function onKey(event) {
    const ctrl = event.ctrlKey || event.metaKey;
    if (event.key === 'Escape') desk.focusCanvas();
    else if (ctrl && event.key === 'Enter') desk.act('submit');
    else if (ctrl && event.key.toLowerCase() === 's') desk.act('save');
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  function update() {
    const { session } = flow;
    const phase = session?.phase;
    // Blind answers carry boxes only; what was said about a case that is done is above.
    show(element, Boolean(session) && phase !== 'blind');
    show(area, phase !== 'done');
    show(area.previousElementSibling, phase !== 'done');
    area.disabled = !session?.editable;
    const text = session?.comment ?? '';
    if (area.value !== text) area.value = text;
    const said = session ? saidBefore(session.view) : [];
    show(earlier, said.length > 0);
    const now = JSON.stringify(said);
    if (earlier.dataset.shown === now) return;
    earlier.dataset.shown = now;
    earlier.replaceChildren(
      ...said.map(([who, words]) => el('p', null, el('b', { text: `${who}: ` }), words)),
    );
  }

  return { element, update, focus: () => area.focus() };
}

function saidBefore({ first_comment, second_comment }) {
  const said = [
    ['First reviewer', first_comment],
    ['Second reviewer', second_comment],
  ];
  return said.filter(([, words]) => words);
}
