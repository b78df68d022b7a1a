// Small pieces that the panels of the auditor's page share.

import { el } from '../uploads/dom.mjs';

export function action(label, onClick, options = {}) {
  return el('button', { type: 'button', class: 'sla-button', on: { click: onClick }, ...options }, label);
}

/** A framed message; `tone` is info, good, warn or bad, and `word` says so to everybody. */
export function notice(tone, word, ...lines) {
  const role = tone === 'bad' ? 'alert' : 'status';
  const [first = '', ...rest] = lines.filter(Boolean);
  return el(
    'div',
    { class: `sla-notice sla-${tone}`, role },
    el('p', {}, el('strong', {}, word), word ? ' ' : '', first),
    ...rest.map((line) => el('p', {}, line)),
  );
}

export function sorry(error, word = '') {
  if (!word) word = error.status === 404 ? 'Not found.' : 'This did not work.';
  return notice('bad', word, error.message, error.hint ?? '');
}

/** Runs `work` with its button out of use, and shows in `place` what went wrong. */
export async function busy(button, place, work) {
  button.disabled = true;
  place.replaceChildren(el('p', { class: 'sla-quiet', role: 'status' }, 'One moment …'));
  try {
    await work();
  } catch (error) {
    place.replaceChildren(sorry(error));
  } finally {
    button.disabled = false;
  }
}
