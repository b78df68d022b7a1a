// The reviewer's desk: puts it into the page, and connects keys, panels, canvas and flow.

import { SignedOut, createApi } from './api.mjs';
import { createCanvas } from './canvas.mjs';
import { ActiveTime, pageClock } from './clock.mjs';
import { newId } from './core.mjs';
import { el } from './dom.mjs';
import { Flow } from './flow.mjs';
import { card, fitToWindow, styled } from './frame.mjs';
import { listenToKeys } from './keys.mjs';
import { createLayout } from './layout.mjs';
import { openCopies } from './local_copies.mjs';
import { CHOICE_OF } from './panels/groups.mjs';
import { createSignedOut } from './panels/signed_out.mjs';
import { rememberedInTab } from './remembered.mjs';
import { SettleView } from './settle_view.mjs';

// Copies of edits that were never handed in, of cases that may be long gone.
const FORGET_AFTER_MS = 30 * 24 * 3600 * 1000;

/**
 * Puts the desk into `element`, in the place of what it holds. `base` is the prefix of the app's routes;
 * `trigger` tells the page around it ("case_changed") what other parts of it may want to know.
 * Resolves to the way to take it down again.
 */
export async function mount({ element, trigger = null, base = '' }) {
  element.__desk?.destroy();
  const desk = new Desk({ element, trigger, base });
  element.__desk = desk;
  await desk.start();
  return () => desk.destroy();
}

let mounted = 0;

class Desk {
  flow = null;
  canvas = null;
  me = null;
  models = [];
  layersShown = { model: true, first: true, second: true };
  #element;
  #trigger;
  #stop = new AbortController();
  #bitmap = null;
  #shownId = null;
  #layout = null;
  #settle = null;
  #signedOut;
  #rendering = false;
  #prefix;

  constructor({ element, trigger, base }) {
    mounted += 1;
    this.#prefix = `sl-${mounted}`;
    this.#element = element;
    this.#trigger = trigger;
    this.tab = newId();
    this.active = new ActiveTime();
    this.api = createApi({ base, onSignedOut: () => this.#signedOut.open() });
    this.#signedOut = createSignedOut({
      base,
      retry: () => this.#retryAll(),
      focus: () => this.focusCanvas(),
    });
    this.root = el('div', { class: 'sl-desk', testid: 'desk' }, this.#signedOut.element);
  }

  // For the tests of the whole app

  get editor() {
    return this.flow?.session?.editor ?? null;
  }

  get state() {
    const { flow } = this;
    const session = flow?.session;
    return {
      status: flow?.status ?? 'starting',
      busy: flow?.busy ?? null,
      image: flow?.image ?? 'none',
      caseId: session?.id ?? null,
      phase: session?.phase ?? null,
      editable: session?.editable ?? false,
      saved: session?.saver.state.kind ?? null,
      lease: session?.lease.token ?? null,
      activeSeconds: this.active.seconds,
      submitted: flow?.submitted ?? 0,
      tab: this.tab,
    };
  }

  async start() {
    await styled(new URL('./desk.css', import.meta.url).href);
    if (this.#stop.signal.aborted) return;
    this.#element.replaceChildren(this.root);
    fitToWindow(this.root, this.#stop.signal);
    this.copies = await openCopies();
    this.copies.sweep(Date.now() - FORGET_AFTER_MS).catch(() => {});
    await this.#begin();
  }

  async #begin() {
    try {
      this.me = await this.api.me(this.#stop.signal);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      if (!(error instanceof SignedOut))
        this.#instead(card('This did not work', error.message, () => this.#begin()));
      return;
    }
    if (this.#stop.signal.aborted) return;
    if (this.me.works.length === 0) {
      const hint = 'An admin can give you the role of a reviewer.';
      this.#instead(card('There is no review work for your roles', hint));
      return;
    }
    this.#build();
    await this.flow.start();
  }

  destroy() {
    this.flow?.session?.leaveByBeacon();
    this.flow?.stop();
    this.#stop.abort();
    this.canvas?.destroy();
    this.#bitmap?.close();
    this.active.stop();
    this.root.remove();
    delete this.#element.__desk;
  }

  // What panels and keys ask for

  /** Does an action of the key table; false if it means nothing here. */
  act(action, event = null) {
    const handled = this.#act(action, event);
    if (event?.type === 'click') this.afterClick(event);
    return handled;
  }

  #act(action, event) {
    const { flow, dialogs } = this;
    const ofCase = {
      submit: () => flow.submit(),
      skip: () => dialogs.skip(),
      escalate: () => dialogs.escalate(),
      help: () => dialogs.help(),
      comment: () => this.#layout.comment.focus(),
      save: () => this.#save(),
      'previous-case': () => flow.previous(),
      'next-case': () => flow.next(),
    }[action];
    if (!ofCase) return this.#onCanvas(action, event);
    ofCase();
    return true;
  }

  #onCanvas(action, event) {
    const { flow } = this;
    if (flow.asking) {
      if (action === 'leave') return flow.stopAsking();
      if (action === 'corner') {
        flow.submit();
        return true;
      }
    }
    if (flow.session?.phase === 'settle') {
      const done = this.#settle.act(action);
      if (done !== null) return done;
    } else if (action in CHOICE_OF && action !== 'reject') return false;
    return this.canvas.run(action, event);
  }

  /** A click with the mouse gives the keys back to the image; one made with a key stays where it is. */
  afterClick(event) {
    if (event?.detail > 0 && !this.root.querySelector('dialog[open]')) this.focusCanvas();
  }

  focusCanvas() {
    this.canvas?.element.focus({ preventScroll: true });
  }

  selectBox(id, { centre = false } = {}) {
    this.editor?.select(id);
    if (centre && !this.canvas.shows(id)) this.canvas.centreOn(id);
  }

  setClass(classId, event) {
    const { editor, canvas } = this;
    const box = editor?.get(editor.selected);
    if (box && canvas.tool === 'select' && box.status !== 'rejected')
      editor.setClass(box.id, classId);
    else canvas.setDrawClass(classId);
    this.afterClick(event);
  }

  goToGroup(group) {
    this.#settle.goTo(group);
  }

  settleGroup(group, choice) {
    this.#settle.choose(group, choice);
  }

  setGroupReason(group, code) {
    const { session } = this.flow;
    if (group.extra) session.editor.annotate(group.id, { reason: code });
    else session.settling.setReason(group, code);
  }

  toggleLayer(layer) {
    this.layersShown = { ...this.layersShown, [layer]: !this.layersShown[layer] };
    this.#changed('layers');
  }

  async bringBack(offer) {
    try {
      await this.flow.session.bringBack(offer);
      this.announce('Your edit is back');
    } catch (error) {
      this.announce(error.message);
    }
    this.focusCanvas();
  }

  clearFilters() {
    return this.flow.choose({ class_id: null, model: null });
  }

  sawModels(models) {
    this.models = [...new Set([...this.models, ...models])];
    this.render();
  }

  /** Opens a case by its id: for other parts of the page. */
  open(caseId) {
    return this.flow?.open(caseId);
  }

  idOf(name) {
    return `${this.#prefix}-${name}`;
  }

  announce(text) {
    this.#layout?.hint(text);
  }

  /** All that changes together is drawn once, and before anybody can look. */
  render() {
    if (this.#rendering) return;
    this.#rendering = true;
    queueMicrotask(() => {
      this.#rendering = false;
      if (!this.#stop.signal.aborted) this.#layout?.update();
    });
  }

  // How it is done

  #instead(element) {
    this.root.replaceChildren(element, this.#signedOut.element);
  }

  #build() {
    const memory = rememberedInTab(this.me.pseudonym);
    const screen = {
      show: (session) => this.#show(session),
      changed: (kind) => this.#changed(kind),
      announce: (text) => this.announce(text),
      caseChanged: (id) => this.#trigger?.('case_changed', { id }),
      goToGroup: (group) => this.goToGroup(group),
    };
    const { api, me, copies, active, tab } = this;
    this.flow = new Flow({ api, me, copies, active, tab, screen, memory, clock: pageClock });
    const host = el('div', { class: 'sl-canvas-host', testid: 'canvas-host' });
    this.root.replaceChildren(host, this.#signedOut.element); // a canvas needs a size from the start
    this.canvas = createCanvas(host, { announce: (text) => this.announce(text) });
    this.#settle = new SettleView(this, host);
    this.#layout = createLayout(this, host);
    this.dialogs = this.#layout.dialogs;
    this.root.replaceChildren(...this.#layout.elements, this.#signedOut.element);
    this.#listen();
    this.#loadModels();
    this.#layout.update();
  }

  async #show(session) {
    const { canvas } = this;
    this.#shownId = session?.id ?? null;
    canvas.setEditor(null);
    canvas.setLayers([]);
    this.layersShown = { model: true, first: true, second: true };
    if (session === null) {
      this.#setBitmap(null, { width: 1, height: 1 });
      return;
    }
    const { image } = session.view;
    this.#setBitmap(null, image);
    const blob = await this.api.image(image.url, this.#stop.signal);
    const bitmap = await createImageBitmap(blob);
    if (this.flow.session !== session || this.#stop.signal.aborted) {
      bitmap.close();
      return;
    }
    this.#setBitmap(bitmap, image);
    canvas.setModelVisible(true);
    canvas.setEditor(session.editor);
    canvas.fit();
    this.#settle.update();
    if (!this.root.querySelector('dialog[open]')) this.focusCanvas();
  }

  #setBitmap(bitmap, { width, height }) {
    this.canvas.setImage(bitmap, { width, height });
    this.#bitmap?.close();
    this.#bitmap = bitmap;
  }

  #changed(kind) {
    const { flow, canvas } = this;
    const { session } = flow;
    if (kind === 'load' && session?.id === this.#shownId) canvas.setEditor(session.editor);
    canvas.setReadOnly(!session?.editable);
    if (['edit', 'select', 'layers', 'load', 'lost'].includes(kind)) this.#settle.update();
    this.render();
  }

  async #save() {
    const { session } = this.flow;
    if (!session?.editable) return this.announce('This case is read-only');
    if (!session.saver.dirty) return this.announce('Nothing is unsaved');
    const saved = await session.saver.flush();
    return this.announce(saved ? 'Saved' : 'Not saved');
  }

  async #loadModels() {
    try {
      const { models } = await this.api.queue({ state: this.flow.choice.work, limit: 1 });
      this.sawModels(models ?? []);
    } catch {
      // The filter then offers all models, and the queue says what is wrong.
    }
  }

  #retryAll() {
    const { flow } = this;
    if (!flow) {
      this.#begin();
      return;
    }
    flow.session?.saver.retry();
    flow.session?.lease.wake();
    flow.retryNow();
    flow.refreshCounts();
    if (!flow.session) flow.error?.retry?.();
    else if (flow.image === 'failed') flow.showImage();
  }

  #listen() {
    const { signal } = this.#stop;
    const on = (target, name, fn, options) =>
      target.addEventListener(name, fn, { signal, ...options });
    listenToKeys(document, (action, event) => this.act(action, event), {
      canvas: this.canvas.element,
      isActive: () => this.root.isConnected && this.root.offsetParent !== null,
      signal,
    });
    for (const name of ['pointerdown', 'pointermove', 'wheel', 'keydown']) {
      on(this.root, name, () => this.active.input(), { passive: true });
    }
    for (const event of ['tool', 'drawClass', 'modelVisible', 'hideAll']) {
      const off = this.canvas.on(event, () => this.render());
      signal.addEventListener('abort', off);
    }
    on(window, 'pagehide', () => this.flow.session?.leaveByBeacon());
    on(window, 'pageshow', (event) => {
      if (event.persisted && this.flow.session?.lease.held) this.flow.openAgain({ takeOver: true });
    });
    on(window, 'online', () => this.#retryAll());
    on(document, 'visibilitychange', () => {
      if (document.visibilityState === 'hidden') this.flow.session?.saver.flush();
      else this.flow.session?.lease.wake();
    });
    const ticking = setInterval(() => this.#layout.tick(), 1000);
    signal.addEventListener('abort', () => clearInterval(ticking));
  }
}
