// Importing a labelled data set, for engineers: the ZIP and what it is on the left, what became of
// it on the right.

import { button, choice, el, perFrame, setText } from './dom.mjs';
import { bytes } from './files.mjs';
import { goesOn, KINDS, PATTERNS, stepOf } from './importing.mjs';
import { earlierOnes, problemTable } from './report.mjs';

const FORMATS = [
  ['voc', 'Pascal VOC'],
  ['coco', 'COCO'],
  ['yolo', 'YOLO'],
];
const LAYOUTS = {
  voc: 'Annotations/*.xml and JPEGImages/, or each XML file beside its image.',
  coco: 'annotations/*.json and images/.',
  yolo: 'images/, labels/ with a text file for each image, and data.yaml.',
};
const BOXES = [
  ['truth', 'True: they need no review'],
  ['prediction', 'Predictions: they wait for review'],
  ['gold', 'True, and frozen into the gold set'],
];
const SUBJECTS = [
  ['alone', 'Each image by itself'],
  ['name', 'File name up to the first _'],
  ['folder', 'Name of its folder'],
  ['own', 'Regular expression'],
];
/**
 * @param {import('./importing.mjs').Importing} importing
 * @param {() => Promise<{imports: object[]}>} earlier those that the server remembers
 */
export function importPanel(importing, earlier) {
  return new Panel(importing, earlier);
}

class Panel {
  #importing;
  #earlier;
  #file = null;
  #picked = el('span', { class: 'slu-picked' }, 'No ZIP chosen.');
  #format = select('Format', FORMATS, () => this.draw());
  #layout = el('p', { class: 'slu-hint' });
  #subject = select('Subject', SUBJECTS, () => this.draw());
  #pattern = el('input', {
    type: 'text',
    class: 'slu-text',
    maxLength: 200,
    spellcheck: false,
    placeholder: 'for example ^([^_]+)_',
    aria: { label: 'Regular expression' },
    title: 'Group 1 of it is the subject.',
  });
  #name = el('input', {
    type: 'text',
    class: 'slu-text',
    maxLength: 64,
    autocomplete: 'off',
    placeholder: 'for example cells-2024',
    pattern: '[A-Za-z0-9][A-Za-z0-9._\\-]*',
  });
  #begin = button('Import', () => this.#import(), { class: 'slu-button slu-primary' });
  #cancel = button('Cancel', () => this.#importing.cancel());
  #step = el('p', { class: 'slu-step', role: 'status', data: { testid: 'import-step' } });
  #bar = el('progress', { max: 1, aria: { label: 'This import' } });
  #problem = el('div', { class: 'slu-banner', role: 'alert', hidden: true });
  #nothing = el(
    'p',
    { class: 'slu-nothing' },
    'How far an import is, and its report, are shown here.',
  );
  #report = el('div', { class: 'slu-report' });
  #list = el('div', { class: 'slu-earlier' });
  #drawn = null;
  #kind = 'truth';

  constructor(importing, earlier) {
    this.#importing = importing;
    this.#earlier = earlier;
    this.element = el(
      'section',
      { class: 'slu-section', data: { testid: 'import-section' } },
      this.#left(),
      this.#right(),
    );
    this.redraw = perFrame(() => this.draw());
    this.draw();
  }

  /** What goes on already, begun before this page was opened or by somebody else. */
  async load() {
    const imports = await this.#drawEarlier();
    const current = imports.find(goesOn);
    if (current) await this.#importing.show(current.id);
  }

  draw() {
    const { status, problem, busy } = this.#importing;
    const own = this.#subject.field.value === 'own';
    this.#pattern.hidden = !own;
    setText(this.#layout, LAYOUTS[this.#format.field.value]);
    this.#begin.disabled = busy || this.#file === null || (status !== null && goesOn(status));
    this.#cancel.hidden = !this.#importing.sending;
    this.#problem.hidden = problem === null;
    setText(this.#problem, problem ? `${problem.message} ${problem.hint}` : '');
    const [text, share] = status === null ? [busy ? 'Asking…' : '', null] : stepOf(status);
    this.#nothing.hidden = status !== null || busy || problem !== null;
    setText(this.#step, text);
    this.#step.classList.toggle('slu-failed', status?.state === 'failed');
    this.#bar.hidden = status === null || !goesOn(status);
    if (share === null) this.#bar.removeAttribute('value');
    else this.#bar.value = share;
    this.#drawReport(status);
  }

  #left() {
    const zip = el('input', {
      type: 'file',
      accept: '.zip,application/zip',
      hidden: true,
      data: { testid: 'import-file' },
      on: { change: (event) => this.#pick(event.target.files[0]) },
    });
    const kinds = BOXES.map(([value, label]) =>
      choice('slu-boxes', value, label, {
        checked: value === this.#kind,
        onChange: () => (this.#kind = value),
      }),
    );
    return el(
      'div',
      { class: 'slu-left' },
      el('h2', {}, 'Import a labelled data set'),
      el(
        'div',
        { class: 'slu-line' },
        button('Choose a ZIP…', () => zip.click()),
        this.#picked,
        zip,
      ),
      el(
        'p',
        { class: 'slu-hint' },
        'A ZIP of images without labels is not for here: unpack it and upload the images above, for the model to detect in them.',
      ),
      this.#format.row,
      this.#layout,
      el('fieldset', { class: 'slu-fieldset' }, el('legend', {}, 'Its boxes'), ...kinds),
      this.#subject.row,
      this.#pattern,
      el('label', { class: 'slu-field' }, el('span', {}, 'Name'), this.#name),
      el(
        'p',
        { class: 'slu-hint' },
        'It stands in the data and in the audit log: not a person’s. Empty: a number from the ZIP’s content.',
      ),
      el('div', { class: 'slu-line' }, this.#begin, this.#cancel),
    );
  }

  #right() {
    return el(
      'div',
      { class: 'slu-right' },
      this.#nothing,
      this.#step,
      this.#bar,
      this.#problem,
      this.#report,
      this.#list,
    );
  }

  #pick(file) {
    this.#file = file ?? null;
    setText(this.#picked, file ? `${file.name}, ${bytes(file.size)}` : 'No ZIP chosen.');
    this.#picked.title = file?.name ?? '';
    this.draw();
  }

  async #import() {
    const subject = this.#subject.field.value;
    const options = {
      format: this.#format.field.value,
      ...KINDS[this.#kind],
      subject_pattern: PATTERNS[subject] ?? this.#pattern.value,
      name: this.#name.value.trim(),
    };
    await this.#importing.begin(options, this.#file);
  }

  #drawReport(status) {
    const key = status && !goesOn(status) ? status.id : null;
    if (key === this.#drawn) return;
    this.#drawn = key;
    const problems = status?.report?.problems ?? [];
    this.#report.replaceChildren(...(problems.length > 0 ? problemTable(status.report) : []));
    if (key !== null) this.#drawEarlier();
  }

  async #drawEarlier() {
    let imports;
    try {
      ({ imports } = await this.#earlier());
    } catch {
      return []; // the list is a courtesy, and what fails here fails elsewhere too
    }
    const over = imports.filter((each) => !goesOn(each));
    this.#list.replaceChildren(...earlierOnes(over, (id) => this.#importing.show(id)));
    return imports;
  }
}

function select(label, options, onChange = () => {}) {
  const field = el(
    'select',
    { class: 'slu-text', aria: { label }, on: { change: onChange } },
    ...options.map(([value, text]) => el('option', { value }, text)),
  );
  return { field, row: el('label', { class: 'slu-field' }, el('span', {}, label), field) };
}
