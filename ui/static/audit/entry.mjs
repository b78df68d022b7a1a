// One entry of the log: what it says, its proof, and where it leads.

import { el } from '../uploads/dom.mjs';
import { action, busy, notice, sorry } from './parts.mjs';
import { tree } from './tree.mjs';
import { proofWords, witnessWords } from './words.mjs';

export class EntryPanel {
  #api;
  #onSearch;
  #shown = null;
  #contents = el('div', {});

  /**
   * `onSearch({kind, value})` is called for what somebody wants to see the other entries of,
   * `onBack()` where the list is out of sight.
   */
  constructor(api, onSearch, onBack) {
    this.#api = api;
    this.#onSearch = onSearch;
    const back = action('Back to the entries', onBack, { class: 'sla-button sla-back' });
    this.element = el(
      'section',
      { class: 'sla-entry', tabIndex: -1, aria: { label: 'The chosen entry' } },
      back,
      this.#contents,
    );
    this.clear();
  }

  clear() {
    this.#shown = null;
    const text = 'Choose an entry to see what it says, what it came from, and its proof.';
    this.#contents.replaceChildren(el('p', { class: 'sla-quiet' }, text));
  }

  /** `which` is an index or an id. */
  async show(which) {
    this.#shown = which;
    let entry;
    try {
      entry = await this.#api.event(which);
    } catch (error) {
      if (this.#shown === which) this.#contents.replaceChildren(sorry(error));
      return;
    }
    if (this.#shown !== which) return; // another one was chosen meanwhile
    this.#draw(entry);
    this.#come();
  }

  /** The tree of something that was searched for, instead of an entry. */
  async follow(kind, value, forward) {
    this.#shown = null;
    const place = el('div', { class: 'sla-result' });
    const title = forward ? 'What became of it' : 'Where it comes from';
    this.#contents.replaceChildren(el('h3', {}, `${title}: ${kind} ${value}`), place);
    place.append(el('p', { class: 'sla-quiet', role: 'status' }, 'One moment …'));
    try {
      place.replaceChildren(tree(await this.#api.follow(kind, value, forward), this.#open));
    } catch (error) {
      place.replaceChildren(sorry(error));
    }
    this.#come();
  }

  #open = (index) => this.show(index);

  /** Below the list, as on a phone, it is to be seen from its top; beside it, it stands there. */
  #come() {
    const below = globalThis.matchMedia('(max-width: 1023px)').matches;
    this.element.focus({ preventScroll: true });
    this.element.scrollIntoView({ block: below ? 'start' : 'nearest' });
  }

  #draw(entry) {
    const result = el('div', { class: 'sla-result', data: { testid: 'audit-result' } });
    this.#contents.replaceChildren(
      el('h3', {}, `Entry ${entry.index}: ${entry.type}`),
      this.#actions(entry, result),
      result,
      this.#fields(entry),
      asItStands(entry),
    );
  }

  #actions(entry, result) {
    const traced = (label, forward) => {
      const button = action(label, () =>
        busy(button, result, async () => {
          result.replaceChildren(tree(await this.#api.trace(entry.index, forward), this.#open));
        }),
      );
      return button;
    };
    const verify = action('Verify this entry', () =>
      busy(verify, result, async () => result.replaceChildren(proof(await this.#api.proof(entry.index)))),
    );
    return el(
      'div',
      { class: 'sla-line' },
      traced('Where does it come from', false),
      traced('What became of it', true),
      verify,
      el(
        'a',
        { class: 'sla-button', href: this.#api.zipOf(entry.index), download: '' },
        'Download event and proof',
      ),
    );
  }

  #fields(entry) {
    const rows = entry.fields.flatMap((field) => [
      el('dt', {}, field.label),
      el(
        'dd',
        {},
        field.link ? this.#link(field) : field.text,
        ...(field.note ? [el('span', { class: 'sla-note' }, field.note)] : []),
      ),
    ]);
    if (entry.cause) {
      rows.push(
        el('dt', {}, 'Led to by'),
        el('dd', {}, el('button', { type: 'button', class: 'sla-link', on: { click: () => this.show(entry.cause) } }, `Entry ${entry.cause}`)),
      );
    }
    return el('dl', { class: 'sla-fields' }, ...rows);
  }

  #link({ text, link }) {
    return el(
      'button',
      {
        type: 'button',
        class: 'sla-link',
        title: `All entries about this ${link.kind}`,
        on: { click: () => this.#onSearch(link) },
      },
      text,
    );
  }
}

function proof(found) {
  return notice('good', 'Verified.', proofWords(found), ...witnessWords(found.witnesses));
}

function asItStands(entry) {
  return el(
    'details',
    { class: 'sla-raw' },
    el('summary', {}, 'As it stands in the log'),
    el(
      'dl',
      { class: 'sla-fields' },
      el('dt', {}, 'Leaf index'),
      el('dd', {}, String(entry.index)),
      el('dt', {}, 'Leaf hash (RFC 6962)'),
      el('dd', {}, el('code', {}, entry.leaf_sha256)),
      el('dt', {}, 'Bytes'),
      el('dd', {}, entry.bytes.toLocaleString('en-US')),
    ),
    el('pre', { tabIndex: 0, aria: { label: 'The entry as JSON' } }, entry.json),
  );
}
