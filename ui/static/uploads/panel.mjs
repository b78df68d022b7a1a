// Uploading images: what to send on the left, what became of it on the right.

import { button, choice, el, perFrame, setText } from './dom.mjs';
import { count, ofDrop, ofField, subjectOf, subjectSummary } from './files.mjs';
import { VirtualList } from './list.mjs';
import { fillRow, heightOf, makeRow } from './rows.mjs';
import { addedText, summaryOf } from './words.mjs';

const PROBLEMS = new Set(['refused', 'failed', 'cancelled']);
const ACCEPT = '.jpg,.jpeg,.png,.tif,.tiff,.bmp,.webp,image/*';
const RULES = [
  ['alone', 'Each image stands for itself'],
  ['one', 'All of one subject:'],
  ['name', 'By file name: what stands before the first underscore'],
  ['folder', 'By folder: the one that the image lies in'],
];

/** @param {import('./queue.mjs').UploadQueue} queue */
export function uploadPanel(queue) {
  const panel = new Panel(queue);
  return panel.element;
}

class Panel {
  #queue;
  #rule = 'alone';
  #said = el('p', { class: 'slu-said', role: 'status' });
  #most = el('span');
  #typed = el('input', {
    type: 'text',
    class: 'slu-text',
    maxLength: 128,
    autocomplete: 'off',
    aria: { label: 'Subject of all images' },
  });
  #preview = el('p', { class: 'slu-hint', aria: { live: 'polite' } });
  #start = button('Upload', () => this.#begin(), { class: 'slu-button slu-primary' });
  #summary = el('span', { class: 'slu-summary', data: { testid: 'upload-summary' } });
  #total = el('progress', { max: 1, value: 0, aria: { label: 'All uploads' } });
  #cancel = button('Cancel', () => this.#queue.cancel());
  #retry = button('Retry', () => this.#queue.retryAll());
  #clear = button('Clear finished', () => this.#queue.clearFinished());
  #only = el('input', { type: 'checkbox', on: { change: () => this.#draw() } });
  #pause = el('div', { class: 'slu-banner', role: 'alert', hidden: true });
  #rows = el('div', { class: 'slu-rows', role: 'list', tabIndex: 0, aria: { label: 'Images' } });
  #empty = el('p', { class: 'slu-empty' }, 'Images that you choose are listed here.');
  #list;

  constructor(queue) {
    this.#queue = queue;
    this.element = el('section', { class: 'slu-section' }, this.#left(), this.#right());
    this.#list = new VirtualList(this.#rows, {
      heightOf: (item) => heightOf(item, this.#rows.clientWidth),
      make: () => makeRow((id, action) => this.#queue[action](id)),
      fill: fillRow,
    });
    const draw = perFrame(() => this.#draw());
    queue.subscribe(draw);
    // Not on focus: whoever goes through the form with Tab has not chosen anything.
    for (const event of ['input', 'click']) {
      this.#typed.addEventListener(event, () => this.#choose('one'));
    }
    new ResizeObserver(draw).observe(this.#rows);
    draw();
  }

  #left() {
    const chosen = (event) => {
      this.#add(ofField(event.target.files));
      event.target.value = ''; // the same files may be chosen again
    };
    const files = el('input', {
      type: 'file',
      multiple: true,
      accept: ACCEPT,
      hidden: true,
      data: { testid: 'upload-files' },
      on: { change: chosen },
    });
    const folder = el('input', {
      type: 'file',
      webkitdirectory: true,
      hidden: true,
      data: { testid: 'upload-folder' },
      on: { change: chosen },
    });
    const drop = el(
      'div',
      { class: 'slu-drop', data: { testid: 'upload-drop' } },
      el('p', {}, 'Drop images or folders here, or choose:'),
      el(
        'div',
        { class: 'slu-line' },
        button('Images…', () => files.click()),
        button('A folder…', () => folder.click()),
      ),
      el(
        'p',
        { class: 'slu-hint' },
        'JPEG, PNG, TIFF, BMP or WebP',
        this.#most,
        '. File names stay on this computer.',
      ),
      files,
      folder,
    );
    this.#takeDrops(drop);
    return el(
      'div',
      { class: 'slu-left' },
      el('h2', {}, 'Upload images'),
      drop,
      this.#said,
      this.#subjects(),
      el('div', { class: 'slu-line' }, this.#start),
    );
  }

  #subjects() {
    const choices = RULES.map(([value, label]) =>
      choice('slu-subject', value, label, {
        checked: value === this.#rule,
        onChange: () => this.#choose(value),
      }),
    );
    choices[1].append(this.#typed);
    return el(
      'fieldset',
      { class: 'slu-fieldset' },
      el('legend', {}, 'Subject'),
      el(
        'p',
        { class: 'slu-hint' },
        'Images of one patient or slide are one subject: no model is tested on a subject that it was trained with. Only a pseudonym of it is kept.',
      ),
      ...choices,
      this.#preview,
    );
  }

  #right() {
    return el(
      'div',
      { class: 'slu-right' },
      el(
        'div',
        { class: 'slu-line slu-top' },
        this.#summary,
        this.#cancel,
        this.#retry,
        this.#clear,
      ),
      this.#total,
      this.#pause,
      el(
        'div',
        { class: 'slu-head', aria: { hidden: 'true' } },
        ...['Name', 'Size', 'Subject', 'State'].map((name) => el('span', {}, name)),
        el('label', { class: 'slu-only' }, this.#only, 'Problems only'),
      ),
      el('div', { class: 'slu-frame' }, this.#rows, this.#empty),
    );
  }

  #takeDrops(drop) {
    const over = (is) => (event) => {
      event.preventDefault();
      drop.classList.toggle('slu-over', is);
    };
    drop.addEventListener('dragenter', over(true));
    drop.addEventListener('dragover', over(true));
    drop.addEventListener('dragleave', over(false));
    drop.addEventListener('drop', async (event) => {
      over(false)(event);
      setText(this.#said, 'Looking through what was dropped…');
      this.#add(await ofDrop(event.dataTransfer));
    });
  }

  #add(found) {
    if (found.length > 0) setText(this.#said, addedText(this.#queue.add(found)));
    else setText(this.#said, '');
  }

  #choose(rule) {
    this.#rule = rule;
    this.element.querySelector(`input[name="slu-subject"][value="${rule}"]`).checked = true;
    this.#draw();
  }

  #begin() {
    this.#queue.start((path) => subjectOf(this.#rule, this.#typed.value, path));
    setText(this.#said, '');
  }

  #draw() {
    const totals = this.#queue.totals();
    const ready = this.#queue.items.filter((item) => item.state === 'ready');
    const subjects = ready.map((item) => subjectOf(this.#rule, this.#typed.value, item.path));
    const most = this.#queue.maxBytes;
    setText(this.#most, most < Infinity ? `, up to ${Math.floor(most / 2 ** 20)} MiB each` : '');
    setText(this.#preview, subjectSummary(subjects));
    setText(this.#start, totals.ready > 0 ? `Upload ${count(totals.ready, 'image')}` : 'Upload');
    this.#start.disabled =
      totals.ready === 0 || (this.#rule === 'one' && !this.#typed.value.trim());
    setText(this.#summary, summaryOf(totals));
    this.#total.value = totals.share;
    this.#cancel.hidden = totals.waiting + totals.sending === 0;
    const again = totals.failed + totals.cancelled;
    this.#retry.hidden = again === 0;
    setText(this.#retry, `Retry ${again}`);
    this.#clear.hidden = totals.queued + totals.refused + totals.cancelled === 0;
    this.#drawPause();
    this.#drawList(totals);
  }

  #drawPause() {
    const pause = this.#queue.paused;
    this.#pause.hidden = pause === null;
    if (pause === null) {
      this.#pause.replaceChildren();
    } else if (
      this.#pause.dataset.message !== pause.message ||
      this.#pause.childElementCount === 0
    ) {
      this.#pause.dataset.message = pause.message;
      const text = el('span', {}, el('strong', {}, `Paused. ${pause.message}`), ` ${pause.hint}`);
      this.#pause.replaceChildren(
        text,
        button('Continue', () => this.#queue.resume()),
      );
    }
  }

  #drawList(totals) {
    const items = this.#only.checked
      ? this.#queue.items.filter((item) => PROBLEMS.has(item.state))
      : this.#queue.items;
    this.#list.show(items);
    this.#empty.hidden = items.length > 0;
    const none = totals.all > 0 ? 'No problems.' : 'Images that you choose are listed here.';
    setText(this.#empty, none);
  }
}
