// Where the panels of the desk are, and when they are drawn again.

import { el, say, show } from './dom.mjs';
import { createActions } from './panels/actions.mjs';
import { createBanner } from './panels/banner.mjs';
import { createBoxes } from './panels/boxes.mjs';
import { createClasses } from './panels/classes.mjs';
import { createComment } from './panels/comment.mjs';
import { createDialogs } from './panels/dialogs.mjs';
import { createGroups } from './panels/groups.mjs';
import { createOverlay } from './panels/overlay.mjs';
import { createTools } from './panels/tools.mjs';
import { createTopbar } from './panels/topbar.mjs';

// What was said stays in sight for so long.
const HINT_MS = 5_000;

/** `canvasHost` holds the canvas already. */
export function createLayout(desk, canvasHost) {
  const topbar = createTopbar(desk);
  const banner = createBanner(desk);
  const overlay = createOverlay(desk);
  const actions = createActions(desk);
  const comment = createComment(desk);
  const dialogs = createDialogs(desk);
  const side = [
    createTools(desk),
    createClasses(desk),
    createBoxes(desk),
    createGroups(desk),
    comment,
  ];
  const hint = el('div', {
    class: 'sl-hint',
    testid: 'hint',
    role: 'status',
    'aria-live': 'polite',
  });
  const aside = el(
    'aside',
    { class: 'sl-side', 'aria-label': 'Boxes and classes' },
    ...side.map((panel) => panel.element),
  );
  const stage = el('div', { class: 'sl-stage' }, canvasHost, hint, overlay.element);
  const middle = el('main', { class: 'sl-middle' }, banner.element, stage);
  const panels = [topbar, banner, overlay, actions, ...side];
  let fading = null;

  return {
    elements: [topbar.element, middle, aside, actions.element, dialogs.element],
    comment,
    dialogs,
    update() {
      const { session } = desk.flow;
      show(aside, session !== null);
      aside.parentElement?.classList.toggle('alone', session === null);
      for (const panel of panels) panel.update();
    },
    tick: () => topbar.tick(),
    hint(text) {
      say(hint, text);
      hint.classList.remove('old');
      clearTimeout(fading);
      fading = setTimeout(() => hint.classList.add('old'), HINT_MS);
    },
  };
}
