// The search: a form, and its entries newest first, a page at a time.

import { el, setText } from '../uploads/dom.mjs';
import { action, sorry } from './parts.mjs';
import { followable, outcomeOf } from './words.mjs';

const FIELDS = [
  ['person', 'Person', 'person-1a2b…'],
  ['case', 'Case', ''],
  ['model', 'Model version', 'detector/2'],
  ['run', 'MLflow run', ''],
  ['request_id', 'Request id', ''],
  ['image', 'Image id', 'SHA-256'],
  ['type', 'Type', 'correction.submitted, or fold'],
];
const DAYS = [
  ['since', 'From (UTC)'],
  ['to', 'To (UTC)'],
];
const NOTHING_YET = 'The log is empty. What happens from now on stands here.';
const NOTHING = 'No entry fits. Check for typing errors, or leave out a field.';

export class Search {
  #api;
  #panel;
  #query = {};
  #asked = 0;
  #before = null;
  #types = el('datalist', { id: 'sla-types' });
  #form;
  #about = el('div', { class: 'sla-line', role: 'status', aria: { live: 'polite' } });
  #body = el('tbody', {});
  #table;
  #told = el('div', {});
  #earlier = action('Earlier', () => this.#more());

  constructor(api, panel) {
    this.#api = api;
    this.#panel = panel;
    this.#form = this.#makeForm();
    const heads = ['Entry', 'When (UTC)', 'What', 'Who', 'Outcome'];
    this.#table = el(
      'table',
      { class: 'sla-table', aria: { label: 'Entries, newest first' } },
      el('thead', {}, el('tr', {}, ...heads.map((name) => el('th', { scope: 'col' }, name)))),
      this.#body,
    );
    this.#body.addEventListener('keydown', (event) => this.#walk(event));
    this.form = this.#form;
    this.element = el(
      'section',
      { class: 'sla-list', aria: { label: 'Entries' } },
      this.#about,
      this.#told,
      this.#table,
      el('div', { class: 'sla-line' }, this.#earlier),
    );
  }

  set types(names) {
    this.#types.replaceChildren(...names.map((value) => el('option', { value })));
  }

  /** What the form says, from the newest entry on. */
  async run(extra = {}) {
    this.#query = { ...Object.fromEntries(new FormData(this.#form)), ...extra };
    this.#body.replaceChildren();
    this.#before = null;
    setText(this.#about, 'Searching …');
    await this.#more();
  }

  /** All that is about one thing, whatever the form said. */
  async about({ kind, value }) {
    this.#form.reset();
    const field = kind === 'request' ? 'request_id' : kind;
    const input = this.#form.elements.namedItem(field);
    if (input) input.value = value;
    this.#about.scrollIntoView({ block: 'nearest' });
    await this.run(input ? {} : { kind, value });
  }

  /** To the entry that was chosen, or to the first. */
  comeBack() {
    const row = this.#body.querySelector('[aria-current]') ?? this.#body.firstElementChild;
    (row?.querySelector('button') ?? this.#form.querySelector('input')).focus();
  }

  #makeForm() {
    const field = ([name, label, placeholder]) => {
      const input = el('input', {
        name,
        placeholder,
        type: 'text',
        maxLength: 200,
        autocomplete: 'off',
        spellcheck: false,
      });
      if (name === 'type') input.setAttribute('list', this.#types.id);
      return el('label', { class: 'sla-field' }, el('span', {}, label), input);
    };
    const day = ([name, label]) =>
      el('label', { class: 'sla-field' }, el('span', {}, label), el('input', { name, type: 'date' }));
    const clear = action('Clear', () => {
      this.#form.reset();
      this.#panel.clear();
      this.run();
    });
    const form = el(
      'form',
      { class: 'sla-form', role: 'search', aria: { label: 'Search the audit log' } },
      ...FIELDS.map(field),
      ...DAYS.map(day),
      el(
        'div',
        { class: 'sla-line' },
        el('button', { type: 'submit', class: 'sla-button sla-primary' }, 'Search'),
        clear,
      ),
      this.#types,
    );
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.run();
    });
    return form;
  }

  async #more() {
    const asked = (this.#asked += 1);
    this.#earlier.disabled = true;
    this.#told.replaceChildren();
    let page;
    try {
      page = await this.#api.events({ ...this.#query, before: this.#before ?? '' });
    } catch (error) {
      if (asked === this.#asked) {
        this.#about.replaceChildren();
        this.#earlier.hidden = true;
        this.#table.hidden = this.#body.childElementCount === 0;
        this.#told.replaceChildren(sorry(error));
      }
      return;
    }
    if (asked !== this.#asked) return; // another search was begun meanwhile
    this.#body.append(...page.rows.map((row) => this.#row(row)));
    this.#before = page.before;
    this.#earlier.disabled = false;
    this.#earlier.hidden = page.before === null;
    this.#table.hidden = this.#body.childElementCount === 0;
    this.#say();
  }

  #say() {
    const shown = this.#body.childElementCount;
    if (shown === 0) {
      const asked = Object.values(this.#query).some((text) => text);
      this.#about.replaceChildren(el('p', {}, asked ? NOTHING : NOTHING_YET));
      return;
    }
    const whole = this.#before === null ? 'that is all' : 'there are earlier ones';
    const subject = this.#query.kind ? ` about ${this.#query.kind} ${this.#query.value}` : '';
    const what = `${shown.toLocaleString('en-US')} shown${subject}, newest first; ${whole}.`;
    const lines = [el('p', { class: 'sla-quiet' }, what)];
    const about = followable(this.#query);
    if (about) {
      const go = (label, forward) =>
        action(label, () => this.#panel.follow(about.kind, about.value, forward));
      lines.push(
        go(`Where does this ${about.kind} come from`, false),
        go(`What became of this ${about.kind}`, true),
      );
    }
    this.#about.replaceChildren(...lines);
  }

  #row(row) {
    const choose = () => {
      for (const each of this.#body.rows) each.removeAttribute('aria-current');
      line.setAttribute('aria-current', 'true');
      this.#panel.show(row.index);
    };
    const outcome = outcomeOf(row.outcome);
    const line = el(
      'tr',
      { data: { index: row.index }, on: { click: choose } },
      el('td', {}, el('button', { type: 'button', class: 'sla-link' }, String(row.index))),
      el('td', { class: 'sla-when' }, row.at.replace(' UTC', '')),
      el('td', {}, el('span', { class: 'sla-type' }, row.type), el('span', { class: 'sla-note' }, row.what)),
      el('td', { class: 'sla-who' }, row.actor, el('span', { class: 'sla-note' }, row.role)),
      el('td', { class: outcome ? `sla-${row.outcome}` : 'sla-done' }, outcome || 'done'),
    );
    return line;
  }

  #walk(event) {
    const step = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[event.key];
    const next = step && event.target.closest('tr')?.[step];
    if (!next) return;
    event.preventDefault();
    next.querySelector('button').focus();
  }
}
