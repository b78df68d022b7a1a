// Questions that need an answer first: modal, closed with Esc, and the focus goes back afterwards.

import { button, el, keycap } from '../dom.mjs';
import { KEYS, keyText } from '../keys.mjs';
import { queueDialog } from './queue.mjs';

const LONGEST_REASON = 4000;

export function createDialogs(desk) {
  const { flow, me } = desk;
  const element = el('div', { class: 'sl-dialogs' });

  function open(kind, title, ...content) {
    const close = () => dialog.close();
    const heading = el('h2', { id: desk.idOf(`dialog-${kind}`), text: title });
    const dialog = el(
      'dialog',
      {
        class: `sl-dialog sl-${kind}`,
        testid: 'dialog',
        data: { kind },
        'aria-labelledby': heading.id,
      },
      el(
        'div',
        { class: 'sl-dialog-head' },
        heading,
        button('Close', { key: 'Esc', run: close, testid: 'dialog-close' }),
      ),
      ...content,
    );
    dialog.addEventListener('close', () => {
      dialog.remove();
      desk.focusCanvas();
    });
    element.append(dialog);
    dialog.showModal();
    return { dialog, close };
  }

  function skip() {
    if (!flow.session?.editable || flow.busy) return;
    const reasons = me.skip_reasons;
    const choose = (reason) => {
      opened.close();
      flow.skip(reason.code);
    };
    const buttons = reasons.map((reason, index) =>
      button(reason.text, {
        key: index < 9 ? String(index + 1) : '',
        run: () => choose(reason),
        testid: 'skip-reason',
      }),
    );
    const opened = open(
      'skip',
      'Skip this case',
      el('p', { text: 'It stays for others, and does not come back to you. Why?' }),
      el('div', { class: 'sl-options' }, ...buttons),
    );
    opened.dialog.addEventListener('keydown', (event) => {
      const reason = /^[1-9]$/.test(event.key) ? reasons[Number(event.key) - 1] : undefined;
      if (!reason || event.ctrlKey || event.altKey) return;
      event.preventDefault();
      choose(reason);
    });
    buttons[0]?.focus();
  }

  function escalate() {
    const { session } = flow;
    if (!session?.editable || flow.busy || session.phase !== 'first') return;
    const { unanswered, no_finding: nothing } = session.editor.answer();
    const area = el('textarea', {
      rows: 3,
      maxLength: LONGEST_REASON,
      value: session.comment,
      id: desk.idOf('escalate'),
      testid: 'escalate-comment',
    });
    const send = () => {
      session.setComment(area.value);
      opened.close();
      flow.submit({ escalate: true });
    };
    const opened = open(
      'escalate',
      'Ask a second reviewer',
      el('p', {
        text: 'Your boxes are handed in as they are, and a second reviewer is asked to look, blind at first.',
      }),
      unanswered.length > 0
        ? el('p', {
            class: 'sl-warning',
            text: `${unanswered.length} unanswered ${unanswered.length === 1 ? 'box is' : 'boxes are'} accepted as ${unanswered.length === 1 ? 'it is' : 'they are'}.`,
          })
        : null,
      nothing
        ? el('p', {
            class: 'sl-warning',
            text: 'There is no box: this says that there is no finding.',
          })
        : null,
      el('label', { htmlFor: area.id, text: 'What should they look at?' }),
      area,
      el(
        'div',
        { class: 'sl-dialog-foot' },
        button('Hand in and ask', {
          key: 'Ctrl+Enter',
          run: send,
          kind: 'primary',
          testid: 'escalate-send',
        }),
      ),
    );
    onCtrlEnter(opened.dialog, send);
    area.focus();
  }

  function reopen() {
    if (!flow.session || flow.busy) return;
    const area = el('textarea', {
      rows: 3,
      maxLength: LONGEST_REASON,
      required: true,
      id: desk.idOf('reopen'),
      testid: 'reopen-reason',
      on: { input: () => check() },
    });
    const send = () => {
      if (area.value.trim() === '') return area.focus();
      opened.close();
      return flow.reopen(area.value.trim());
    };
    const go = button('Reopen', {
      key: 'Ctrl+Enter',
      run: send,
      kind: 'primary',
      testid: 'reopen-send',
      disabled: true,
    });
    const check = () => (go.disabled = area.value.trim() === '');
    const opened = open(
      'reopen',
      'Reopen this case',
      el('p', {
        text: 'What was settled stays as it is; a new version is made, beginning with a first review.',
      }),
      el('label', { htmlFor: area.id, text: 'Why? No names of patients, please.' }),
      area,
      el('div', { class: 'sl-dialog-foot' }, go),
    );
    onCtrlEnter(opened.dialog, send);
    area.focus();
  }

  function help() {
    open(
      'help',
      'Keys',
      el('p', {
        class: 'sl-quiet',
        text: 'They work wherever no text is typed. On a Mac, Cmd counts as Ctrl.',
      }),
      el('div', { class: 'sl-key-groups' }, ...keyGroups()),
    );
  }

  return { element, skip, escalate, reopen, help, queue: () => queueDialog(desk, open) };
}

function onCtrlEnter(dialog, run) {
  dialog.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.stopPropagation();
    run();
  });
}

function keyGroups() {
  const groups = new Map();
  for (const entry of KEYS) {
    if (/^class-(?!1$)/.test(entry.action)) continue; // ten keys that do one thing are one line
    groups.set(entry.group, [...(groups.get(entry.group) ?? []), entry]);
  }
  return [...groups].map(([group, entries]) =>
    el('section', null, el('h3', { text: group }), el('dl', null, ...entries.flatMap(keyLine))),
  );
}

function keyLine({ action, keys, label }) {
  const ofClass = action === 'class-1';
  const shown = ofClass ? ['1 … 9', '0'] : keys.map(keyText);
  return [
    el('dt', null, ...shown.map(keycap)),
    el('dd', { text: ofClass ? 'Class of the selected box, or of the next one' : label }),
  ];
}
