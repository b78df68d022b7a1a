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
    this.#canvas.on('drawn', (id) => this.#settling?.drawn(id));
    this.#canvas.on('focused', (focused) => (this.#letTabGo &&= !focused));
    this.#canvas.element.addEventListener('click', (event) => this.#click(event));
  }

  get #settling() {
    return this.#desk.flow.session?.settling ?? null;
  }

  get #editor() {
    return this.#desk.flow.session.editor;
  }

  /** Whether the action was one of ours, and meant something; null if it is the canvas's. */
  act(action) {
    if (action === 'next-box') return this.#step(1);
    if (action === 'previous-box') return this.#step(-1);
    if (action === 'model-layer') return this.#desk.toggleLayer('model') ?? true;
    if (action === 'leave') return this.#leave();
    const selected = this.#editor.get(this.#editor.selected);
    const extra = selected && this.#settling.groupOf(selected) === null;
    if (['delete', 'reject'].includes(action) && extra) return null;
    const choice = action === 'delete' ? 'drop' : CHOICE_OF[action];
    if (!choice) return null;
    const { group } = this.#settling;
    if (group === null) this.#desk.announce('No difference is chosen: Tab goes to the next one');
    else this.choose(group, choice);
    return true;
  }

  choose(group, choice) {
    if (!this.#desk.flow.session.editable) this.#desk.announce('This case is read-only');
    else if (!this.#settling.choose(group, choice)) {
      this.#desk.announce('There is no such box here');
    } else {
      const { open, settled, total } = this.#settling.read();
      const all = 'All settled: Ctrl+Enter hands in';
      this.#desk.announce(open.length ? `${settled} of ${total} settled` : all);
    }
  }

  goTo(group) {
    this.#settling.goTo(group);
    const ids = this.#settling.rules.members(group).map(idOnCanvas);
    if (!ids.every((id) => this.#canvas.shows(id))) this.#canvas.centreOn(ids[0]);
    this.#desk.announce(shortWords(group));
  }

  /** Something was edited, selected or loaded. */
  update() {
    const settling = this.#settling;
    if (settling) {
      const selected = this.#editor.get(this.#editor.selected);
      if (selected) settling.group = settling.groupOf(selected);
      this.#canvas.setLayers(this.#layers());
    }
    this.#placeFrame();
  }

  /** What is settled shows what it became; its three boxes come back while it is the current group. */
  #layers() {
    const { rules, group: current } = this.#settling;
    const { entries } = this.#settling.read();
    const members = entries
      .filter(({ settled, group }) => !settled || group === current)
      .flatMap(({ group }) => rules.members(group).map((member) => ({ ...member, group })));
    return LAYERS.map((name) => ({
      name,
      visible: this.#desk.layersShown[name],
      boxes: members
        .filter((member) => member.layer === name)
        .map((member) => ({ ...member.box, id: idOnCanvas(member), group: member.group })),
    }));
  }

  /** Open differences in their order; once all are settled, every difference, or else every group. */
  #step(by) {
    if (this.#letTabGo) return false;
    const { groups } = this.#settling.rules;
    const { open } = this.#settling.read();
    const differing = groups.filter((group) => !group.agree);
    const tour = [open, differing, groups].find((some) => some.length > 0);
    if (!tour) return false;
    const from = groups.indexOf(this.#settling.group);
    const ahead = tour.filter((group) => (groups.indexOf(group) - from) * by > 0);
    const next = by > 0 ? (ahead[0] ?? tour[0]) : (ahead.at(-1) ?? tour.at(-1));
    this.goTo(next);
    return true;
  }

  #leave() {
    if (this.#canvas.tool === 'draw' || this.#editor.isOpen) return null;
    if (this.#settling.group !== null || this.#editor.selected !== null) {
      this.#settling.group = null;
      this.#editor.select(null);
      this.update();
      this.#desk.render();
    } else {
      this.#letTabGo = true;
      this.#desk.announce('Tab leaves the image');
    }
    return true;
  }

  /** A click on a layer's box, where no final box is, chooses its group: the smallest one. */
  #click({ offsetX: x, offsetY: y }) {
    if (!this.#settling || this.#editor.selected !== null || this.#canvas.tool === 'draw') return;
    const hits = this.#layers()
      .filter((layer) => layer.visible)
      .flatMap((layer) => layer.boxes)
      .map((box) => ({ box, on: this.#canvas.screenBox(box.id) }))
      .filter(({ on: [x1, y1, x2, y2] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2)
      .sort((a, b) => areaOf(a.on) - areaOf(b.on));
    if (hits.length > 0) this.#settling.goTo(hits[0].box.group);
  }

  #placeFrame() {
    const group = this.#settling?.group ?? null;
    show(this.#frame, group !== null);
    if (group === null) return;
    const members = this.#settling.rules.members(group).map(idOnCanvas);
    const ids = [...members, this.#settling.entryOf(group).box?.id].filter(Boolean);
    const boxes = ids.map((id) => this.#canvas.screenBox(id)).filter(Boolean);
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
