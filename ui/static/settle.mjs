// Settling a second review, without a page: groups of boxes that the model, the first and the
// second reviewer drew for one thing, and the one final box, or none, that each becomes.
//
// Everything is read off the boxes of the editor, so that undo, redo and a reload also bring back
// what was decided. A final box names all boxes of its group as its `sources`, the one that was
// picked first; a group that becomes nothing keeps a box of status "rejected".

export const LAYERS = ['model', 'first', 'second'];

// Where all agree there is nothing to choose: the first reviewer's box stands, else mine.
const LAYER_TAKEN = ['first', 'second', 'model'];

// Boxes come back from JSON and from the editor's clamping: closer than this is the same box.
const SAME_PX = 0.01;

// The reason that is offered for a kind of difference, the more telling kind first. A code that the
// server does not know is passed over.
const REASON_OF = [
  ['class', 'class'],
  ['moved', 'boundary'],
];
const REASON_KEPT = 'missed'; // somebody had it, and somebody had not
const REASON_DROPPED = 'false_positive';
const REASON_AGREED = 'agreed';

const SHORT = {
  only_model: 'only the model',
  only_first: 'only the first',
  only_second: 'only mine',
  missing_in_model: 'not in the model',
  missing_in_first: 'not in the first',
  missing_in_second: 'not mine',
  moved: 'edges',
  class: 'class',
};

/** How a group differs, in a word or two for each way: "Edges, class". */
export function shortWords({ agree, differences }) {
  if (agree) return 'All agree';
  const words = differences.map((each) => SHORT[each] ?? each.replaceAll('_', ' ')).join(', ');
  return words.slice(0, 1).toUpperCase() + words.slice(1);
}

export class Settlement {
  #sources = new Map(); // by layer and id: an id is unique in its layer only
  #groupOf = new Map(); // by the ids of its boxes
  #reasons;
  #newId;

  /**
   * @param {object} options
   * @param {object[]} options.groups as in the case view of phase "settle"
   * @param {{model: object[], first: object[], second: object[]}} options.layers
   * @param {{code: string, text: string}[]} options.reasons codes that the server knows
   * @param {() => string} options.newId
   */
  constructor({ groups, layers, reasons, newId }) {
    this.groups = groups;
    this.#reasons = reasons;
    this.#newId = newId;
    for (const layer of LAYERS) {
      for (const box of layers[layer]) this.#sources.set(`${layer} ${box.id}`, box);
    }
    for (const group of groups) this.#groupOf.set(keyOf(this.#ids(group)), group);
  }

  /** The boxes of a group as `{layer, box}`: model, first, second, as far as there are any. */
  members(group) {
    const inGroup = LAYERS.filter((layer) => group[layer]);
    return inGroup.map((layer) => ({ layer, box: this.#source(group, layer) }));
  }

  /** The group that an editor's box is for; null for one that was drawn where nobody had any. */
  groupOf(box) {
    return this.#groupOf.get(keyOf(box.sources)) ?? null;
  }

  /** What the editor begins with: where everybody agrees, the first reviewer's box or mine. */
  start() {
    const agreeing = this.groups.filter((group) => group.agree);
    return agreeing.map((group) =>
      this.#made(
        group,
        LAYER_TAKEN.find((layer) => group[layer]),
      ),
    );
  }

  can(group, choice) {
    if (choice === 'drop') return true;
    if (choice === 'merge') return this.members(group).length > 1;
    return Boolean(group[choice]);
  }

  /**
   * The editor's boxes after `choice` for `group`.
   *
   * @param {object[]} boxes
   * @param {"model" | "first" | "second" | "merge" | "drop"} choice
   */
  choose(boxes, group, choice) {
    const old = this.#boxOf(boxes, group);
    const made = this.#made(group, choice);
    if (!old) return [...boxes, made];
    const usual = this.defaultReason(group, { dropped: old.status === 'rejected' });
    const chosen = old.reason !== null && old.reason !== usual;
    const now = chosen ? { ...made, reason: old.reason } : made;
    return boxes.map((box) => (box === old ? now : box));
  }

  /** The boxes with another reason for `group`'s. */
  withReason(boxes, group, reason) {
    const old = this.#boxOf(boxes, group);
    return boxes.map((box) => (box === old ? { ...box, reason } : box));
  }

  /** The open group that a new box most overlaps, or null: then it is something nobody drew. */
  groupUnder(boxes, drawn) {
    const open = this.read(boxes).entries.filter((entry) => !entry.settled);
    let best = null;
    let bestOverlap = 0;
    for (const { group } of open) {
      for (const { box } of this.members(group)) {
        const overlap = iou(box.box, drawn.box);
        if (overlap > bestOverlap) [best, bestOverlap] = [group, overlap];
      }
    }
    return best;
  }

  /**
   * @returns {{entries: {group: object, settled: boolean, box: object | null, how: string | null,
   *   from: string | null, dropped: boolean, reason: string | null}[], extra: object[],
   *   open: object[], settled: number, total: number, agreed: number}} `settled` and `total`
   *   count the groups that differ
   */
  read(boxes) {
    const entries = this.groups.map((group) => this.#entry(group, this.#boxOf(boxes, group)));
    const taken = new Set(entries.map((entry) => entry.box));
    const differing = entries.filter((entry) => !entry.group.agree);
    return {
      entries,
      extra: boxes.filter((box) => !taken.has(box) && box.status !== 'rejected'),
      open: entries.filter((entry) => !entry.settled).map((entry) => entry.group),
      settled: differing.filter((entry) => entry.settled).length,
      total: differing.length,
      agreed: entries.length - differing.length,
    };
  }

  /** `group` null: a box that nobody had drawn before. */
  defaultReason(group, { dropped = false } = {}) {
    const [, ofDifference] = REASON_OF.find(([kind]) => group?.differences.includes(kind)) ?? [];
    if (dropped) return this.#known(REASON_DROPPED);
    if (group?.agree) return this.#known(REASON_AGREED);
    return this.#known(ofDifference ?? REASON_KEPT);
  }

  /** The reason of the whole answer: the most frequent where boxes differed, else "agreed". */
  overallReason(boxes) {
    const { entries, extra } = this.read(boxes);
    const counts = new Map();
    const differing = entries.filter((entry) => entry.settled && !entry.group.agree);
    for (const { reason } of [...differing, ...extra.map((box) => this.#extraOf(box))]) {
      counts.set(reason, (counts.get(reason) ?? 0) + 1);
    }
    const most = [...counts].sort((a, b) => b[1] - a[1])[0];
    return most ? most[0] : this.#known(REASON_AGREED);
  }

  /** What is handed in, once no group is open. */
  answer(boxes, { reason = null } = {}) {
    const { entries, extra } = this.read(boxes);
    const kept = entries.filter((entry) => entry.settled && !entry.dropped);
    const all = [...kept, ...extra.map((box) => this.#extraOf(box))];
    const detections = this.#detectionsOf(all);
    const final = all.map((entry, index) => ({
      id: entry.box.id,
      box: this.#edges(entry),
      class_id: entry.box.class_id,
      detection_id: detections[index],
      sources: entry.sources,
      how: entry.how,
      reason: entry.reason,
    }));
    const dropped = entries
      .filter((entry) => entry.dropped)
      .map((entry) => ({ sources: entry.sources, reason: entry.reason }));
    return { boxes: final, dropped, reason: reason ?? this.overallReason(boxes) };
  }

  /** What a new box of the editor needs to be the answer to `group`. */
  asAnswerTo(group) {
    return { sources: this.#ids(group), how: 'redrawn', reason: this.defaultReason(group) };
  }

  #boxOf(boxes, group) {
    return boxes.find((box) => this.groupOf(box) === group) ?? null;
  }

  #source(group, layer) {
    return this.#sources.get(`${layer} ${group[layer]}`) ?? null;
  }

  #ids(group, first = null) {
    const layers = [first, ...LAYERS].filter((layer) => layer && group[layer]);
    return [...new Set(layers.map((layer) => group[layer]))];
  }

  #entry(group, box) {
    const base = {
      group,
      box,
      settled: Boolean(box),
      sources: this.#ids(group),
      how: null,
      from: null,
    };
    if (!box) return { ...base, dropped: false, reason: null };
    const dropped = box.status === 'rejected';
    const reason = box.reason ?? this.defaultReason(group, { dropped });
    if (dropped) return { ...base, dropped, how: 'dropped', reason };
    // The editor says "redrawn" of a merged box as soon as it is touched.
    if (box.how === 'merged') return { ...base, dropped, how: 'merged', reason };
    // The one that was picked stands first among the sources; it may have a twin.
    const alike = this.members(group).filter((member) => same(box, member.box));
    const picked = alike.find((member) => member.box.id === box.sources[0]) ?? alike[0];
    if (!picked) return { ...base, dropped, how: 'redrawn', reason };
    const { layer } = picked;
    return {
      ...base,
      dropped,
      how: 'picked',
      from: layer,
      sources: this.#ids(group, layer),
      reason,
    };
  }

  #extraOf(box) {
    const reason = box.reason ?? this.defaultReason(null);
    return { group: null, box, sources: [], how: 'redrawn', reason, dropped: false };
  }

  #made(group, choice) {
    const dropped = choice === 'drop';
    const reason = this.defaultReason(group, { dropped });
    const common = { id: this.#newId(), sources: this.#ids(group), reason, status: 'accepted' };
    if (dropped) {
      const shown = ['first', 'model', 'second'].find((layer) => group[layer]);
      return { ...common, ...valuesOf(this.#source(group, shown)), status: 'rejected', how: null };
    }
    if (choice === 'merge') return { ...common, ...valuesOf(this.#mean(group)), how: 'merged' };
    const picked = valuesOf(this.#source(group, choice));
    return { ...common, ...picked, sources: this.#ids(group, choice), how: 'picked' };
  }

  /** The mean of a group's boxes, of the class that most of them have, else the first reviewer's. */
  #mean(group) {
    const boxes = this.members(group).map((member) => member.box);
    const box = [0, 1, 2, 3].map(
      (side) => boxes.reduce((sum, each) => sum + each.box[side], 0) / boxes.length,
    );
    const votes = new Map();
    for (const { class_id } of boxes) votes.set(class_id, (votes.get(class_id) ?? 0) + 1);
    const most = Math.max(...votes.values());
    const winners = boxes.map((each) => each.class_id).filter((id) => votes.get(id) === most);
    const preferred = this.#source(
      group,
      LAYER_TAKEN.find((layer) => group[layer]),
    ).class_id;
    return { box, class_id: winners.includes(preferred) ? preferred : winners[0] };
  }

  /** The edges that are handed in: of what was picked those of its source, to the last digit. */
  #edges({ group, box, how, from }) {
    return [...(how === 'picked' ? this.#source(group, from) : box).box];
  }

  /** The detection that each final box comes from. A detection goes into one box only: that whose
   * group it is in, before one that the first reviewer made of it somewhere else. */
  #detectionsOf(entries) {
    const own = entries.map(({ group }) => group?.model ?? null);
    const used = new Set(own);
    return entries.map(({ group }, index) => {
      const other = group?.first ? (this.#source(group, 'first').detection_id ?? null) : null;
      if (own[index] !== null || other === null || used.has(other)) return own[index];
      used.add(other);
      return other;
    });
  }

  #known(code) {
    const codes = this.#reasons.map((reason) => reason.code);
    return [code, 'other', ...codes].find((each) => codes.includes(each)) ?? code;
  }
}

const keyOf = (ids) => [...new Set(ids)].sort().join(' ');

function valuesOf({ box, class_id }) {
  return { box: [...box], class_id };
}

function same(a, b) {
  return (
    a.class_id === b.class_id &&
    a.box.every((side, index) => Math.abs(side - b.box[index]) < SAME_PX)
  );
}

function iou(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  return (width * height) / (area(a) + area(b) - width * height);
}
