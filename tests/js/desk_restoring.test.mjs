import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chooseDraft } from '../../ui/static/restoring.mjs';

const made = (by, count, ...before) => ({ phase: 'first', by, stamps: [{ by, count }, ...before] });
const server = (rev, document) => ({ rev, saved_at: 'T', document });
const copy = (rev, document, more = {}) => ({ rev, at: 1, orphaned: false, document, ...more });
const choose = (more) =>
  chooseDraft({ server: null, recovered: [], locals: [], phase: 'first', ...more });

test('without any draft nothing comes back', () => {
  const { restore, from, offers } = choose({});
  assert.deepEqual([restore, from, offers], [null, null, []]);
});

test("the server's draft comes back where the browser has nothing newer", () => {
  const document = made('a', 3);
  const { restore, from } = choose({ server: server(2, document) });
  assert.deepEqual([restore, from], [document, 'server']);
});

test('a copy that was made on the rev of the server is newer', () => {
  const newer = made('a', 4);
  const found = choose({ server: server(2, made('b', 3)), locals: [copy(2, newer)] });
  assert.deepEqual([found.restore, found.from, found.offers], [newer, 'browser', []]);
});

test('a copy of which the server has everything is obsolete', () => {
  const same = copy(1, made('a', 3));
  const found = choose({ server: server(2, made('a', 3)), locals: [same] });
  assert.equal(found.from, 'server');
  assert.deepEqual(found.obsolete.copies, [same]);
});

test('a save whose answer was lost is no conflict: the copy went on from it', () => {
  const found = choose({ server: server(5, made('a', 3)), locals: [copy(4, made('a', 6))] });
  assert.equal(found.from, 'browser');
});

test('a copy that another browser has overtaken is offered, not restored', () => {
  const mine = copy(2, made('a', 4));
  const found = choose({ server: server(9, made('b', 7)), locals: [mine] });
  assert.equal(found.from, 'server');
  assert.deepEqual(
    found.offers.map((offer) => offer.copy),
    [mine],
  );
});

test('an edit of a case that was lost meanwhile is offered, however new it is', () => {
  const mine = copy(9, made('a', 4), { orphaned: true });
  const found = choose({ server: server(2, made('a', 3)), locals: [mine] });
  assert.equal(found.from, 'server');
  assert.equal(found.offers.length, 1);
});

test('what the server kept and what the browser kept is offered once', () => {
  const document = made('a', 4);
  const found = choose({
    recovered: [{ id: 'r', saved_at: 'T', document }],
    locals: [copy(0, document, { orphaned: true })],
  });
  assert.deepEqual(
    found.offers.map((offer) => offer.id),
    ['r'],
  );
  assert.equal(found.obsolete.copies.length, 1);
});

test('of two, the one that contains the other is offered', () => {
  const mine = copy(0, made('a', 5), { orphaned: true });
  const found = choose({
    recovered: [{ id: 'r', saved_at: 'T', document: made('a', 4) }],
    locals: [mine],
  });
  assert.deepEqual(
    found.offers.map((offer) => offer.copy),
    [mine],
  );
  assert.deepEqual(found.obsolete.recovered, []);
});

test('what was recovered and is in the draft by now is obsolete', () => {
  const later = made('b', 1, { by: 'a', count: 4 });
  const found = choose({
    server: server(3, later),
    recovered: [{ id: 'r', saved_at: 'T', document: made('a', 4) }],
  });
  assert.deepEqual([found.offers, found.obsolete.recovered], [[], ['r']]);
});

test('a session after the loss does not pass for the one that lost', () => {
  const found = choose({
    server: server(3, made('b', 9, { by: 'a', count: 3 })),
    recovered: [{ id: 'r', saved_at: 'T', document: made('a', 4) }],
  });
  assert.deepEqual(
    found.offers.map((offer) => offer.id),
    ['r'],
  );
});

test('drafts of another phase do not come back, and are left alone', () => {
  const blind = { ...made('a', 3), phase: 'blind' };
  const found = choose({
    server: server(2, blind),
    recovered: [{ id: 'r', saved_at: 'T', document: blind }],
    locals: [copy(2, blind)],
  });
  assert.deepEqual([found.restore, found.offers], [null, []]);
  assert.deepEqual(found.obsolete, { copies: [], recovered: [] });
});

test('of several copies the latest comes back and the others are offered', () => {
  const found = choose({ locals: [copy(0, made('b', 1)), copy(0, made('a', 1))] });
  assert.equal(found.restore.by, 'b');
  assert.deepEqual(
    found.offers.map((offer) => offer.document.by),
    ['a'],
  );
});
