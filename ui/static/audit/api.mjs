// The routes of the audit log. What goes wrong becomes an `Error` with words for people.

const TRACE_PATIENCE_MS = 60_000;

/** What the server refused or found; `hint` says what to do. */
export class Told extends Error {
  constructor({ message = '', hint = '' } = {}, status = 0) {
    super(message || 'The server did not answer as it should.');
    this.name = 'Told';
    this.hint = hint;
    this.status = status;
  }
}

export function createApi({ base = '', fetch: send = globalThis.fetch.bind(globalThis) } = {}) {
  async function answered(path, init = {}) {
    let response;
    try {
      response = await send(`${base}/audit${path}`, {
        credentials: 'same-origin',
        ...init,
        headers: { accept: 'application/json', ...init.headers },
      });
    } catch {
      throw new Told({
        message: 'No connection to the server.',
        hint: 'Check that Second Look is up, then try again.',
      });
    }
    if (response.ok) return response;
    if (response.status === 401) {
      throw new Told({ message: 'You are signed out.', hint: 'Reload the page and sign in.' });
    }
    throw new Told(await wordsOf(response), response.status);
  }

  const get = async (path, query = {}) => {
    const text = parameters(query);
    const signal = AbortSignal.timeout(TRACE_PATIENCE_MS);
    return (await answered(text ? `${path}?${text}` : path, { signal })).json();
  };
  const post = async (path, body) => {
    const headers = { 'content-type': 'application/json' };
    const init = { method: 'POST', headers, body: JSON.stringify(body) };
    return (await answered(path, init)).json();
  };
  const of = (which) => `/events/${encodeURIComponent(which)}`;

  return {
    state: () => get('/state'),
    events: (query) => get('/events', query),
    event: (which) => get(of(which)),
    proof: (which) => get(`${of(which)}/proof`),
    trace: (which, forward) => get(`${of(which)}/${forward ? 'consequences' : 'origins'}`),
    follow: (kind, value, forward) => get('/trace', { kind, value, forward }),
    verifyRun: (name) => post('/verify-run', { name }),
    verifyModel: (name) => post('/verify-model', { name }),
    zipOf: (which) => `${base}/audit${of(which)}/zip`,
    exportPath: `${base}/audit/export`,
    /** The whole log; `onReport` gets each line as it comes. */
    async verify(onReport) {
      const response = await answered('/verify', { method: 'POST' });
      await readLines(response.body, onReport);
    },
  };
}

/** JSON lines from a stream of bytes, however they are cut. */
export async function readLines(stream, onLine) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = '';
  for (;;) {
    const { value, done } = await reader.read();
    held += value ?? '';
    const lines = held.split('\n');
    held = lines.pop();
    for (const line of lines) if (line) onLine(JSON.parse(line));
    if (done) return;
  }
}

export function parameters(query) {
  const set = Object.entries(query).filter(([, value]) => (value ?? '') !== '' && value !== false);
  return new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
}

async function wordsOf(response) {
  try {
    return (await response.json()).error ?? {};
  } catch {
    return { message: `The server answered ${response.status}.` };
  }
}
