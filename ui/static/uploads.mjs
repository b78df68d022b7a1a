// The Upload tab: images for everybody who may send them, data sets for engineers.

import { el } from './uploads/dom.mjs';
import { Importing } from './uploads/importing.mjs';
import { importPanel } from './uploads/imports.mjs';
import { uploadPanel } from './uploads/panel.mjs';
import { UploadQueue } from './uploads/queue.mjs';
import { formOf, send } from './uploads/send.mjs';

// Gradio may take the tab away and mount it anew: what is on its way must not end for that.
let page = null;

/**
 * @param {{element: HTMLElement, trigger: (event: string, data?: object) => void, base?: string}} host
 */
export async function mount({ element, trigger, base = '' }) {
  page ??= create(base);
  page.trigger = trigger;
  element.replaceChildren(page.root);
  await page.ready;
}

function create(base) {
  const queue = new UploadQueue({
    send: (item, how) => send('POST', `${base}/desk/uploads`, { ...how, body: formOf(item) }),
  });
  const root = el('div', { class: 'slu' }, uploadPanel(queue));
  const made = { root, trigger: () => {}, ready: null };
  queue.subscribe((event) => {
    if (event.type === 'idle') made.trigger('upload', { images: event.queued });
  });
  const imports = importsOf(base, made);
  window.addEventListener('beforeunload', (event) => {
    if (queue.active || imports.importing.sending) event.preventDefault();
  });
  made.ready = load(base, queue, root, imports);
  return made;
}

function importsOf(base, made) {
  const ask = (method, path, how) => send(method, `${base}/desk/imports${path}`, how);
  let over = null;
  const importing = new Importing({
    send: ask,
    onChange: () => {
      panel.redraw();
      const { status } = importing;
      if (status?.state === 'done' && over !== status.id)
        made.trigger('upload', { images: status.report.images });
      over = status?.state === 'done' ? status.id : null;
    },
  });
  const panel = importPanel(importing, () => ask('GET', ''));
  return { importing, panel };
}

async function load(base, queue, root, { panel }) {
  try {
    const me = await send('GET', `${base}/desk/me`);
    if (me.permissions.includes('import')) {
      root.append(panel.element);
      await panel.load();
    }
    queue.maxBytes = (await send('GET', `${base}/desk/uploads`)).max_bytes;
  } catch {
    // Whoever is signed out or may not do this is told so when they try to upload.
  }
}
