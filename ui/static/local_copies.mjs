// Copies of unsaved edits in this browser (IndexedDB). A record exists only while the server does
// not have what is in it.

const DATABASE = 'second-look';
const STORE = 'unsaved';

// A browser whose store does not answer must not keep the desk from beginning.
const PATIENCE_MS = 3_000;

/**
 * @typedef {object} LocalCopy
 * @property {string} who pseudonym of whose edit it is
 * @property {string} caseId
 * @property {string} by the session that made it
 * @property {number} rev the server's revision that it was made on
 * @property {number} at wall clock in ms, only for showing
 * @property {boolean} orphaned the case was lost to somebody else before this arrived
 * @property {object} document
 */

/** Opens the store; without IndexedDB (private windows) copies last as long as the page. */
export async function openCopies(factory = globalThis.indexedDB) {
  try {
    return new Stored(await opened(factory));
  } catch {
    return new InMemory();
  }
}

const keyOf = ({ who, caseId, by }) => [who, caseId, by];

class Stored {
  durable = true;
  #database;

  constructor(database) {
    this.#database = database;
  }

  /** @param {LocalCopy} copy */
  put(copy) {
    return this.#do('readwrite', (store) => store.put(copy));
  }

  remove(copy) {
    return this.#do('readwrite', (store) => store.delete(keyOf(copy)));
  }

  /** @returns {Promise<LocalCopy[]>} the latest first */
  async of(who, caseId) {
    const range = IDBKeyRange.bound([who, caseId], [who, caseId, []]);
    return latestFirst(await this.#do('readonly', (store) => store.getAll(range)));
  }

  async sweep(before) {
    const all = await this.#do('readonly', (store) => store.getAll());
    for (const copy of all) if (copy.at < before) await this.remove(copy);
  }

  close() {
    this.#database.close();
  }

  #do(mode, work) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

export class InMemory {
  durable = false;
  #copies = new Map();

  async put(copy) {
    this.#copies.set(keyOf(copy).join(), structuredClone(copy));
  }

  async remove(copy) {
    this.#copies.delete(keyOf(copy).join());
  }

  async of(who, caseId) {
    const all = [...this.#copies.values()];
    return latestFirst(all.filter((copy) => copy.who === who && copy.caseId === caseId));
  }

  async sweep(before) {
    for (const copy of [...this.#copies.values()]) if (copy.at < before) await this.remove(copy);
  }

  close() {}
}

/** The copies of one case, and that of one session in it. What fails here is no reason to stop: then
 * the server's draft is what remains. */
export class KeptCopies {
  #copies;
  #whose;
  #wallClock;

  /** @param {{who: string, caseId: string, by: string}} whose */
  constructor(copies, whose, wallClock = Date.now) {
    this.#copies = copies;
    this.#whose = whose;
    this.#wallClock = wallClock;
  }

  async put(document, { rev, orphaned = false }) {
    const copy = { ...this.#whose, rev, at: this.#wallClock(), orphaned, document };
    await this.#copies.put(copy).catch(() => {}); // no room, or a private window
  }

  /** @returns {Promise<LocalCopy[]>} of all sessions, the latest first */
  async all() {
    return this.#copies.of(this.#whose.who, this.#whose.caseId).catch(() => []);
  }

  async remove(copy = this.#whose) {
    await this.#copies.remove(copy).catch(() => {});
  }

  async removeAll() {
    for (const copy of await this.all()) await this.remove(copy);
  }
}

function latestFirst(copies) {
  return copies.sort((a, b) => b.at - a.at);
}

function opened(factory) {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error('no answer')), PATIENCE_MS);
    const request = factory.open(DATABASE, 1);
    request.onupgradeneeded = () =>
      request.result.createObjectStore(STORE, { keyPath: ['who', 'caseId', 'by'] });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error('blocked'));
  });
}
