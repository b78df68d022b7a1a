// Every box of the case as a list: status, class, confidence; what the canvas shows, in words.

import { el, keyed, say } from '../dom.mjs';
import { GLYPHS } from '../palette.mjs';
import { tourOf } from '../tour.mjs';
import { swatch } from './swatch.mjs';

const STATUS = {
  pending: 'open',
  accepted: 'accepted',
  changed: 'changed',
  added: 'added',
  rejected: 'rejected',
};
const ORIGIN = {
  accepted: "the model's",
  moved: "the model's, moved",
  relabelled: "the model's, other class",
  added: 'added',
  imported: 'imported',
};

export function createBoxes(desk) {
  const { flow, me } = desk;
  const heading = el('h2', { text: 'Boxes' });
  const about = el('span', { class: 'sl-quiet', testid: 'box-count' });
  const list = el('div', {
    class: 'sl-list',
    testid: 'box-list',
    // One of many is selected, arrows move on: as among radio buttons, and letters stay ours.
    role: 'radiogroup',
    'aria-label': 'Boxes',
    on: { keydown: onKey },
  });
  const none = el('p', { class: 'sl-quiet sl-none' });
  const element = el(
    'section',
    { class: 'sl-panel sl-boxes', 'aria-label': 'Boxes' },
    el('div', { class: 'sl-heading' }, heading, about),
    none,
    list,
  );
  const shown = new WeakMap();

  function update() {
    const { session } = flow;
    element.hidden = session?.phase === 'settle';
    const editor = session?.editor;
    const boxes = editor ? orderOf(session) : [];
    say(about, editor ? countsOf(editor) : '');
    say(none, boxes.length === 0 && editor ? emptyText(session.phase) : '');
    none.hidden = none.textContent === '';
    list.hidden = boxes.length === 0;
    keyed(
      list,
      boxes,
      (box) => box.id,
      () => row(),
      fillRow,
    );
    const chosen = list.querySelector('[aria-checked="true"]');
    for (const node of list.querySelectorAll('[tabindex="0"]'))
      if (node !== chosen) node.tabIndex = -1;
    const reachable = chosen ?? list.firstElementChild;
    if (reachable) reachable.tabIndex = 0;
    const moved = list.dataset.scrolled !== (chosen?.dataset.key ?? '');
    list.dataset.scrolled = chosen?.dataset.key ?? '';
    if (chosen && moved) reveal(list, chosen);
  }

  function row() {
    const made = el('div', { class: 'sl-box', testid: 'box-row', role: 'radio', tabIndex: -1 });
    made.addEventListener('click', () => {
      desk.selectBox(made.dataset.key, { centre: true });
      desk.focusCanvas();
    });
    return made;
  }

  function fillRow(node, box) {
    const { editor } = flow.session;
    const checked = String(editor.selected === box.id);
    if (node.getAttribute('aria-checked') !== checked) node.setAttribute('aria-checked', checked);
    node.classList.toggle('dim', box.confidence !== null && box.confidence < desk.canvas.threshold);
    if (shown.get(node) === box) return;
    shown.set(node, box);
    const { index, name } = editor.classLabel(box.class_id);
    const done = flow.session.phase === 'done';
    node.classList.toggle('long', done);
    node.id = desk.idOf(`box-${box.id}`);
    Object.assign(node.dataset, { status: box.status, class: String(box.class_id), box: box.id });
    node.replaceChildren(
      el('span', { class: 'sl-glyph', text: GLYPHS[box.status] ?? '', 'aria-hidden': 'true' }),
      swatch(index),
      el('span', { class: 'sl-name', text: name, title: name }),
      el('span', { class: 'sl-status', text: done ? doneWords(box) : STATUS[box.status] }),
      el('span', {
        class: 'sl-number',
        text: box.confidence === null ? '' : box.confidence.toFixed(2),
      }),
    );
  }

  function doneWords(box) {
    const reason = me.settle_reasons.find(({ code }) => code === box.reason)?.text;
    return [ORIGIN[box.origin] ?? box.origin, box.how, reason?.toLowerCase()]
      .filter(Boolean)
      .join(' · ');
  }

  function onKey(event) {
    const { session } = flow;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const boxes = session ? orderOf(session) : [];
    if (event.ctrlKey || event.shiftKey || boxes.length === 0) return;
    if (event.key === 'Enter') desk.focusCanvas();
    else if (step) {
      const at = boxes.findIndex((box) => box.id === session.editor.selected);
      const next = at === -1 ? 0 : Math.min(boxes.length - 1, Math.max(0, at + step));
      desk.selectBox(boxes[next].id, { centre: true });
      update();
      list.querySelector('[aria-checked="true"]')?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return { element, update };
}

/** Scrolls the list only, never the page. */
export function reveal(list, node) {
  const [outer, inner] = [list.getBoundingClientRect(), node.getBoundingClientRect()];
  if (inner.top < outer.top || inner.height > outer.height) list.scrollTop += inner.top - outer.top;
  else if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom;
}

// An answered box stays where it was in the list: the order is that of the first look at the case.
const orders = new WeakMap();

function orderOf({ editor }) {
  const places = orders.get(editor) ?? new Map();
  orders.set(editor, places);
  for (const box of tourOf(editor.boxes)) if (!places.has(box.id)) places.set(box.id, places.size);
  return [...editor.boxes].sort((a, b) => places.get(a.id) - places.get(b.id));
}

function countsOf(editor) {
  const all = editor.boxes.filter((box) => box.status !== 'rejected').length;
  const open = editor.pending;
  return open ? `${all}, ${open} unanswered` : String(all);
}

function emptyText(phase) {
  if (phase === 'blind') return 'Draw a box around each thing you would mark.';
  if (phase === 'done') return 'No finding.';
  return 'The model found nothing here.';
}
