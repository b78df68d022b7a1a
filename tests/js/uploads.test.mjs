import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Refused, SignedOut, Unreachable } from '../../ui/static/api.mjs';
import {
  bytes,
  isImage,
  ofDrop,
  ofField,
  subjectOf,
  subjectSummary,
} from '../../ui/static/uploads/files.mjs';
import { inSight, layout } from '../../ui/static/uploads/list.mjs';
import { UploadQueue } from '../../ui/static/uploads/queue.mjs';
import { formOf, send } from '../../ui/static/uploads/send.mjs';
import {
  actionOf,
  addedText,
  problemOf,
  stateOf,
  summaryOf,
} from '../../ui/static/uploads/words.mjs';

const settled = () => new Promise((resolve) => setImmediate(resolve));

function file(name, size = 10, lastModified = 1) {
  return new File([new Uint8Array(size)], name, { type: 'image/png', lastModified });
}

function found(...names) {
  return names.map((path) => ({ file: file(path.split('/').at(-1)), path }));
}

/** Sends nothing: a test answers each upload itself. */
class Server {
  open = [];
  most = 0;

  send = (item, { onProgress, signal }) =>
    new Promise((resolve, reject) => {
      const upload = { item, onProgress, signal, resolve, reject };
      this.open.push(upload);
      this.most = Math.max(this.most, this.open.length);
      signal.addEventListener('abort', () => this.#end(upload, reject, new Unreachable('aborted')));
    });

  #end(upload, how, value) {
    this.open = this.open.filter((each) => each !== upload);
    how(value);
  }

  async answer(detections = 1, at = 0) {
    this.#end(this.open[at], this.open[at].resolve, { detections });
    await settled();
  }

  async refuse(error, at = 0) {
    this.#end(this.open[at], this.open[at].reject, error);
    await settled();
  }
}

class Clock {
  waiting = [];
  later = (fn, ms) => this.waiting.push({ fn, ms });
  cancel = () => {};
}

function world(...names) {
  const server = new Server();
  const clock = new Clock();
  const queue = new UploadQueue({ send: server.send, clock });
  queue.add(found(...names));
  return { server, clock, queue, states: () => queue.items.map((item) => item.state) };
}

const alone = () => '';
const names = (number) => Array.from({ length: number }, (_, at) => `${at}.png`);

test('nothing is sent before it is started, then three at a time', async () => {
  const { server, queue, states } = world(...names(5));
  assert.equal(server.open.length, 0);
  assert.equal(queue.active, false);
  queue.start(alone);
  assert.deepEqual(states(), ['sending', 'sending', 'sending', 'waiting', 'waiting']);
  for (let left = 5; left > 0; left -= 1) await server.answer();
  assert.deepEqual(states(), Array(5).fill('queued'));
  assert.equal(server.most, 3);
  assert.equal(queue.active, false);
});

test('a file is detecting once all of it is sent, and queued with its boxes', async () => {
  const { server, queue } = world('a.png');
  const [item] = queue.items;
  queue.start(alone);
  server.open[0].onProgress(0.457);
  assert.equal(stateOf(item), '45 %');
  server.open[0].onProgress(1);
  assert.equal(stateOf(item), 'detecting…');
  assert.equal(actionOf(item), null);
  await server.answer(3);
  assert.equal(stateOf(item), 'queued: 3 boxes');
  assert.equal(actionOf(item), null);
  assert.equal(item.file, null, 'a queued file is let go of');
});

test('what is no image is left out, and what is listed is not listed twice', () => {
  const { queue } = world('a.png');
  const told = queue.add([...found('a.png', 'b.JPG', 'notes.txt', '._b.jpg'), ...found('b.JPG')]);
  assert.deepEqual(told, { added: 1, known: 2, others: 2 });
  assert.equal(addedText(told), '1 image added, 2 files listed already, 2 other files left out.');
  queue.remove(queue.items[0].id);
  assert.equal(queue.add(found('a.png')).added, 1, 'what was removed may be added again');
});

test('files that are too large or empty are refused without being sent', () => {
  const { server, queue } = world();
  queue.maxBytes = 1024 * 1024;
  queue.add([
    { file: file('big.png', 1024 * 1024 + 1), path: 'big.png' },
    { file: file('empty.png', 0), path: 'empty.png' },
  ]);
  queue.start(alone);
  assert.equal(server.open.length, 0);
  assert.deepEqual(
    queue.items.map((item) => [item.state, problemOf(item)]),
    [
      ['refused', 'The file is larger than 1 MiB. Send a smaller image.'],
      ['refused', 'The file is empty. Choose another.'],
    ],
  );
});

for (const status of [409, 413, 415, 422]) {
  test(`an image that the API refuses with ${status} is not sent again`, async () => {
    const { server, queue, states } = world('a.png', 'b.png');
    queue.start(alone);
    await server.refuse(new Refused(status, { message: 'It is cut off.', hint: 'Save it again.' }));
    assert.equal(problemOf(queue.items[0]), 'It is cut off. Save it again.');
    queue.retryAll();
    assert.deepEqual(states(), ['refused', 'sending']);
    assert.deepEqual(actionOf(queue.items[0]), ['Remove', 'remove']);
  });
}

test('an image that did not arrive can be sent again, alone or with the others', async () => {
  const { server, queue, states } = world('a.png', 'b.png', 'c.png');
  queue.start(alone);
  await server.refuse(new Unreachable('error'));
  await server.refuse(new Refused(503, { message: 'No model is in service yet.', hint: '' }));
  await server.answer();
  assert.deepEqual(states(), ['failed', 'failed', 'queued']);
  assert.match(problemOf(queue.items[0]), /No connection.*Check the connection/);
  queue.retry(queue.items[1].id);
  assert.deepEqual(states(), ['failed', 'sending', 'queued']);
  queue.retryAll();
  await server.answer();
  await server.answer();
  assert.deepEqual(states(), ['queued', 'queued', 'queued']);
  assert.equal(problemOf(queue.items[0]), '');
});

test('three failures in a row stop the rest, and continuing sends all of them', async () => {
  const { server, queue, states } = world(...names(8));
  queue.start(alone);
  for (let at = 0; at < 3; at += 1) await server.refuse(new Unreachable('error'));
  assert.equal(queue.paused.reason, 'failing');
  while (server.open.length > 0) await server.answer();
  assert.deepEqual(states().slice(5), ['waiting', 'waiting', 'waiting']);
  queue.resume();
  assert.equal(queue.paused, null);
  while (server.open.length > 0) await server.answer();
  assert.deepEqual(states(), Array(8).fill('queued'));
});

test('failures that are not in a row stop nothing', async () => {
  const { server, queue } = world(...names(8));
  queue.start(alone);
  for (let at = 0; at < 4; at += 1) {
    await server.refuse(new Unreachable('error'));
    await server.answer();
  }
  assert.equal(queue.paused, null);
});

test('whoever is signed out is told to sign in, and loses nothing', async () => {
  const { server, queue, states } = world(...names(5));
  queue.start(alone);
  await server.refuse(new SignedOut());
  assert.equal(queue.paused.reason, 'signed-out');
  assert.match(queue.paused.hint, /Sign in again/);
  assert.equal(states()[0], 'waiting');
  assert.equal(server.open.length, 2, 'nothing more is sent');
  assert.equal(queue.active, true, 'leaving the page still has to warn');
  queue.resume();
  while (server.open.length > 0) await server.answer();
  assert.deepEqual(states(), Array(5).fill('queued'));
});

test('whoever may not upload is stopped at once', async () => {
  const { server, queue } = world(...names(5));
  queue.start(alone);
  await server.refuse(new Refused(403, { message: 'This needs a permission.', hint: 'Ask.' }));
  assert.equal(queue.paused.reason, 'forbidden');
  assert.equal(server.open.length, 2);
});

test('a busy API is left alone for a while, then asked again, but not for ever', async () => {
  const { server, clock, queue, states } = world('a.png', 'b.png');
  const busy = () => new Refused(503, { code: 'busy', message: 'Busy.', hint: 'Wait.' });
  queue.start(alone);
  await server.answer(1, 1);
  for (let tries = 0; tries < 5; tries += 1) {
    await server.refuse(busy());
    assert.deepEqual(states(), ['waiting', 'queued']);
    assert.equal(server.open.length, 0);
    const [{ fn, ms }] = clock.waiting.splice(0);
    assert.ok(ms >= 1000);
    fn();
  }
  await server.refuse(busy());
  assert.deepEqual(states(), ['failed', 'queued']);
});

test('cancelling stops what is under way and what waits, and spares what the API has', async () => {
  const { server, queue, states } = world(...names(5));
  queue.start(alone);
  server.open[0].onProgress(1);
  queue.cancel();
  await settled();
  assert.deepEqual(states(), ['detecting', ...Array(4).fill('cancelled')]);
  await server.answer();
  assert.equal(queue.active, false);
  queue.retryAll();
  assert.deepEqual(states(), ['queued', 'sending', 'sending', 'sending', 'waiting']);
});

test('one file can be taken off the list or stopped', async () => {
  const { queue, states } = world('a.png', 'b.png');
  queue.remove(queue.items[0].id);
  assert.deepEqual(states(), ['ready']);
  queue.start(alone);
  queue.remove(queue.items[0].id);
  await settled();
  assert.deepEqual(states(), ['cancelled']);
});

test('clearing takes away what is over and leaves what can be sent again', async () => {
  const { server, queue, states } = world(...names(3));
  queue.start(alone);
  await server.answer();
  await server.refuse(new Refused(415, {}));
  await server.refuse(new Unreachable('error'));
  queue.clearFinished();
  assert.deepEqual(states(), ['failed']);
});

test('the end of a run is told once, with how many were queued', async () => {
  const { server, queue } = world(...names(4));
  const ends = [];
  queue.subscribe((event) => event.type === 'idle' && ends.push(event.queued));
  queue.start(alone);
  await server.refuse(new Refused(415, {}));
  for (let at = 0; at < 3; at += 1) await server.answer();
  assert.deepEqual(ends, [3]);
});

test('progress counts what is sent, and is whole only when all is answered', async () => {
  const { server, queue } = world('a.png', 'b.png');
  queue.add([{ file: file('empty.png', 0), path: 'empty.png' }]);
  assert.equal(queue.totals().share, 0, 'what is refused at once is no progress');
  queue.start(alone);
  assert.equal(queue.totals().share, 0);
  server.open[0].onProgress(1);
  assert.ok(queue.totals().share > 0.4 && queue.totals().share < 0.5);
  await server.answer(2);
  await server.answer(0);
  const totals = queue.totals();
  assert.equal(totals.share, 1);
  assert.equal(summaryOf(totals), '3 images: 2 queued with 2 boxes, 1 refused.');
});

test('ten thousand files are gone through without a pause that anybody would notice', async () => {
  const { server, queue } = world(...names(10_000));
  const begun = performance.now();
  queue.start(alone);
  for (let at = 0; at < 300; at += 1) await server.answer();
  const each = (performance.now() - begun) / 300;
  assert.ok(each < 5, `${each.toFixed(2)} ms for an image`);
});

test('the subject is fixed when the upload is started', () => {
  const { queue } = world('s1_a.png', 's2_a.png');
  queue.start((path) => subjectOf('name', '', path));
  assert.deepEqual(
    queue.items.map((item) => item.subject),
    ['s1', 's2'],
  );
});

test('a subject comes from what was typed, the file name or the folder', () => {
  assert.equal(subjectOf('alone', 'x', 'a/b_c.png'), '');
  assert.equal(subjectOf('one', ' slide 7 ', 'a/b_c.png'), 'slide 7');
  assert.equal(subjectOf('name', 'x', 'a/b_c_d.png'), 'b');
  assert.equal(subjectOf('name', 'x', 'a_a/bc.png'), '');
  assert.equal(subjectOf('name', 'x', '_b.png'), '');
  assert.equal(subjectOf('folder', 'x', 'p/a/b.png'), 'a');
  assert.equal(subjectOf('folder', 'x', 'b.png'), '');
});

test('how many subjects there will be is said before anything is sent', () => {
  assert.equal(subjectSummary([]), '');
  assert.equal(subjectSummary(['', '']), '2 images, each for itself.');
  assert.equal(subjectSummary(['a']), '1 image, 1 subject.');
  assert.equal(
    subjectSummary(['a', 'a', 'b', '']),
    '4 images, 2 subjects; 1 without one, each for itself.',
  );
});

test('images are told by their names, hidden files are none', () => {
  for (const name of ['a.jpg', 'a.JPEG', 'a.b.png', 'a.tif', 'a.tiff', 'a.bmp', 'a.webp']) {
    assert.ok(isImage(name), name);
  }
  for (const name of ['a.svg', 'a.gif', 'jpg', 'a.png.exe', '._a.png', 'a.zip', '']) {
    assert.ok(!isImage(name), name);
  }
});

test('sizes are short', () => {
  assert.deepEqual([0, 999, 1000, 1_440_000, 99_400, 99_600, 999_600, 3e9].map(bytes), [
    '0 B',
    '999 B',
    '1.0 kB',
    '1.4 MB',
    '99.4 kB',
    '100 kB',
    '1.0 MB',
    '3.0 GB',
  ]);
});

test('a folder from a file field keeps its paths', () => {
  const inside = file('b.png');
  Object.defineProperty(inside, 'webkitRelativePath', { value: 'a/b.png' });
  const paths = ofField([inside, file('c.png')]).map(({ path }) => path);
  assert.deepEqual(paths, ['a/b.png', 'c.png']);
});

test('dropped folders are gone through to the bottom, also those of more than one reading', async () => {
  const leaf = (name) => ({ isFile: true, name, file: (resolve) => resolve(file(name)) });
  const folder = (name, ...readings) => ({
    isFile: false,
    name,
    createReader: () => ({ readEntries: (resolve) => resolve(readings.shift() ?? []) }),
  });
  const broken = { isFile: true, name: 'x', file: (_, reject) => reject(new Error('gone')) };
  const tree = folder(
    'a',
    [leaf('1.png'), folder('b', [leaf('2.png')])],
    [leaf('3.png')],
    [broken],
  );
  const items = [tree, leaf('4.png')].map((entry) => ({ webkitGetAsEntry: () => entry }));
  const paths = (await ofDrop({ items })).map(({ path }) => path);
  assert.deepEqual(paths, ['a/1.png', 'a/b/2.png', 'a/3.png', '4.png']);
});

test('the form that is sent has no file name in it, which may be a patient’s', async () => {
  const form = formOf({ file: file('Jane_Doe_1970.png'), subject: 'slide 7' });
  const text = await new Response(form).text();
  assert.doesNotMatch(text, /Jane|Doe|1970/);
  assert.match(text, /name="image"; filename="image"/);
  assert.match(text, /name="subject"\r\n\r\nslide 7/);
  const without = await new Response(formOf({ file: file('a.png'), subject: '' })).text();
  assert.doesNotMatch(without, /subject/);
});

class Xhr extends EventTarget {
  upload = new EventTarget();
  headers = {};
  open = (method, url) => Object.assign(this, { method, url });
  setRequestHeader = (name, value) => (this.headers[name] = value);
  send = (body) => (this.body = body);
  abort = () => this.dispatchEvent(new Event('abort'));
  answer(status, text) {
    Object.assign(this, { status, responseText: text });
    this.dispatchEvent(new Event('load'));
  }
  progress(loaded, total) {
    this.upload.dispatchEvent(
      Object.assign(new Event('progress'), { lengthComputable: true, loaded, total }),
    );
  }
}

function asked(options = {}) {
  const xhr = new Xhr();
  return { xhr, answer: send('POST', '/desk/uploads', { ...options, make: () => xhr }) };
}

test('an answer is given back, and the request carries our mark', async () => {
  const { xhr, answer } = asked({ body: 'x' });
  xhr.answer(200, '{"detections": 2}');
  assert.deepEqual(await answer, { detections: 2 });
  assert.equal(xhr.headers['x-second-look'], '1');
  assert.equal(xhr.headers['content-type'], undefined, 'the browser sets that of a form itself');
});

test('a plain object is sent as JSON', async () => {
  const { xhr, answer } = asked({ body: { size: 3 } });
  assert.equal(xhr.body, '{"size":3}');
  assert.equal(xhr.headers['content-type'], 'application/json');
  xhr.answer(201, '{}');
  await answer;
});

test('progress reaches 1 only when all of it is sent', async () => {
  const shares = [];
  const { xhr, answer } = asked({ onProgress: (share) => shares.push(share) });
  xhr.progress(1, 2);
  xhr.progress(2, 2);
  assert.ok(shares[1] < 1);
  xhr.upload.dispatchEvent(new Event('load'));
  assert.equal(shares[2], 1);
  xhr.answer(200, '{}');
  await answer;
});

test('each way to fail is told apart', async () => {
  const body = JSON.stringify({
    error: { code: 'truncated', message: 'Cut off.', hint: 'Again.' },
  });
  const cases = [
    [
      415,
      body,
      (e) =>
        e instanceof Refused && e.status === 415 && e.message === 'Cut off.' && e.hint === 'Again.',
    ],
    [401, body, (e) => e instanceof SignedOut],
    [401, '<html>', (e) => e instanceof SignedOut],
    [503, body, (e) => e instanceof Refused && e.code === 'truncated'],
    [502, '<html>', (e) => e instanceof Unreachable],
    [413, '<html>', (e) => e instanceof Refused && e.status === 413 && e.message !== ''],
    [200, '<html>', (e) => e instanceof Unreachable],
  ];
  for (const [status, text, expected] of cases) {
    const { xhr, answer } = asked();
    xhr.answer(status, text);
    await assert.rejects(answer, (error) => expected(error), `${status} ${text}`);
  }
});

test('a request can be stopped, also before it begins', async () => {
  const abort = new AbortController();
  const { answer } = asked({ signal: abort.signal });
  abort.abort();
  await assert.rejects(answer, Unreachable);
  const late = asked({ signal: abort.signal });
  await assert.rejects(late.answer, Unreachable);
  assert.equal(late.xhr.body, undefined);
});

test('only rows in sight are made, however tall each is', () => {
  const tops = layout([10, 30, 10, 10], (height) => height);
  assert.deepEqual([...tops], [0, 10, 40, 50, 60]);
  assert.deepEqual(inSight(tops, 0, 10), [0, 1]);
  assert.deepEqual(inSight(tops, 10, 41), [1, 3]);
  assert.deepEqual(inSight(tops, -100, 1000), [0, 4]);
  assert.deepEqual(inSight(tops, 60, 100), [4, 4]);
  assert.deepEqual(
    inSight(
      layout([], () => 1),
      0,
      100,
    ),
    [0, 0],
  );
});
