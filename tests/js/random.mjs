// Random numbers that are the same in every run: a failure names its seed.

/** Numbers in [0, 1), Mulberry32. */
export function numbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const between = (random, low, high) => low + random() * (high - low);
export const pick = (random, list) => list[Math.floor(random() * list.length)];

/** A box somewhere in an image of that size, in float pixels off any grid. */
export function boxIn(random, width, height) {
  const [x1, y1] = [between(random, 0, width - 2), between(random, 0, height - 2)];
  return [x1, y1, between(random, x1 + 0.5, width), between(random, y1 + 0.5, height)];
}
