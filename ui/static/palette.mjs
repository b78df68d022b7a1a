// What tells classes and layers apart. Never colour alone: a class also has a number and a name on
// its boxes, a status a glyph and a line style.

// Okabe and Ito's colours for all kinds of colour vision, without yellow, which is lost on tissue.
const COLOURS = ['#0072B2', '#E69F00', '#009E73', '#D55E00', '#56B4E9', '#CC79A7'];

// The colour's second round is dash-dotted, the third dotted; CSS pixels.
const ROUNDS = [[], [14, 3, 3, 3], [4, 3]];

/** The colour, its dash and the text colour that is readable on it, of the class at `index`. */
export function classStyle(index) {
  const place = Math.max(0, index);
  const colour = COLOURS[place % COLOURS.length];
  const dash = ROUNDS[Math.floor(place / COLOURS.length) % ROUNDS.length];
  return { colour, dash, ink: inkOn(colour) };
}

/** The sign of a status, before the class on a box. */
export const GLYPHS = Object.freeze({
  pending: '?',
  accepted: '\u2713', // check mark
  changed: '\u0394', // delta
  added: '+',
  rejected: '\u00d7', // multiplication sign
});

/** A status's line: width in CSS pixels, and a dash where it goes before the class's. */
export const LINES = Object.freeze({
  pending: { width: 1.75, dash: null },
  accepted: { width: 3, dash: null },
  changed: { width: 3, dash: null },
  added: { width: 3, dash: null },
  rejected: { width: 1.5, dash: [5, 5] },
  ghost: { width: 1.5, dash: [3, 4] },
});

/** The layers that are compared in the second review: a letter and a dash each. */
export const LAYERS = Object.freeze({
  model: { letter: 'M', dash: [2, 4] },
  first: { letter: '1', dash: [9, 4] },
  second: { letter: '2', dash: [9, 3, 2, 3] },
});

/** Black or white, whichever has more contrast on `colour` (WCAG 2's relative luminance). */
export function inkOn(colour) {
  return luminance(colour) > 0.179 ? '#000000' : '#ffffff';
}

function luminance(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => linear(parseInt(colour.slice(at, at + 2), 16) / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
