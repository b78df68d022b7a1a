// What the page says about an upload.

import { count } from './files.mjs';

/** @param {import('./queue.mjs').Item} item */
export function stateOf(item) {
  switch (item.state) {
    case 'sending':
      return `${Math.floor(item.progress * 100)} %`;
    case 'detecting':
      return 'detecting…';
    case 'queued':
      return `queued: ${item.answer.detections === 0 ? 'no box' : boxes(item.answer.detections)}`;
    case 'failed':
      return 'not sent';
    default:
      return item.state;
  }
}

/** What went wrong and what to do, in one line; empty when nothing did. */
export function problemOf(item) {
  return `${item.message} ${item.hint}`.trim();
}

/** The one thing to do about a file: `[label, action]`, or null. */
export function actionOf(item) {
  switch (item.state) {
    case 'failed':
    case 'cancelled':
      return ['Retry', 'retry'];
    case 'waiting':
    case 'sending':
      return ['Cancel', 'remove'];
    case 'detecting':
    case 'queued':
      return null;
    default:
      return ['Remove', 'remove'];
  }
}

/** One line about all of them. */
export function summaryOf(totals) {
  if (totals.all === 0) return 'No images yet.';
  const active = totals.sending + totals.detecting;
  const parts = [
    [totals.ready, 'ready'],
    [totals.waiting, 'waiting'],
    [active, 'under way'],
    [totals.queued, `queued with ${boxes(totals.boxes)}`],
    [totals.refused, 'refused'],
    [totals.failed, 'not sent'],
    [totals.cancelled, 'cancelled'],
  ];
  const said = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  return `${count(totals.all, 'image')}: ${said.join(', ')}.`;
}

/** What became of the files that were chosen. */
export function addedText({ added, known, others }) {
  const parts = [added > 0 ? `${count(added, 'image')} added` : 'Nothing added'];
  if (known > 0) parts.push(`${count(known, 'file')} listed already`);
  if (others > 0) parts.push(`${count(others, 'other file')} left out`);
  return `${parts.join(', ')}.`;
}

function boxes(number) {
  return `${number} ${number === 1 ? 'box' : 'boxes'}`;
}
