// What the auditor's page says. No DOM in here.

const OUTCOMES = { intended: 'about to happen', failed: 'failed', refused: 'refused' };

export function count(number, noun) {
  let plural = `${noun}s`;
  if (noun.endsWith('y')) plural = `${noun.slice(0, -1)}ies`;
  else if (noun.endsWith('sh')) plural = `${noun}es`;
  return `${number.toLocaleString('en-US')} ${number === 1 ? noun : plural}`;
}

/** Empty for what was done, as nearly everything is. */
export function outcomeOf(outcome) {
  return OUTCOMES[outcome] ?? '';
}

/** What a proof shows, from `GET /audit/events/…/proof`. */
export function proofWords({ index, size, root, origin, hashes }) {
  return (
    `Entry ${index} is in the log ${origin}: ${count(hashes, 'hash')} ` +
    `${hashes === 1 ? 'leads' : 'lead'} from it to the root ${root} of the signed checkpoint of ${count(size, 'entry')}.`
  );
}

/** A line for each witness; and what it means that there is none. */
export function witnessWords(witnesses) {
  if (witnesses.length === 0) {
    return [
      'No witness is named in the settings: that nobody wrote the log anew with its own key cannot be seen here.',
    ];
  }
  return witnesses.map(({ name, at }) =>
    at ? `${name} cosigned this checkpoint at ${at}.` : `${name} has not signed this checkpoint.`,
  );
}

export function verifiedWords({ size, root, seen, purged = 0, stamped = null }) {
  const words = [
    `All ${count(size, 'entry')} verify: each entry, each hash, the signature, and the database's copy. The root is ${root}.`,
  ];
  if (purged > 0) {
    words.push(
      `The first ${count(purged, 'entry')} were purged, which is on record: their hashes were checked, their words are gone.`,
    );
  }
  for (const [name, cosigned] of Object.entries(seen)) {
    words.push(`It goes on from the ${count(cosigned, 'entry')} that ${name} has cosigned.`);
  }
  if (stamped) {
    words.push(`By its newest timestamp it had ${count(stamped.size, 'entry')} at ${stamped.at}.`);
  }
  return words;
}

export function progressWords({ done, total }) {
  return `${done.toLocaleString('en-US')} of ${count(total, 'entry')}`;
}

export function provedWords({ what, index, origin, type, at, actor, size, root }) {
  return (
    `${what} is what entry ${index} of ${origin} says: ${type} at ${at}, by ${actor}. ` +
    `Its proof is against the checkpoint of ${count(size, 'entry')} with root ${root}.`
  );
}

/** The one thing that a search is about, if it can be followed; else null. */
export function followable(query) {
  const kinds = { case: 'case', model: 'model', run: 'run', request_id: 'request', image: 'image' };
  const asked = Object.entries(kinds)
    .filter(([field]) => (query[field] ?? '').trim())
    .map(([field, kind]) => ({ kind, value: query[field].trim() }));
  if (query.kind && query.value && query.kind !== 'person') {
    asked.push({ kind: query.kind, value: query.value });
  }
  return asked.length === 1 ? asked[0] : null;
}

/** Number of gaps in a tree of steps. */
export function gapsIn(step) {
  return step.gaps.length + step.steps.reduce((sum, each) => sum + gapsIn(each), 0);
}
