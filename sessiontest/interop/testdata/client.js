// Drives filessession-fake with the standard library of Node.
//
//     node client.js API CONTROL
//
// The user alice has a TOTP secret. NODE_EXTRA_CA_CERTS names the certificate to
// trust.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const http = require('http');
const https = require('https');

const api = process.argv[2] + '/api/rest/v1';
const controlAPI = process.argv[3];
const secret = Buffer.from('Hello!\u00de\u00ad\u00be\u00ef', 'latin1'); // JBSWY3DPEHPK3PXP in base32
const form = 'application/x-www-form-urlencoded';

// send returns the status and the decoded JSON of an answer.
function send(method, url, {body, contentType = form, session} = {}) {
  return new Promise((resolve, reject) => {
    const headers = {};
    if (body !== undefined) Object.assign(headers, {'Content-Type': contentType, 'Content-Length': Buffer.byteLength(body)});
    if (session !== undefined) headers['X-FilesAPI-Auth'] = session;
    const request = (url.startsWith('https:') ? https : http).request(url, {method, headers}, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (chunk) => { text += chunk; });
      answer.on('error', reject);
      answer.on('end', () => resolve({status: answer.statusCode, json: text === '' ? undefined : JSON.parse(text)}));
    });
    request.on('error', reject);
    request.end(body);
  });
}

async function control(method, path, body) {
  const answer = await send(method, controlAPI + path, {body: body && JSON.stringify(body), contentType: 'application/json'});
  assert.strictEqual(answer.status, 200, JSON.stringify(answer.json));
  return answer.json;
}

// totp returns the code of RFC 6238 at this time.
function totp() {
  const counter = Buffer.alloc(8);
  counter.writeUInt32BE(Math.floor(Date.now() / 30000), 4);
  const mac = crypto.createHmac('sha1', secret).update(counter).digest();
  const at = mac[mac.length - 1] & 15;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1000000).padStart(6, '0');
}

const logIn = (params) => send('POST', api + '/sessions', {body: new URLSearchParams(params).toString()});

async function main() {
  // Wrong password, demand of a second factor, code.
  let answer = await logIn({username: 'alice', password: 'guess'});
  assert.strictEqual(answer.status, 401);
  assert.strictEqual(answer.json.type, 'not-authenticated/invalid-username-or-password');
  answer = await logIn({username: 'alice', password: 'secret'});
  assert.strictEqual(answer.json.type, 'not-authenticated/two-factor-authentication-error');
  assert.deepStrictEqual(answer.json.data.two_factor_authentication_methods, ['totp']);
  answer = await logIn({username: 'alice', password: 'secret', otp: totp()});
  assert.strictEqual(answer.status, 201);
  const session = answer.json.id;
  const timeout = answer.json.timeout_at;
  answer = await send('GET', api + '/folders/', {session});
  assert.deepStrictEqual(answer, {status: 200, json: []});
  answer = await send('GET', api + '/site', {session});
  assert.strictEqual(answer.json.session.timeout_at, timeout);

  // A user whose password has a colon, by JSON.
  assert.deepStrictEqual(await control('POST', '/users', {username: 'bob', password: 'a:b'}), {});
  answer = await send('POST', api + '/sessions', {
    contentType: 'application/json',
    body: JSON.stringify({username: 'bob', password: 'a:b', no_cookie: true}),
  });
  assert.strictEqual(answer.status, 201);
  const bob = answer.json.id;

  // Sessions that are ended for a user, by their ID, and by the clock.
  assert.deepStrictEqual(await control('POST', '/expire', {user: 'alice'}), {ended: 1});
  answer = await send('GET', api + '/folders/', {session});
  assert.strictEqual(answer.json.type, 'not-authenticated/invalid-credentials');
  assert.deepStrictEqual(await control('POST', '/expire', {id: bob}), {ended: 1});
  assert.strictEqual((await logIn({username: 'bob', password: 'a:b'})).status, 201);
  await control('POST', '/advance', {by: '6h'});
  assert.strictEqual((await control('GET', '/counts')).live, 0);

  // A fault that resets the connection, a log-out, counts and journal.
  await control('POST', '/faults', {method: 'POST', reset: true});
  await assert.rejects(logIn({username: 'bob', password: 'a:b'}));
  answer = await logIn({username: 'bob', password: 'a:b'});
  assert.strictEqual((await send('DELETE', api + '/sessions', {session: answer.json.id})).status, 204);
  const counts = await control('GET', '/counts');
  assert.deepStrictEqual([counts.logins, counts.refused, counts.logouts, counts.live], [4, 2, 1, 0]);
  const journal = await control('GET', '/requests');
  assert.deepStrictEqual(journal.filter((entry) => entry.fault).map((entry) => entry.status), [0]);
  assert.deepStrictEqual(journal.filter((entry) => entry.status === 401).map((entry) => entry.reason),
    ['wrong password of user alice', 'a second factor is required', 'the test has ended the session']);
  assert.deepStrictEqual(await control('POST', '/reset'), {});
  assert.deepStrictEqual(await control('GET', '/requests'), []);
  console.log('ok');
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
