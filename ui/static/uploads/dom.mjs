// Elements in one line each. Text only ever goes in as text.

/**
 * @param {string} tag
 * @param {object} [options] properties, `class`, `data` and `aria`; `on` has listeners
 * @param {...(Node|string)} children
 */
export function el(
  tag,
  { class: names = '', data = {}, aria = {}, on = {}, ...rest } = {},
  ...children
) {
  const element = document.createElement(tag);
  if (names) element.className = names;
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  for (const [name, value] of Object.entries(rest)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function button(label, onClick, options = {}) {
  return el(
    'button',
    { type: 'button', class: 'slu-button', on: { click: onClick }, ...options },
    label,
  );
}

/** A labelled radio button. */
export function choice(group, value, label, { checked = false, onChange } = {}, ...more) {
  const input = el('input', {
    type: 'radio',
    name: group,
    value,
    checked,
    on: { change: onChange },
  });
  return el('label', { class: 'slu-choice' }, input, el('span', {}, label), ...more);
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Runs `draw` once in the next frame, however often it is asked for. */
export function perFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}
