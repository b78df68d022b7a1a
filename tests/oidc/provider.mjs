// An OpenID Connect provider as a process of its own, for the tests of the sign-in.
//
//   node provider.mjs '{"redirect_uri": "…", "people": {"SUBJECT": {"roles": […], …}}}'
//
// It listens on a free port of this machine and prints {"issuer": …, "client_id": …,
// "client_secret": …} as a line. In its login form the login is the subject, with any password.
import { createServer } from 'node:http';
import process from 'node:process';

import Provider from 'oidc-provider';

const { redirect_uri: redirectUri, people } = JSON.parse(process.argv[2]);
const client = { client_id: 'second-look', client_secret: 'a secret of the tests, and of nobody' };

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ ...client, redirect_uris: [redirectUri] }],
    claims: {
      openid: ['sub'],
      profile: ['name', 'preferred_username', 'roles', 'realm_access'],
      email: ['email'],
    },
    cookies: { keys: ['a key of the tests'] },
    features: { devInteractions: { enabled: true } },
    pkce: { required: () => true },
    findAccount: (_context, subject) =>
      people[subject] && {
        accountId: subject,
        claims: () => ({ sub: subject, ...people[subject] }),
      },
  });
  server.on('request', provider.callback());
  process.stdout.write(`${JSON.stringify({ issuer, ...client })}\n`);
});
