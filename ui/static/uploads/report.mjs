// What became of an import, and of those before it.

import { button, el } from './dom.mjs';
import { stepOf } from './importing.mjs';

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: 'short', timeStyle: 'short' });

/** @returns {HTMLElement[]} none where there was no problem */
export function problemTable(report) {
  const rows = report.problems.map(({ file, reason }) =>
    el('tr', {}, el('td', {}, file), el('td', {}, reason)),
  );
  const shown = report.problems.length;
  const more = report.problem_count > shown ? ` The first ${shown} are shown.` : '';
  return [
    el('h3', {}, `Not imported, or not as it was: ${report.problem_count}.${more}`),
    el(
      'div',
      { class: 'slu-scroll', tabIndex: 0, role: 'region', aria: { label: 'Problems' } },
      el(
        'table',
        {},
        el(
          'thead',
          {},
          el('tr', {}, el('th', { scope: 'col' }, 'File'), el('th', { scope: 'col' }, 'Reason')),
        ),
        el('tbody', {}, ...rows),
      ),
    ),
  ];
}

/**
 * @param {object[]} imports that are over, latest first
 * @param {(id: string) => void} show
 * @returns {HTMLElement[]}
 */
export function earlierOnes(imports, show) {
  if (imports.length === 0) return [];
  const rows = imports.map((each) =>
    el(
      'li',
      {},
      el('span', { class: 'slu-when' }, WHEN.format(new Date(each.started_at))),
      el('span', { class: 'slu-what' }, `${each.name || 'No name'}: ${stepOf(each)[0]}`),
      button('Show', () => show(each.id), { ariaLabel: `Show the import ${each.name}` }),
    ),
  );
  return [el('h3', {}, 'Since the app was started'), el('ul', {}, ...rows)];
}
