// Which of several drafts of one case comes back when it is opened, and which are only offered.

/**
 * A document carries `stamps`, a list of `{by, count}`: which session made it and its how-manieth edit
 * it is, and then the same of every document that it goes back to. Of two documents the one that has
 * a stamp of the other's session, with no lesser count, contains the other.
 */
function contains(newer, older) {
  const last = older?.stamps?.[0];
  if (!last) return false;
  return (newer?.stamps ?? []).some(({ by, count }) => by === last.by && count >= last.count);
}

const supersedes = (newer, older) => contains(newer, older) && !contains(older, newer);

/**
 * @param {object} options
 * @param {{rev: number, saved_at: string, document: object} | null} options.server the draft there
 * @param {{id: string, saved_at: string, document: object}[]} options.recovered kept by the server
 *   when it had to refuse them
 * @param {import('./local_copies.mjs').LocalCopy[]} options.locals the latest first
 * @param {string} options.phase a draft of another phase is of no use any more
 * @returns {{restore: object | null, from: "server" | "browser" | null,
 *   offers: {id: string | null, savedAt: string | number, document: object, copy: object | null}[],
 *   obsolete: {copies: object[], recovered: string[]}}} `obsolete`: nothing in them is missing
 *   from what is restored or offered
 */
export function chooseDraft({ server, recovered, locals, phase }) {
  const usable = (document) => document?.phase === phase;
  const result = { restore: null, from: null, offers: [], obsolete: { copies: [], recovered: [] } };
  if (server && usable(server.document)) {
    Object.assign(result, { restore: server.document, from: 'server' });
  }
  const leftOver = [];
  for (const copy of locals) {
    if (!usable(copy.document)) continue;
    if (contains(result.restore, copy.document)) {
      result.obsolete.copies.push(copy);
    } else if (!copy.orphaned && result.from !== 'browser' && isNewer(copy, server)) {
      Object.assign(result, { restore: copy.document, from: 'browser' });
    } else {
      leftOver.push(copy);
    }
  }
  for (const { id, saved_at, document } of recovered) {
    // What a copy here contains too is offered with that; the server's stays until that is saved.
    if (!usable(document) || leftOver.some((copy) => supersedes(copy.document, document))) continue;
    if (contains(result.restore, document)) {
      result.obsolete.recovered.push(id);
    } else {
      result.offers.push({ id, savedAt: saved_at, document, copy: null });
    }
  }
  for (const copy of leftOver) {
    if (result.offers.some((offer) => contains(offer.document, copy.document))) {
      result.obsolete.copies.push(copy);
    } else {
      result.offers.push({ id: null, savedAt: copy.at, document: copy.document, copy });
    }
  }
  return result;
}

function isNewer(copy, server) {
  if (!server) return true;
  return copy.rev >= server.rev || contains(copy.document, server.document);
}
