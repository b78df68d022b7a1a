// What a reload of this tab finds again: the open case, and the choice of work. Another tab has its own.

const KEY = 'second-look-desk';

/** `{caseId, choice}`, to be read and set; of the person `who` only. */
export function rememberedInTab(who, storage = sessionStorageOrNone()) {
  const read = () => {
    try {
      const found = JSON.parse(storage.getItem(KEY) ?? '{}');
      return found.who === who ? found : { who };
    } catch {
      return { who };
    }
  };
  const write = (change) => {
    try {
      storage.setItem(KEY, JSON.stringify({ ...read(), ...change }));
    } catch {
      // Without it a reload begins with the next case.
    }
  };
  return {
    get caseId() {
      return read().caseId ?? null;
    },
    set caseId(caseId) {
      write({ caseId });
    },
    get choice() {
      return read().choice ?? null;
    },
    set choice(choice) {
      write({ choice });
    },
  };
}

function sessionStorageOrNone() {
  try {
    return globalThis.sessionStorage;
  } catch {
    return { getItem: () => null, setItem: () => {} };
  }
}
