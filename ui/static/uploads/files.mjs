// Files that people choose or drop: which of them are images, and whose images they are.

const SUFFIXES = /\.(jpe?g|png|tiff?|bmp|webp)$/i;
const BYTES = ['B', 'kB', 'MB', 'GB', 'TB'];

/**
 * A file and where it lies in what was chosen: `path` is `folder/name` or just the name.
 * @typedef {{file: File, path: string}} Found
 */

/** By its name alone: what a file really is, the server finds out by decoding it. */
export function isImage(name) {
  return SUFFIXES.test(name) && !name.startsWith('.');
}

/** @returns {Found[]} of a file field, which may have been for a folder */
export function ofField(files) {
  return Array.from(files, (file) => ({ file, path: file.webkitRelativePath || file.name }));
}

/**
 * Everything that was dropped, folders gone through. The entries have to be asked for at once:
 * after the event there are none.
 * @returns {Promise<Found[]>}
 */
export async function ofDrop(transfer) {
  const entries = Array.from(transfer.items ?? [], (item) => item.webkitGetAsEntry?.() ?? null);
  const known = entries.filter((entry) => entry !== null);
  if (known.length === 0) return ofField(transfer.files);
  const found = [];
  for (const entry of known) await collect(entry, '', found);
  return found;
}

async function collect(entry, folder, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file !== null) found.push({ file, path: folder + file.name });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // Chromium gives a folder's entries by the hundred.
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (some.length === 0) return;
    for (const each of some) await collect(each, `${folder}${entry.name}/`, found);
  }
}

export const SUBJECT_RULES = ['alone', 'one', 'name', 'folder'];

/**
 * Whose image it is; empty: it stands for itself.
 * @param {'alone'|'one'|'name'|'folder'} rule
 * @param {string} typed the subject that all of them have, for the rule `one`
 */
export function subjectOf(rule, typed, path) {
  const parts = path.split('/');
  const name = parts.at(-1);
  if (rule === 'one') return typed.trim();
  if (rule === 'name') return name.includes('_') ? name.slice(0, name.indexOf('_')).trim() : '';
  if (rule === 'folder') return parts.length > 1 ? parts.at(-2).trim() : '';
  return '';
}

/** `12 images of 4 subjects, 2 of them without`, before anything is sent. */
export function subjectSummary(subjects) {
  const some = subjects.filter((subject) => subject !== '');
  const images = count(subjects.length, 'image');
  if (subjects.length === 0) return '';
  if (some.length === 0) return `${images}, each for itself.`;
  const kinds = count(new Set(some).size, 'subject');
  const rest = subjects.length - some.length;
  return `${images}, ${kinds}${rest ? `; ${rest} without one, each for itself` : ''}.`;
}

export function count(number, noun) {
  return `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;
}

/** `1.4 MB`: as file managers count, in thousands. */
export function bytes(number) {
  let unit = 0;
  while (number >= 999.5 && unit < BYTES.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit === 0 || number >= 99.5 ? Math.round(number) : number.toFixed(1)} ${BYTES[unit]}`;
}
