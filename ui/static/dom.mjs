// Making elements. Whatever comes from data goes in as text, never as markup.

/**
 * @param {string} tag
 * @param {object | null} props `class`, `text`, `testid`, `data` (an object), `on` (listeners by name);
 *   a property of the element where there is one, else an attribute; null and undefined are left out
 * @param {...(Node | string | null | false)} children
 */
export function el(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  node.append(...children.filter((child) => child !== null && child !== false));
  return node;
}

function set(node, name, value) {
  if (value === null || value === undefined) return;
  if (name === 'class') node.className = value;
  else if (name === 'text') node.textContent = value;
  else if (name === 'testid') node.dataset.testid = value;
  else if (name === 'data') Object.assign(node.dataset, value);
  else if (name === 'on')
    for (const [type, fn] of Object.entries(value)) node.addEventListener(type, fn);
  else if (name in node && !name.startsWith('aria-') && name !== 'role') node[name] = value;
  else node.setAttribute(name, value);
}

/** Sets text only where it differs: a live region would say it again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, visible) {
  node.hidden = !visible;
}

/** A key as it is printed on a button. */
export function keycap(text) {
  return el('kbd', { class: 'sl-key', text, 'aria-hidden': 'true' });
}

/** A button with its key. `icon` comes before the words. */
export function button(label, { key = '', run, testid, kind = '', title, ...more }) {
  return el(
    'button',
    {
      type: 'button',
      class: `sl-button ${kind}`.trim(),
      testid,
      title,
      'aria-keyshortcuts': key ? spoken(key) : null,
      on: { click: run },
      ...more,
    },
    el('span', { class: 'sl-label', text: label }),
    key ? keycap(key) : null,
  );
}

const SPOKEN = { '←': 'ArrowLeft', '→': 'ArrowRight', Esc: 'Escape', Del: 'Delete' };

function spoken(key) {
  return key
    .replace('Ctrl', 'Control')
    .split('+')
    .map((part) => SPOKEN[part] ?? part)
    .join('+');
}

/** Fills a select, keeping what is chosen. `options` is `[value, text]` pairs. */
export function fill(select, options, value) {
  const wanted = JSON.stringify(options);
  if (select.dataset.options !== wanted) {
    select.dataset.options = wanted;
    const made = options.map(([each, text]) => el('option', { value: String(each), text }));
    select.replaceChildren(...made);
  }
  if (select.value !== String(value)) select.value = String(value);
}

/** "12:03", by the clock on the wall, of what the server or this browser wrote down. */
export function timeOf(moment) {
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return '';
  return [date.getHours(), date.getMinutes()].map((n) => String(n).padStart(2, '0')).join(':');
}

/** "4:05" of milliseconds. */
export function minutes(ms) {
  const seconds = Math.ceil(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** Children of `parent` for `items`, made by `make(item)` and kept as long as `keyOf(item)` is there. */
export function keyed(parent, items, keyOf, make, update) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  let at = parent.firstElementChild;
  items.forEach((item, index) => {
    const key = String(keyOf(item));
    let node = old.get(key);
    if (!node) {
      node = make(item);
      node.dataset.key = key;
    }
    old.delete(key);
    update(node, item, index);
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  });
  for (const node of old.values()) node.remove();
}
