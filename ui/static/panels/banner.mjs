// Between top bar and canvas: what is the matter with this case, and what can be done about it.

import { button, el, timeOf } from '../dom.mjs';

export function createBanner(desk) {
  const element = el('div', { class: 'sl-banners', 'aria-live': 'polite' });

  function update() {
    const notices = noticesOf(desk);
    const now = JSON.stringify(
      notices.map(({ id, text, actions }) => [id, text, actions.map((a) => a.label)]),
    );
    if (element.dataset.shown === now) return;
    element.dataset.shown = now;
    element.replaceChildren(...notices.map(draw));
  }

  return { element, update };
}

function draw({ id, kind, text, actions }) {
  return el(
    'div',
    { class: `sl-banner ${kind}`, testid: 'banner', data: { kind: id } },
    el('span', { class: 'sl-banner-text', text }),
    ...actions.map(({ label, run, testid }) => button(label, { run, testid })),
  );
}

function noticesOf(desk) {
  const { flow } = desk;
  const { session, error } = flow;
  const notices = [];
  if (error && (session || flow.busy)) notices.push(ofError(desk, error));
  if (!session) return notices;
  if (session.lost) notices.push(ofLoss(desk));
  else if (session.readOnly) notices.push(ofReadOnly(desk));
  for (const offer of session.offers) notices.push(ofOffer(desk, offer));
  if (session.editable && session.restored === 'browser') {
    notices.push(
      note(
        'restored',
        'What had not reached the server was found in this browser, and is back.',
        'good',
      ),
    );
  }
  if (session.editable && session.phase === 'blind') {
    notices.push(
      note(
        'blind',
        "Blind: neither the model's nor the first reviewer's boxes are shown. Draw what you see, then reveal.",
        'blind',
      ),
    );
  }
  if (session.editable && session.phase === 'first' && session.view.annotation) {
    notices.push(note('reopened', 'Reopened: it begins with what was settled before.'));
  }
  return notices;
}

function note(id, text, kind = 'info') {
  return { id, kind, text, actions: [] };
}

function ofError(desk, { text, hint, retry }) {
  const { flow } = desk;
  const actions = [];
  if (flow.busy === 'retrying') {
    actions.push({ label: 'Try now', run: () => flow.retryNow(), testid: 'retry' });
    actions.push({
      label: 'Go on editing',
      run: () => flow.stopRetrying(),
      testid: 'stop-retrying',
    });
  } else if (retry) actions.push({ label: 'Try again', run: retry, testid: 'retry' });
  return { id: 'error', kind: 'warn', text: join(text, hint), actions };
}

const LOST = {
  stale_lease: 'Somebody else took this case, or it was opened anew: it is read-only here.',
  held_by_other: 'Another reviewer has this case now: it is read-only here.',
  held_elsewhere: 'You went on with this case in another tab: it is read-only here.',
  case_done: 'This case was handed in meanwhile: it is read-only here.',
};

function ofLoss(desk) {
  const { flow } = desk;
  const { code, text, unsaved } = flow.session.lost;
  const kept = unsaved ? 'Your last edit is kept.' : '';
  const takeOver = code === 'held_elsewhere';
  return {
    id: 'lost',
    kind: 'warn',
    text: join(LOST[code] ?? text, kept),
    actions: [
      takeOver
        ? {
            label: 'Take it over here',
            run: () => flow.openAgain({ takeOver: true }),
            testid: 'take-over',
          }
        : { label: 'Open again', run: () => flow.openAgain(), testid: 'open-again' },
      { label: 'Next case', run: () => flow.takeNext(), testid: 'banner-next' },
    ],
  };
}

function ofReadOnly(desk) {
  const { flow } = desk;
  const { code, text, can_take_over: canTakeOver } = flow.session.readOnly;
  const actions = [];
  if (canTakeOver) {
    actions.push({
      label: 'Work here instead',
      run: () => flow.openAgain({ takeOver: true }),
      testid: 'take-over',
    });
  } else if (code === 'held_by_other') {
    actions.push({ label: 'Open again', run: () => flow.openAgain(), testid: 'open-again' });
  }
  actions.push({ label: 'Next case', run: () => flow.takeNext(), testid: 'banner-next' });
  return { id: 'read-only', kind: code.startsWith('held') ? 'warn' : 'info', text, actions };
}

function ofOffer(desk, offer) {
  const { session } = desk.flow;
  const actions = [];
  if (session.editable) {
    actions.push({
      label: 'Bring it back',
      run: () => desk.bringBack(offer),
      testid: 'bring-back',
    });
    actions.push({
      label: 'Discard',
      run: () => session.discard(offer).catch(() => {}),
      testid: 'discard',
    });
  }
  return {
    id: 'recovered',
    kind: 'warn',
    text: `Your unsaved edit of ${timeOf(offer.savedAt)} was kept.`,
    actions,
  };
}

function join(...parts) {
  return parts.filter(Boolean).join(' ');
}
