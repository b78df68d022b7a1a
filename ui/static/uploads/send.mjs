// Requests with a body that takes its time: XMLHttpRequest tells how much of it is sent, which
// `fetch` does not.

import { Refused, SignedOut, Unreachable } from '../api.mjs';

const MARK = { accept: 'application/json', 'x-second-look': '1' };

/**
 * @param {string} method
 * @param {string} url
 * @param {object} options
 * @param {BodyInit} [options.body] an object that is none of the browser's kinds goes as JSON
 * @param {(share: number) => void} [options.onProgress] 1: all of it is sent
 * @returns {Promise<any>} the answer's JSON. Rejects with `Refused`, `SignedOut`, `Unreachable`
 */
export function send(method, url, { body, headers = {}, onProgress, signal, make = makeXhr } = {}) {
  return new Promise((resolve, reject) => {
    const xhr = make();
    const stop = () => xhr.abort();
    const settle = (how, value) => {
      signal?.removeEventListener('abort', stop);
      how(value);
    };
    xhr.open(method, url);
    for (const [name, value] of Object.entries({ ...MARK, ...headers })) {
      xhr.setRequestHeader(name, value);
    }
    if (onProgress) {
      xhr.upload.addEventListener('progress', (event) => {
        // The last of it counts as sent by `load` only.
        if (event.lengthComputable) onProgress(Math.min(event.loaded / event.total, 0.999));
      });
      xhr.upload.addEventListener('load', () => onProgress(1));
    }
    xhr.addEventListener('load', () => {
      const [how, value] = outcome(xhr.status, xhr.responseText);
      settle(how === 'resolve' ? resolve : reject, value);
    });
    xhr.addEventListener('error', () => settle(reject, new Unreachable('error')));
    xhr.addEventListener('abort', () => settle(reject, new Unreachable('aborted')));
    signal?.addEventListener('abort', stop);
    if (signal?.aborted) {
      settle(reject, new Unreachable('aborted'));
      return;
    }
    xhr.send(isJson(body) ? asJson(xhr, body) : (body ?? null));
  });
}

/**
 * The form for an image. Its file name stays here: it may hold a patient's.
 * @param {{file: File, subject: string}} item
 */
export function formOf({ file, subject }) {
  const form = new FormData();
  form.append('image', file, 'image');
  if (subject) form.append('subject', subject);
  return form;
}

function makeXhr() {
  return new XMLHttpRequest();
}

function isJson(body) {
  return Object.getPrototypeOf(body ?? '') === Object.prototype;
}

function asJson(xhr, body) {
  xhr.setRequestHeader('content-type', 'application/json');
  return JSON.stringify(body);
}

function outcome(status, text) {
  let said = null;
  try {
    said = JSON.parse(text);
  } catch {
    // Something in between has answered, not the app.
  }
  if (status >= 200 && status < 300 && said !== null) return ['resolve', said];
  const error = said?.error;
  if (status === 401) return ['reject', new SignedOut(error)];
  if (!error && (status < 300 || status >= 502)) return ['reject', new Unreachable(status)];
  return ['reject', new Refused(status, error)];
}
