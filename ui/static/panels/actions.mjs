// Below the canvas: what to do with the case as a whole, and the question before it is done.

import { button, el, say, show } from '../dom.mjs';
import { keyOf } from '../keys.mjs';

const QUESTIONS = {
  unanswered: (n) =>
    `${n} ${n === 1 ? 'box' : 'boxes'} unanswered. Ctrl+Enter again accepts ${n === 1 ? 'it' : 'them'} as ${n === 1 ? 'it is' : 'they are'}, Esc goes back.`,
  no_finding: () =>
    'No finding? Ctrl+Enter again says that this image shows nothing to mark, Esc goes back.',
  nothing_to_mark: () =>
    'Nothing to mark? Ctrl+Enter again reveals without a box of yours, Esc goes back.',
};
const YES = {
  unanswered: 'Accept and submit',
  no_finding: 'No finding, submit',
  nothing_to_mark: 'Reveal without a box',
};

export function createActions(desk) {
  const { flow } = desk;
  const action = (name, label, more = {}) =>
    button(label, {
      key: keyOf(name),
      run: (event) => desk.act(name, event),
      testid: name,
      ...more,
    });
  const submit = action('submit', 'Submit and next', { kind: 'primary', testid: 'submit' });
  const reopen = button('Reopen', { run: () => desk.dialogs.reopen(), testid: 'reopen' });
  const skip = action('skip', 'Skip');
  const escalate = action('escalate', 'Escalate', {
    title: 'Hand it in and ask a second reviewer',
  });
  const undo = action('undo', 'Undo');
  const redo = action('redo', 'Redo');
  const previous = action('previous-case', 'Previous', { testid: 'previous' });
  const next = action('next-case', 'Next', { testid: 'next' });
  const help = action('help', 'Help');
  const question = el('p', { class: 'sl-question-text' });
  const yes = button('', {
    key: 'Ctrl+Enter',
    run: () => flow.submit(),
    testid: 'confirm-yes',
    kind: 'primary',
  });
  const no = button('Go back', {
    key: 'Esc',
    run: () => {
      flow.stopAsking();
      desk.focusCanvas();
    },
    testid: 'confirm-no',
  });
  const asking = el(
    'div',
    {
      class: 'sl-question',
      testid: 'confirm',
      role: 'group',
      'aria-label': 'A question before this is handed in',
    },
    question,
    yes,
    no,
  );
  const element = el(
    'footer',
    { class: 'sl-bottom' },
    asking,
    el(
      'div',
      { class: 'sl-actions', role: 'toolbar', 'aria-label': 'The case' },
      submit,
      reopen,
      skip,
      escalate,
      el('span', { class: 'sl-gap' }),
      undo,
      redo,
      el('span', { class: 'sl-gap' }),
      previous,
      next,
      el('span', { class: 'sl-space' }),
      help,
    ),
  );

  function update() {
    const { session, busy } = flow;
    const editable = Boolean(session?.editable) && !busy;
    const phase = session?.phase;
    const done = phase === 'done' && session.view.case.state === 'settled';
    say(submit.firstElementChild, submitLabel(phase, busy));
    submit.dataset.testid = phase === 'blind' ? 'reveal' : 'submit';
    submit.disabled = !editable || flow.image !== 'ready';
    show(submit, !done);
    show(reopen, done);
    reopen.disabled = Boolean(busy);
    skip.disabled = !editable;
    escalate.disabled = !editable || phase !== 'first';
    show(escalate, phase !== 'blind' && phase !== 'settle');
    undo.disabled = !editable || !session.editor.canUndo;
    redo.disabled = !editable || !session.editor.canRedo;
    previous.disabled = Boolean(busy) || (session ? flow.place < 1 : flow.visited.length === 0);
    next.disabled = Boolean(busy);
    show(asking, flow.asking !== null);
    if (flow.asking) {
      const { kind, count } = flow.asking;
      say(question, QUESTIONS[kind](count));
      say(yes.firstElementChild, YES[kind]);
      asking.dataset.kind = kind;
    }
  }

  return { element, update };
}

function submitLabel(phase, busy) {
  if (busy === 'submitting' || busy === 'retrying') return 'Handing in…';
  return phase === 'blind' ? 'Reveal and compare' : 'Submit and next';
}
