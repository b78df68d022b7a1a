import assert from 'node:assert/strict';
import { test } from 'node:test';

import { InMemory } from '../../ui/static/local_copies.mjs';
import { rememberedInTab } from '../../ui/static/remembered.mjs';

function storage() {
  const items = new Map();
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => items.set(key, value),
  };
}

test('a reload of the tab finds the case and the choice', () => {
  const tab = storage();
  const before = rememberedInTab('p1', tab);
  before.caseId = 'c1';
  before.choice = { work: 'second' };
  const after = rememberedInTab('p1', tab);
  assert.deepEqual([after.caseId, after.choice], ['c1', { work: 'second' }]);
});

test('another person in the same tab finds nothing of it', () => {
  const tab = storage();
  rememberedInTab('p1', tab).caseId = 'c1';
  const other = rememberedInTab('p2', tab);
  assert.equal(other.caseId, null);
  other.caseId = 'c2';
  assert.equal(rememberedInTab('p1', tab).caseId, null);
});

test('a storage that is full, closed or garbled is one that is empty', () => {
  const broken = {
    getItem: () => '{',
    setItem: () => {
      throw new Error('full');
    },
  };
  const memory = rememberedInTab('p1', broken);
  memory.caseId = 'c1';
  assert.equal(memory.caseId, null);
});

test('copies are told apart by person, case and session, the latest first', async () => {
  const copies = new InMemory();
  const put = (who, caseId, by, at) => copies.put({ who, caseId, by, at });
  await put('p1', 'c1', 's1', 1);
  await put('p1', 'c1', 's2', 2);
  await put('p1', 'c2', 's1', 3);
  await put('p2', 'c1', 's1', 4);
  assert.deepEqual(
    (await copies.of('p1', 'c1')).map((copy) => copy.by),
    ['s2', 's1'],
  );
  await copies.remove({ who: 'p1', caseId: 'c1', by: 's2' });
  await copies.sweep(4);
  assert.deepEqual(await copies.of('p1', 'c1'), []);
  assert.equal((await copies.of('p2', 'c1')).length, 1);
});
