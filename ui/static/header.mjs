// The line above the tabs: the product's name, who is signed in, and the way out.

/**
 * @param {{element: HTMLElement, base?: string}} host the root that gr.HTML gives
 */
export async function mount({ element, base = '' }) {
  const line = document.createElement('div');
  line.className = 'sl-header';
  const title = document.createElement('h1');
  title.textContent = 'Second Look';
  const motto = document.createElement('span');
  motto.className = 'sl-motto';
  motto.textContent = 'Every detection gets a second look.';
  const who = document.createElement('span');
  who.className = 'sl-who';
  who.dataset.testid = 'who';
  const form = document.createElement('form');
  form.method = 'post';
  form.action = `${base}/sign-out`;
  const out = document.createElement('button');
  out.type = 'submit';
  out.textContent = 'Sign out';
  form.append(out);
  line.append(title, motto, who, form);
  element.replaceChildren(line);
  const response = await fetch(`${base}/desk/me`, { headers: { accept: 'application/json' } });
  if (!response.ok) {
    who.textContent = response.status === 401 ? 'Signed out: reload this page.' : '';
    return;
  }
  const me = await response.json();
  who.textContent = `${me.name} · ${me.roles.join(', ') || 'no role yet'}`;
  who.title = `In the data you are ${me.pseudonym}.`;
}
