// The log as a whole: its key and witnesses, its verification, and taking it away.

import { el, setText } from '../uploads/dom.mjs';
import { action, busy, notice, sorry } from './parts.mjs';
import { count, progressWords, provedWords, verifiedWords, witnessWords } from './words.mjs';

export class LogPanel {
  #api;
  #facts = el('dl', { class: 'sla-fields' });
  #failure = el('div', {});
  #result = el('div', { class: 'sla-result', data: { testid: 'audit-log-result' } });
  #bar = el('progress', { hidden: true, max: 1, aria: { label: 'Verification of the log' } });
  #how = el('p', { class: 'sla-quiet', hidden: true });

  constructor(api) {
    this.#api = api;
    const verify = action('Verify the whole log', () => this.#verify(verify), {
      class: 'sla-button sla-primary',
    });
    const download = el(
      'form',
      { method: 'post', action: api.exportPath },
      el('button', { type: 'submit', class: 'sla-button' }, 'Download the log'),
    );
    this.element = el(
      'section',
      { class: 'sla-log', aria: { label: 'The log' } },
      this.#failure,
      this.#facts,
      el('div', { class: 'sla-line' }, verify, download, ...this.#mlflow()),
      this.#bar,
      this.#how,
      this.#result,
    );
  }

  /** The log's state; also what the search needs to know of it. */
  async load() {
    let state;
    try {
      state = await this.#api.state();
    } catch (error) {
      this.#failure.replaceChildren(sorry(error));
      return null;
    }
    this.#failure.replaceChildren(
      ...(state.failure ? [notice('bad', 'The log cannot be written.', state.failure)] : []),
    );
    this.#draw(state);
    return state;
  }

  #draw({ size, root, key, witnesses }) {
    const copied = el('span', { class: 'sla-quiet', role: 'status' });
    const copy = action('Copy', async () => {
      try {
        await navigator.clipboard.writeText(key);
        setText(copied, 'Copied.');
      } catch {
        setText(copied, 'This browser does not let pages copy: mark the key and copy it.');
      }
    });
    copy.setAttribute('aria-label', 'Copy the public key');
    const pairs = [
      ['Entries', size.toLocaleString('en-US')],
      ['Root', el('code', {}, root)],
      ['Public key', el('span', {}, el('code', {}, key), ' ', copy, ' ', copied)],
      ['Witnesses', el('span', {}, ...witnessWords(witnesses).map((line) => el('span', { class: 'sla-row' }, line)))],
    ];
    this.#facts.replaceChildren(
      ...pairs.flatMap(([label, value]) => [el('dt', {}, label), el('dd', {}, value)]),
    );
  }

  #mlflow() {
    const name = el('input', {
      type: 'text',
      maxLength: 200,
      autocomplete: 'off',
      spellcheck: false,
      placeholder: 'run id, version, or champion',
    });
    const check = (label, ask) => {
      const button = action(label, () =>
        busy(button, this.#result, async () => {
          if (!name.value.trim()) {
            name.focus();
            this.#result.replaceChildren(notice('info', '', 'Write first what to verify.'));
            return;
          }
          const proved = await ask(name.value.trim());
          this.#result.replaceChildren(notice('good', 'Verified.', provedWords(proved)));
        }),
      );
      return button;
    };
    return [
      el(
        'span',
        { class: 'sla-line sla-mlflow' },
        el('label', {}, 'MLflow run or model version ', name),
        check('Verify run', (text) => this.#api.verifyRun(text)),
        check('Verify model', (text) => this.#api.verifyModel(text)),
      ),
    ];
  }

  async #verify(button) {
    button.disabled = true;
    this.#result.replaceChildren();
    this.#bar.removeAttribute('value');
    this.#bar.hidden = false;
    this.#how.hidden = false;
    setText(this.#how, 'Verifying …');
    try {
      let last = null;
      await this.#api.verify((report) => {
        if (report.done !== undefined) {
          this.#bar.value = report.total ? report.done / report.total : 1;
          setText(this.#how, progressWords(report));
        } else last = report;
      });
      this.#result.replaceChildren(outcome(last));
      await this.load();
    } catch (error) {
      this.#result.replaceChildren(sorry(error));
    } finally {
      this.#bar.hidden = true;
      this.#how.hidden = true;
      button.disabled = false;
    }
  }
}

function outcome(report) {
  if (report?.verified) {
    const { verified } = report;
    if (verified.size === 0) return notice('info', '', `The log has ${count(0, 'entry')} yet.`);
    return notice('good', 'Verified.', ...verifiedWords(verified), ...witnessWords(verified.witnesses));
  }
  const error = report?.error ?? { message: 'The connection ended before the verification did.' };
  return sorry(error, 'The log does not verify, or could not be read.');
}
