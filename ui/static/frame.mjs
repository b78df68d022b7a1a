// The desk's place in the page: its stylesheet, its height, and what stands there without a desk.

import { button, el } from './dom.mjs';

// A page without its stylesheet is ugly, one that never comes is worse.
const PATIENCE_MS = 3_000;

/** Resolves once the stylesheet is there. The page around the desk may have linked it already. */
export function styled(href) {
  const links = [...document.querySelectorAll('link[rel="stylesheet"]')];
  if (links.some((link) => link.href === href)) return Promise.resolve();
  return new Promise((resolve) => {
    document.head.append(
      el('link', { rel: 'stylesheet', href, on: { load: resolve, error: resolve } }),
    );
    setTimeout(resolve, PATIENCE_MS);
  });
}

/** Keeps `root` as high as the window allows below whatever the page has above it. */
export function fitToWindow(root, signal) {
  const fit = () => {
    if (root.offsetParent === null) return; // in a tab that is not in front
    const top = root.getBoundingClientRect().top + window.scrollY;
    root.style.setProperty('--sl-top', `${Math.round(top)}px`);
  };
  const observer = new ResizeObserver(fit);
  observer.observe(document.body);
  observer.observe(root.parentElement);
  signal.addEventListener('abort', () => observer.disconnect());
  window.addEventListener('resize', fit, { signal });
  fit();
}

/** In the place of a desk that cannot begin. */
export function card(title, text, retry = null) {
  return el(
    'div',
    { class: 'sl-overlay whole' },
    el(
      'div',
      { class: 'sl-card', testid: 'failed' },
      el('h2', { text: title }),
      el('p', { text }),
      retry && button('Try again', { run: retry, kind: 'primary', testid: 'retry' }),
    ),
  );
}
