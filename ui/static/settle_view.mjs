// The second review on the canvas: its layers, the frame around the current group, and its keys.

import { el, show } from './dom.mjs';
import { CHOICE_OF } from './panels/groups.mjs';
import { LAYERS, shortWords } from './settle.mjs';

// Left, top, right and bottom: above and below there are labels.
const FRAME_PX = [10, 26, 10, 26];

export class SettleView {
  #desk;
  #canvas;
  #frame = el('div', { class: 'sl-group-frame', hidden: true });
  #letTabGo = false;

  constructor(desk, host) {
    this.#desk = desk;
    this.#canvas = desk.canvas;
    host.append(this.#frame);
    this.#canvas.on('view', () => this.#placeFrame());
    this.#canvas.on('drawn', (id) => this.#session?.drawn(id));
    this.#canvas.on('focused', (focused) => (this.#letTabGo &&= !focused));
    this.#canvas.element.addEventListener('click', (event) => this.#click(event));
  }

  get #session() {
    const { session } = this.#desk.flow;
    return session?.phase === 'settle' ? session : null;
  }

  /** Whether the action was one of ours, and meant something; null if it is the canvas's. */
  act(action) {
    const session = this.#session;
    const { group, editor } = session;
    if (action === 'next-box') return this.#step(1);
    if (action === 'previous-box') return this.#step(-1);
    if (action === 'model-layer') return this.#desk.toggleLayer('model') ?? true;
    if (action === 'leave') return this.#leave();
    const selected = editor.get(editor.selected);
    const extra = selected && !this.#isGroups(selected);
    if (['delete', 'reject'].includes(action) && extra) return null;
    const choice = action === 'delete' ? 'drop' : CHOICE_OF[action];
    if (!choice) return null;
    if (group === null) this.#desk.announce('No difference is chosen: Tab goes to the next one');
    else this.choose(group, choice);
    return true;
  }

  choose(group, choice) {
    const session = this.#session;
    session.group = group;
    if (!session.editable) this.#desk.announce('This case is read-only');
    else if (!session.choose(group, choice)) this.#desk.announce('There is no such box here');
    else {
      const { open, settled, total } = session.settlement.read(session.editor.boxes);
      this.#desk.announce(open.length ? `${settled} of ${total} settled` : 'All settled: Ctrl+Enter hands in');
    }
  }

  goTo(group) {
    const session = this.#session;
    session.goTo(group);
    const ids = session.settlement.members(group).map(idOnCanvas);
    if (!ids.every((id) => this.#canvas.shows(id))) this.#canvas.centreOn(ids[0]);
    this.#desk.announce(shortWords(group));
  }

  update() {
    const session = this.#session;
    if (!session) {
      show(this.#frame, false);
      return;
    }
    const selected = session.editor.get(session.editor.selected);
    if (selected) session.group = this.#isGroups(selected) ? session.settlement.groupOf(selected) : null;
    this.#canvas.setLayers(this.#layers(session));
    this.#placeFrame();
  }

  /** Settled groups show what they became; their three boxes come back while they are the current one. */
  #layers(session) {
    const { entries } = session.settlement.read(session.editor.boxes);
    const shown = entries.filter((entry) => !entry.settled || entry.group === session.group);
    const members = shown.flatMap(({ group }) =>
      session.settlement.members(group).map((member) => ({ ...member, group })),
    );
    return LAYERS.map((name) => ({
      name,
      visible: this.#desk.layersShown[name],
      boxes: members
        .filter((member) => member.layer === name)
        .map((member) => ({ ...member.box, id: idOnCanvas(member), group: member.group })),
    }));
  }

  #isGroups(box) {
    const { settlement, editor } = this.#session;
    return settlement.read(editor.boxes).entries.some((entry) => entry.box === box);
  }

  /** Open differences first, in their order; once all are settled, every one. */
  #step(by) {
    const session = this.#session;
    if (this.#letTabGo) return false;
    const { entries, open } = session.settlement.read(session.editor.boxes);
    const differing = entries.filter((entry) => !entry.group.agree).map((entry) => entry.group);
    const tour = open.length ? open : differing.length ? differing : session.settlement.groups;
    if (tour.length === 0) return false;
    const all = session.settlement.groups;
    const from = all.indexOf(session.group);
    const ahead = tour.filter((group) => (by > 0 ? all.indexOf(group) > from : all.indexOf(group) < from));
    const next = by > 0 ? (ahead[0] ?? tour[0]) : (ahead.at(-1) ?? tour.at(-1));
    this.goTo(next);
    return true;
  }

  #leave() {
    const session = this.#session;
    if (this.#canvas.tool === 'draw' || session.editor.isOpen) return null;
    if (session.group !== null || session.editor.selected !== null) {
      session.group = null;
      session.editor.select(null);
      this.update();
      this.#desk.render();
      return true;
    }
    this.#letTabGo = true;
    this.#desk.announce('Tab leaves the image');
    return true;
  }

  /** A click on a layer's box, where no final box is, chooses its group: the smallest one. */
  #click({ offsetX: x, offsetY: y }) {
    const session = this.#session;
    if (!session || session.editor.selected !== null || this.#canvas.tool === 'draw') return;
    const hits = this.#layers(session)
      .filter((layer) => layer.visible)
      .flatMap((layer) => layer.boxes)
      .map((box) => ({ box, on: this.#canvas.screenBox(box.id) }))
      .filter(({ on: [x1, y1, x2, y2] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2)
      .sort((a, b) => areaOf(a.on) - areaOf(b.on));
    if (hits.length > 0) session.goTo(hits[0].box.group);
  }

  #placeFrame() {
    const session = this.#session;
    const group = session?.group ?? null;
    show(this.#frame, group !== null);
    if (group === null) return;
    const ids = [...session.settlement.members(group).map(idOnCanvas), session.entryOf(group).box?.id];
    const boxes = ids.map((id) => id && this.#canvas.screenBox(id)).filter(Boolean);
    const side = (index, pick) => pick(...boxes.map((box) => box[index]));
    const [left, top] = [0, 1].map((index) => side(index, Math.min) - FRAME_PX[index]);
    const [right, bottom] = [2, 3].map((index) => side(index, Math.max) + FRAME_PX[index]);
    Object.assign(this.#frame.style, {
      transform: `translate(${left}px, ${top}px)`,
      width: `${right - left}px`,
      height: `${bottom - top}px`,
    });
  }
}

/** The layers' ids are unique in their layer only, the canvas's everywhere. */
const idOnCanvas = ({ layer, box }) => `${layer} ${box.id}`;

function areaOf([x1, y1, x2, y2]) {
  return (x2 - x1) * (y2 - y1);
}
