// A list that makes elements only for what is in sight: thousands of rows scroll like ten.

const OVERSCAN_PX = 200;

/** Where each row begins, and at the end where the last one stops; pixels. */
export function layout(items, heightOf) {
  const tops = new Float64Array(items.length + 1);
  for (let at = 0; at < items.length; at += 1) tops[at + 1] = tops[at] + heightOf(items[at]);
  return tops;
}

/** The rows `[from, to)` of which some part lies between `top` and `bottom`. */
export function inSight(tops, top, bottom) {
  const rows = tops.length - 1;
  let low = 0;
  let high = rows;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (tops[middle + 1] <= top) low = middle + 1;
    else high = middle;
  }
  let to = low;
  while (to < rows && tops[to] < bottom) to += 1;
  return [low, to];
}

export class VirtualList {
  #host;
  #space = document.createElement('div');
  #heightOf;
  #make;
  #fill;
  #rows = new Map();
  #items = [];
  #tops = new Float64Array(1);

  /**
   * @param {HTMLElement} host scrolls
   * @param {object} options
   * @param {(item: object) => number} options.heightOf pixels
   * @param {() => HTMLElement} options.make an empty row
   * @param {(row: HTMLElement, item: object) => void} options.fill put an item in, again and again
   */
  constructor(host, { heightOf, make, fill }) {
    this.#host = host;
    this.#heightOf = heightOf;
    this.#make = make;
    this.#fill = fill;
    this.#space.style.position = 'relative';
    this.#space.setAttribute('role', 'presentation');
    host.replaceChildren(this.#space);
    host.addEventListener('scroll', () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe(host);
  }

  /** @param {{id: number}[]} items */
  show(items) {
    this.#items = items;
    this.#tops = layout(items, this.#heightOf);
    this.#space.style.height = `${this.#tops.at(-1)}px`;
    this.#draw();
  }

  #draw() {
    const top = this.#host.scrollTop - OVERSCAN_PX;
    const bottom = this.#host.scrollTop + this.#host.clientHeight + OVERSCAN_PX;
    const [from, to] = inSight(this.#tops, top, bottom);
    const gone = new Map(this.#rows);
    for (let at = from; at < to; at += 1) {
      const item = this.#items[at];
      const row = this.#row(item.id);
      gone.delete(item.id);
      row.style.top = `${this.#tops[at]}px`;
      row.style.height = `${this.#tops[at + 1] - this.#tops[at]}px`;
      row.setAttribute('aria-setsize', String(this.#items.length));
      row.setAttribute('aria-posinset', String(at + 1));
      this.#fill(row, item);
    }
    for (const [id, row] of gone) {
      row.remove();
      this.#rows.delete(id);
    }
  }

  #row(id) {
    let row = this.#rows.get(id);
    if (row === undefined) {
      row = this.#make();
      row.style.position = 'absolute';
      row.style.insetInline = '0';
      this.#rows.set(id, row);
      this.#space.append(row);
    }
    return row;
  }
}
