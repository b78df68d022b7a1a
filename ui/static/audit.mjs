// The Audit tab: search the log, follow what is in it, verify it in place, take it away.

import { createApi } from './audit/api.mjs';
import { EntryPanel } from './audit/entry.mjs';
import { LogPanel } from './audit/log_panel.mjs';
import { Search } from './audit/search.mjs';
import { el } from './uploads/dom.mjs';

// Gradio may take the tab away and mount it anew: what was found stays.
let page = null;

/**
 * @param {{element: HTMLElement, base?: string}} host
 */
export async function mount({ element, base = '' }) {
  page ??= create(base);
  element.replaceChildren(page.root);
  loadOnceSeen(element, page);
}

function create(base) {
  const api = createApi({ base });
  const entry = new EntryPanel(
    api,
    (link) => search.about(link),
    () => search.comeBack(),
  );
  const search = new Search(api, entry);
  const log = new LogPanel(api);
  const root = el(
    'div',
    { class: 'sla' },
    log.element,
    search.form,
    el('div', { class: 'sla-halves' }, search.element, entry.element),
  );
  const load = async () => {
    const state = await log.load();
    if (state) {
      search.types = state.types;
      await search.run();
    }
  };
  return { root, load, loaded: false };
}

/** Nothing is asked for before somebody opens the tab: most people may not see it at all. */
function loadOnceSeen(element, made) {
  const watch = new IntersectionObserver((seen) => {
    if (!seen.some((each) => each.isIntersecting)) return;
    watch.disconnect();
    if (made.loaded) return;
    made.loaded = true;
    made.load();
  });
  watch.observe(element);
}
