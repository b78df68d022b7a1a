// The classes, with their keys: of the selected box, or of the next one that is drawn.

import { el, keycap, say } from '../dom.mjs';
import { swatch } from './swatch.mjs';

const KEYED = 10;

export function createClasses(desk) {
  const { flow, canvas, me } = desk;
  const heading = el('h2', { text: 'Class' });
  const about = el('span', { class: 'sl-quiet' });
  const items = me.classes.map(({ id, name }, index) => {
    const element = el(
      'button',
      {
        type: 'button',
        class: 'sl-class',
        testid: 'class',
        data: { class: String(id) },
        on: { click: (event) => desk.setClass(id, event) },
      },
      swatch(index),
      el('span', { class: 'sl-name', text: name }),
      index < KEYED ? keycap(String((index + 1) % 10)) : null,
    );
    return { id, element };
  });
  const element = el(
    'section',
    { class: 'sl-panel sl-classes', 'aria-label': 'Classes' },
    el('div', { class: 'sl-heading' }, heading, about),
    el('div', { class: 'sl-class-list' }, ...items.map((item) => item.element)),
  );

  function update() {
    const { session } = flow;
    const editable = Boolean(session?.editable);
    const box = session?.editor.get(session.editor.selected) ?? null;
    const ofBox = box !== null && canvas.tool === 'select';
    say(about, editable ? (ofBox ? 'of the selected box' : 'of the next box') : '');
    const chosen = ofBox ? box.class_id : canvas.drawClass;
    for (const item of items) {
      item.element.setAttribute('aria-pressed', String(session !== null && item.id === chosen));
      item.element.disabled = !editable;
    }
    element.hidden = session?.phase === 'done';
    element.classList.toggle('narrow', session?.phase === 'settle');
  }

  return { element, update };
}
