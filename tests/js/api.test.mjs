import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Refused, SignedOut, Unreachable, createApi, newId } from '../../ui/static/api.mjs';

function apiThatGets(...responses) {
  const requests = [];
  const state = { signedOut: 0 };
  const fetch = async (url, init) => {
    requests.push({ url, ...init });
    const next = responses.shift();
    if (next instanceof Error) throw next;
    return next;
  };
  const api = createApi({ base: '/app', fetch, onSignedOut: () => (state.signedOut += 1) });
  return { api, requests, state };
}

const json = (body, status = 200) => new Response(JSON.stringify(body), { status });

test('what changes something carries the mark that other sites cannot send, and JSON', async () => {
  const { api, requests } = apiThatGets(json({ case: null }));
  await api.next({ work: 'first', tab: 't' });
  const [{ url, method, headers, body }] = requests;
  assert.equal(url, '/app/desk/next');
  assert.equal(method, 'POST');
  assert.equal(headers['x-second-look'], '1');
  assert.equal(headers['content-type'], 'application/json');
  assert.deepEqual(JSON.parse(body), { work: 'first', tab: 't' });
});

test('what only reads carries neither a mark nor a body', async () => {
  const { api, requests } = apiThatGets(json({ first: 1 }));
  assert.deepEqual(await api.counts(), { first: 1 });
  assert.equal(requests[0].headers['x-second-look'], undefined);
  assert.equal(requests[0].body, undefined);
});

test('a refusal keeps the words of the server', async () => {
  const error = { code: 'stale_lease', message: 'Too late.', hint: 'Open it again.' };
  const { api } = apiThatGets(json({ error }, 409));
  await assert.rejects(api.heartbeat('c1', {}), (raised) => {
    assert.ok(raised instanceof Refused);
    assert.deepEqual(
      [raised.status, raised.code, raised.message, raised.hint],
      [409, 'stale_lease', 'Too late.', 'Open it again.'],
    );
    return true;
  });
});

test('a refusal without words of the server is still one', async () => {
  const { api } = apiThatGets(new Response('<h1>Oops</h1>', { status: 500 }));
  await assert.rejects(
    api.counts(),
    (raised) => raised instanceof Refused && raised.status === 500,
  );
});

test('401 is told to whoever asked and to the page', async () => {
  const { api, state } = apiThatGets(
    json({ error: { code: 'signed_out', message: 'Sign in.' } }, 401),
  );
  await assert.rejects(api.draft('c1', {}), SignedOut);
  assert.equal(state.signedOut, 1);
});

test('no answer is no refusal: it may have arrived', async () => {
  const { api } = apiThatGets(new TypeError('Failed to fetch'));
  await assert.rejects(api.submit('c1', {}), Unreachable);
});

test('a gateway without a server behind it is no answer, one with words of ours is', async () => {
  const { api } = apiThatGets(
    new Response('bad gateway', { status: 502 }),
    json({ error: { code: 'busy', message: 'Busy.' } }, 503),
  );
  await assert.rejects(api.counts(), Unreachable);
  await assert.rejects(
    api.counts(),
    (raised) => raised instanceof Refused && raised.code === 'busy',
  );
});

test('a request that hangs counts as unreachable', async () => {
  const fetch = (url, { signal }) =>
    new Promise((resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  const api = createApi({ fetch, patience: 5 });
  // The timer of AbortSignal.timeout alone does not keep Node alive.
  const alive = setTimeout(() => {}, 1000);
  await assert.rejects(api.counts(), Unreachable);
  clearTimeout(alive);
});

test('a request that the page gave up is not called unreachable', async () => {
  const fetch = async (url, { signal }) => {
    signal.throwIfAborted();
  };
  const stop = new AbortController();
  stop.abort();
  await assert.rejects(createApi({ fetch }).counts(stop.signal), { name: 'AbortError' });
});

test('204 has no body, an image is a blob', async () => {
  const { api, requests } = apiThatGets(
    new Response(null, { status: 204 }),
    new Response('pixels'),
  );
  assert.equal(await api.release('c1', {}), null);
  assert.equal(await (await api.image('/desk/images/i1')).text(), 'pixels');
  assert.equal(requests[1].url, '/app/desk/images/i1');
});

test('a queue query leaves out what is not set', async () => {
  const { api, requests } = apiThatGets(json({ rows: [] }));
  await api.queue({ state: 'first', class_id: 0, model: null, cursor: '', order: undefined });
  assert.equal(requests[0].url, '/app/desk/queue?state=first&class_id=0');
});

test('ids of cases cannot leave their place in the path', async () => {
  const { api, requests } = apiThatGets(json({}));
  await api.open('../me?', {});
  assert.equal(requests[0].url, '/app/desk/cases/..%2Fme%3F/open');
});

test('new ids are 32 hex digits and differ', () => {
  assert.match(newId(), /^[0-9a-f]{32}$/);
  assert.notEqual(newId(), newId());
});
