// Over everything once the server no longer knows who this is. What was edited stays in this browser.

import { button, el } from '../dom.mjs';

export function createSignedOut({ base, retry, focus }) {
  const link = el('a', {
    class: 'sl-button primary',
    href: `${base}/sign-in?next=${encodeURIComponent(`${base}/`)}`,
    text: 'Sign in again',
    testid: 'sign-in-again',
  });
  const again = button('I have signed in elsewhere', {
    testid: 'signed-in-elsewhere',
    run: () => {
      dialog.close();
      focus();
      retry();
    },
  });
  const title = el('h2', { text: 'You are signed out' });
  const dialog = el(
    'dialog',
    { class: 'sl-dialog sl-signed-out', testid: 'signed-out', 'aria-label': 'You are signed out' },
    title,
    el('p', {
      text: 'What you did is kept in this browser: it comes back when you sign in again here.',
    }),
    el('div', { class: 'sl-dialog-foot' }, again, link),
  );
  // Nothing behind it would be accepted.
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  return {
    element: dialog,
    open() {
      if (dialog.open || !dialog.isConnected) return;
      dialog.showModal();
      link.focus();
    },
  };
}
