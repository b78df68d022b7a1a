// What can be done with a box, and how the image is looked at.

import { button, el, say, show } from '../dom.mjs';
import { keyOf } from '../keys.mjs';

export function createTools(desk) {
  const { flow, canvas } = desk;
  const tool = (name, label, more = {}) =>
    button(label, {
      key: keyOf(name),
      run: (event) => desk.act(name, event),
      testid: `tool-${name}`,
      ...more,
    });
  const accept = tool('accept', 'Accept');
  const reject = tool('reject', 'Reject');
  const restore = tool('restore', 'Restore', { title: "Bring the model's box back" });
  const draw = tool('draw', 'Draw');
  const duplicate = tool('duplicate', 'Copy', { title: 'Duplicate the selected box' });
  const remove = tool('delete', 'Delete');
  const model = tool('model-layer', "Model's boxes", { title: "Show or hide the model's boxes" });
  const fit = tool('fit', 'Fit');
  const hide = button('Hide', {
    key: keyOf('hide'),
    testid: 'tool-hide',
    title: 'Hide all boxes; hold H to look for a moment',
    run: (event) => {
      canvas.setHideAll(!canvas.hideAll);
      desk.afterClick(event);
    },
  });
  const share = el('output', { class: 'sl-number', text: '0 %' });
  const slider = el('input', {
    type: 'range',
    min: '0',
    max: '100',
    step: '5',
    value: '0',
    id: desk.idOf('confidence'),
    testid: 'confidence',
    on: {
      input: () => {
        canvas.setThreshold(Number(slider.value) / 100);
        say(share, `${slider.value} %`);
        desk.render();
      },
    },
  });
  const confidence = el(
    'div',
    { class: 'sl-confidence' },
    el('label', { htmlFor: slider.id, text: 'Dim below' }),
    slider,
    share,
  );
  const answers = el('div', { class: 'sl-tools' }, accept, reject, restore);
  const boxes = el(
    'div',
    { class: 'sl-tool-rows', role: 'toolbar', 'aria-label': 'Boxes' },
    answers,
    el('div', { class: 'sl-tools' }, draw, duplicate, remove),
  );
  const view = el(
    'div',
    { class: 'sl-tools', role: 'toolbar', 'aria-label': 'View' },
    model,
    hide,
    fit,
  );
  const element = el('section', { class: 'sl-panel sl-toolbox' }, boxes, view, confidence);

  function update() {
    const { session } = flow;
    const phase = session?.phase;
    const editable = Boolean(session?.editable);
    const box = editable ? session.editor.get(session.editor.selected) : null;
    show(boxes, phase !== 'done');
    show(answers, phase === 'first');
    // Its key works; the list of differences needs the room.
    show(duplicate, phase !== 'settle');
    element.classList.toggle('one-row', phase === 'settle');
    show(model, phase === 'first'); // the second review has a switch for each layer
    show(confidence, phase === 'first');
    accept.disabled = !box || !['pending', 'rejected'].includes(box.status);
    reject.disabled = !box || box.status === 'rejected';
    restore.disabled = !box || !['rejected', 'changed'].includes(box.status);
    duplicate.disabled = !box;
    remove.disabled = !box || box.status === 'rejected';
    draw.disabled = !editable;
    press(draw, canvas.tool === 'draw');
    press(model, canvas.modelVisible);
    press(hide, canvas.hideAll);
  }

  return { element, update };
}

function press(node, pressed) {
  node.setAttribute('aria-pressed', String(pressed));
}
