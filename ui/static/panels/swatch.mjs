// A class's line as the canvas draws it: its colour, its dash, its number.

import { classStyle } from '../palette.mjs';

const SVG = 'http://www.w3.org/2000/svg';

export function swatch(index) {
  const { colour, dash, ink } = classStyle(index);
  const svg = node('svg', {
    width: 24,
    height: 18,
    viewBox: '0 0 24 18',
    'aria-hidden': 'true',
    class: 'sl-swatch',
  });
  const frame = {
    x: 1.5,
    y: 1.5,
    width: 21,
    height: 15,
    fill: colour,
    'fill-opacity': dash.length ? 0.25 : 1,
  };
  const line = { stroke: colour, 'stroke-width': 2, 'stroke-dasharray': dash.join(' ') };
  const number = node('text', {
    x: 12,
    y: 13,
    'text-anchor': 'middle',
    'font-size': 11,
    'font-weight': 600,
    fill: dash.length ? '#1f2933' : ink,
  });
  number.textContent = String(index + 1);
  svg.append(node('rect', { ...frame, ...line }), number);
  return svg;
}

function node(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}
