// One file on its way, and the sum of many.

/**
 * ready: added, not started; waiting: its turn will come; sending; detecting: all of it is sent, no
 * answer yet; queued: the answer is here; refused: sending it again would change nothing; failed
 * and cancelled: may be sent again.
 * @typedef {'ready'|'waiting'|'sending'|'detecting'|'queued'|'refused'|'failed'|'cancelled'} State
 *
 * @typedef {object} Item
 * @property {number} id
 * @property {string} name
 * @property {string} path
 * @property {number} size bytes
 * @property {File|null} file let go of once it is queued
 * @property {State} state
 * @property {number} progress how much of it is sent, 0 to 1
 * @property {string} subject
 * @property {string} message what went wrong
 * @property {string} hint what to do about it
 * @property {{detections: number}|null} answer
 */

/** @returns {Item} refused at once if it is empty or larger than `maxBytes` */
export function newItem(id, { file, path, key, maxBytes }) {
  const item = {
    id,
    key,
    name: file.name,
    path,
    size: file.size,
    file,
    state: 'ready',
    progress: 0,
    subject: '',
    tries: 0,
    message: '',
    hint: '',
    answer: null,
  };
  if (file.size > maxBytes) {
    const most = Math.floor(maxBytes / 2 ** 20);
    refuse(item, `The file is larger than ${most} MiB.`, 'Send a smaller image.');
  } else if (file.size === 0) {
    refuse(item, 'The file is empty.', 'Choose another.');
  }
  return item;
}

export function refuse(item, message, hint) {
  Object.assign(item, { state: 'refused', message, hint });
}

/** How many items are in each state; `boxes` found; `share` of what was started, 0 to 1. */
export function totalsOf(items) {
  const totals = {
    all: items.length,
    ready: 0,
    waiting: 0,
    sending: 0,
    detecting: 0,
    queued: 0,
    refused: 0,
    failed: 0,
    cancelled: 0,
    boxes: 0,
    share: 0,
  };
  let started = 0;
  let done = 0;
  for (const item of items) {
    totals[item.state] += 1;
    totals.boxes += item.answer?.detections ?? 0;
    if (item.state !== 'waiting' && (item.tries === 0 || item.state === 'cancelled')) continue;
    started += 1;
    if (item.state === 'queued' || item.state === 'refused') done += 1;
    // Detection takes its time too: a file that is sent is not yet done.
    else if (item.state === 'sending' || item.state === 'detecting') done += item.progress * 0.9;
  }
  totals.share = started === 0 ? 0 : done / started;
  return totals;
}
