// The desk's routes. Every answer that is not a success becomes one of three errors.

/** The server answered and refused: `code`, `message` and `hint` are its own words. */
export class Refused extends Error {
  constructor(status, { code = 'refused', message = '', hint = '' } = {}) {
    super(message || `The server answered ${status}.`);
    this.name = 'Refused';
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

/** What is asked for does not go with how things stand now: the case is somebody else's, or done. */
export function isConflict(error) {
  return error instanceof Refused && error.status === 409;
}

/** No session any more: nothing will be accepted until the person signs in again. */
export class SignedOut extends Refused {
  constructor(error) {
    super(401, error);
    this.name = 'SignedOut';
  }
}

/** No answer, or one from something in between: the request may or may not have arrived. */
export class Unreachable extends Error {
  constructor(reason) {
    super('No connection to the server.');
    this.name = 'Unreachable';
    this.reason = reason;
  }
}

/** 32 lower-case hex digits. `crypto.randomUUID` needs HTTPS or localhost, this does not. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// A request that hangs is a connection lost. Saving and opening take milliseconds, an image of
// 12 megapixels over a slow line does not.
const PATIENCE_MS = 15_000;
const IMAGE_PATIENCE_MS = 120_000;
const MARK = { 'x-second-look': '1' };

/**
 * @param {{base?: string, fetch?: typeof fetch, onSignedOut?: () => void, patience?: number}} options
 *   `onSignedOut` is called on every 401, whoever asked.
 */
export function createApi({
  base = '',
  fetch: send = globalThis.fetch.bind(globalThis),
  onSignedOut = () => {},
  patience = PATIENCE_MS,
} = {}) {
  async function ask(path, { method = 'GET', body, signal, raw = false } = {}) {
    const limit = AbortSignal.timeout(raw ? IMAGE_PATIENCE_MS : patience);
    const init = {
      method,
      credentials: 'same-origin',
      headers: { accept: 'application/json' },
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    };
    if (method !== 'GET') Object.assign(init.headers, MARK);
    if (body !== undefined) {
      init.headers['content-type'] = 'application/json';
      init.body = JSON.stringify(body);
    }
    let response;
    try {
      response = await send(base + path, init);
      if (response.ok) return await read(response, raw);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Unreachable(error);
    }
    const error = await wordsOf(response);
    if (response.status === 401) {
      onSignedOut();
      throw new SignedOut(error);
    }
    // A gateway in front of us says these when the server itself is away.
    if (error === null && [502, 503, 504].includes(response.status)) {
      throw new Unreachable(response.status);
    }
    throw new Refused(response.status, error ?? undefined);
  }

  const post = (path, body, signal) => ask(path, { method: 'POST', body, signal });
  const of = (id) => `/desk/cases/${encodeURIComponent(id)}`;

  return {
    me: (signal) => ask('/desk/me', { signal }),
    counts: (signal) => ask('/desk/counts', { signal }),
    queue: (query, signal) => ask(`/desk/queue?${parameters(query)}`, { signal }),
    next: (body, signal) => post('/desk/next', body, signal),
    open: (id, body, signal) => post(`${of(id)}/open`, body, signal),
    draft: (id, body, signal) => post(`${of(id)}/draft`, body, signal),
    heartbeat: (id, body, signal) => post(`${of(id)}/heartbeat`, body, signal),
    release: (id, body, signal) => post(`${of(id)}/release`, body, signal),
    submit: (id, body, signal) => post(`${of(id)}/submit`, body, signal),
    reveal: (id, body, signal) => post(`${of(id)}/reveal`, body, signal),
    settle: (id, body, signal) => post(`${of(id)}/settle`, body, signal),
    skip: (id, body, signal) => post(`${of(id)}/skip`, body, signal),
    reopen: (id, body, signal) => post(`${of(id)}/reopen`, body, signal),
    discardDraft: (id, signal) =>
      ask(`/desk/drafts/${encodeURIComponent(id)}`, { method: 'DELETE', signal }),
    image: (url, signal) => ask(url, { raw: true, signal }),
    /** Free a case while the page goes away: nobody waits for the answer. */
    releaseByBeacon(id, body) {
      const blob = new Blob([JSON.stringify(body)], { type: 'application/json' });
      return navigator.sendBeacon(`${base}${of(id)}/release`, blob);
    },
  };
}

async function read(response, raw) {
  if (raw) return response.blob();
  if (response.status === 204) return null;
  return response.json();
}

async function wordsOf(response) {
  try {
    const body = await response.json();
    return body.error ?? null;
  } catch {
    return null;
  }
}

function parameters(query) {
  const set = Object.entries(query).filter(([, value]) => (value ?? '') !== '');
  return new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
}
