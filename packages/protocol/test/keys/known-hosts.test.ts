import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  HostKeyError,
  knownHostLine,
  knownHosts,
  parseKnownHosts,
  pinned,
} from '../../src/keys/known-hosts.ts'
import { acceptNew, forgetHost, replaceHost } from '../../src/keys/known-hosts-changes.ts'
import { matchesPattern, matchPatternList } from '../../src/keys/pattern.ts'
import { generateKey } from '../../src/keys/private-key.ts'
import type { PublicKey } from '../../src/keys/public-key.ts'

const key = generateKey('ed25519', { comment: 'one' }).publicKey
const other = generateKey('ed25519', { comment: 'two' }).publicKey
const ecdsa = generateKey('ecdsa-nistp256').publicKey

function refusal(action: () => unknown): HostKeyError {
  try {
    action()
  } catch (error) {
    assert.instance(error, HostKeyError)
    return error as HostKeyError
  }
  throw new Error('the key was accepted')
}

const accepts = (text: string, host: string, port = 22, shown: PublicKey = key): boolean =>
  knownHosts(text, host, port)(shown)

test('names, lists, wildcards and negation', () => {
  assert.ok(accepts(`box ${key}`, 'box'))
  assert.ok(accepts(`box ${key}`, 'BOX'))
  assert.ok(accepts(`Box,10.0.0.1 ${key}`, '10.0.0.1'))
  assert.ok(accepts(`*.example ${key}`, 'a.b.example'))
  assert.ok(accepts(`10.0.0.? ${key}`, '10.0.0.7'))
  assert.is(refusal(() => accepts(`10.0.0.? ${key}`, '10.0.0.77')).reason, 'unknown')
  assert.is(
    refusal(() => accepts(`*.example,!bad.example ${key}`, 'bad.example')).reason,
    'unknown',
  )
  assert.is(
    refusal(() => accepts(`!bad.example,*.example ${key}`, 'bad.example')).reason,
    'unknown',
  )
  assert.ok(accepts(`!bad.example,*.example ${key}`, 'good.example'))
})

test('ports other than 22 are written in brackets, and never stand for port 22', () => {
  assert.ok(accepts(`[box]:2222 ${key}`, 'box', 2222))
  assert.ok(accepts(`[::1]:2222 ${key}`, '::1', 2222))
  assert.is(refusal(() => accepts(`[box]:2222 ${key}`, 'box')).reason, 'unknown')
  assert.is(refusal(() => accepts(`box ${key}`, 'box', 2222)).reason, 'unknown')
})

test('several keys of a host are all good', () => {
  const text = `box ${key}\n# comment\n\nbox ${ecdsa}\n`
  assert.ok(accepts(text, 'box', 22, key))
  assert.ok(accepts(text, 'box', 22, ecdsa))
  assert.equal(knownHosts(text, 'box').keyTypes, ['ssh-ed25519', 'ecdsa-sha2-nistp256'])
  assert.equal(knownHosts(text, 'elsewhere').keyTypes, [])
})

test('a mismatch carries both fingerprints and the line', () => {
  const error = refusal(() => accepts(`# first\nbox ${key}\n`, 'box', 22, other))
  assert.is(error.code, 'SSH_HOST_KEY_REJECTED')
  assert.is(error.reason, 'mismatch')
  assert.equal(error.found, { type: 'ssh-ed25519', fingerprint: other.fingerprint() })
  assert.equal(error.expected, [{ type: 'ssh-ed25519', fingerprint: key.fingerprint(), line: 2 }])
  assert.ok(error.message.includes(key.fingerprint()))
  assert.ok(error.message.includes(other.fingerprint()))
  assert.match(error.message, /line 2/)
})

test('an unknown host is told with the fingerprint it showed', () => {
  const error = refusal(() => accepts('', 'box'))
  assert.is(error.reason, 'unknown')
  assert.ok(error.message.includes(key.fingerprint()))
})

test('@revoked wins over every other line, wherever it stands', () => {
  for (const text of [
    `box ${key}\n@revoked * ${key}\n`,
    `@revoked box ${key}\nbox ${key}\n`,
    `@revoked *,!elsewhere ${key}\n`,
  ]) {
    assert.is(refusal(() => accepts(text, 'box')).reason, 'revoked')
  }
  assert.ok(accepts(`box ${key}\n@revoked * ${other}\n`, 'box'))
})

test('an unreadable @revoked line refuses everything, other bad lines nothing', () => {
  const error = refusal(() => accepts(`box ${key}\n@revoked * ssh-ed25519 AAAA\n`, 'box'))
  assert.is(error.reason, 'revoked')
  assert.match(error.message, /line 2/)
  const text = `nonsense\n@unknown box ${other}\n|1|x|y ${other}\nbox ssh-ed25519 ???\nbox ${key}\n`
  assert.ok(accepts(text, 'box'))
  assert.equal(
    parseKnownHosts(text).errors.map(({ line }) => line),
    [1, 2, 3, 4],
  )
})

test('a certificate authority is no host key', () => {
  assert.is(refusal(() => accepts(`@cert-authority * ${key}`, 'box')).reason, 'unknown')
})

test('a line that is written is found again, hashed or not, and only for its host', () => {
  for (const hashed of [true, false]) {
    for (const [host, port] of [
      ['Box.example', 22],
      ['10.0.0.1', 2222],
      ['::1', 22],
    ] as const) {
      const line = knownHostLine(key, host, port, { hashed })
      assert.is(line.includes('box.example'), !hashed && host === 'Box.example')
      assert.ok(accepts(line, host, port))
      assert.is(refusal(() => accepts(line, host, port + 1)).reason, 'unknown')
      assert.is(refusal(() => accepts(line, 'other', port)).reason, 'unknown')
    }
  }
  assert.not.equal(knownHostLine(key, 'box'), knownHostLine(key, 'box'))
  for (const host of ['', 'a b', 'a\nb', 'a,b', '*', '|1|x', '@revoked', '#']) {
    assert.throws(() => knownHostLine(key, host), /host/)
  }
})

test('accept-new takes the first key of a host that nothing is known of, and no other', async () => {
  const learned: string[] = []
  const learn = async (key: PublicKey): Promise<void> => {
    learned.push(key.fingerprint())
  }
  const [one, two] = [generateKey('ed25519').publicKey, generateKey('ed25519').publicKey]
  assert.ok(await acceptNew(knownHosts('', 'box'), learn)(one))
  assert.equal(learned, [one.fingerprint()])
  const text = `${knownHostLine(one, 'box')}\n`
  const known = acceptNew(knownHosts(text, 'box'), learn)
  assert.equal(known.keyTypes, ['ssh-ed25519'])
  assert.ok(await known(one))
  const reason = async (attempt: Promise<unknown>): Promise<unknown> =>
    attempt.then(
      () => 'accepted',
      (error) => error.reason ?? error.message,
    )
  assert.is(await reason(known(two)), 'mismatch')
  const revoked = knownHosts(`@revoked * ${two}`, 'box')
  assert.is(await reason(acceptNew(revoked, learn)(two)), 'revoked')
  const full = (): never => {
    throw new Error('disk full')
  }
  assert.is(await reason(acceptNew(knownHosts('', 'box'), full)(two)), 'disk full')
  assert.is(learned.length, 1)
})

test('a host is forgotten or given other keys, and nothing else of the file changes', () => {
  const [one, two, three] = [1, 2, 3].map(() => generateKey('ed25519').publicKey)
  const others = [
    '# comment',
    `other.example ${one}`,
    `*.example ${one}`,
    `@revoked box.example ${two}`,
    `[box.example]:2222 ${one}`,
    'not a line at all',
    '',
  ]
  const text = [
    ...others.slice(0, 2),
    `BOX.example,alias.example ${one} a comment`,
    ...others.slice(2, 4),
    knownHostLine(two as PublicKey, 'box.example'),
    ...others.slice(4),
  ].join('\r\n')
  const forgotten = forgetHost(text, 'box.example')
  assert.equal(forgotten.removed, [3, 6])
  const expected = [...others]
  expected.splice(2, 0, `alias.example ${one} a comment`)
  assert.is(forgotten.text, expected.join('\r\n'))
  assert.equal(forgetHost(forgotten.text, 'box.example').removed, [])

  const replaced = replaceHost(text.trimEnd(), [three as PublicKey], 'box.example')
  assert.equal(replaced.removed, [3, 6])
  assert.ok(knownHosts(replaced.text, 'box.example')(three as PublicKey))
  assert.throws(() => knownHosts(replaced.text, 'box.example')(two as PublicKey))
  assert.ok(knownHosts(replaced.text, 'box.example', 2222)(one as PublicKey))
  assert.throws(() => replaceHost('', [one as PublicKey], 'a b'), /host/)
  assert.is(replaceHost('', [], 'box').text, '')
})

test('pinning takes exactly the keys given', () => {
  assert.ok(pinned(key)(key))
  assert.ok(pinned(other, key)(key))
  assert.equal(pinned(key, ecdsa).keyTypes, ['ssh-ed25519', 'ecdsa-sha2-nistp256'])
  const error = refusal(() => pinned(other)(key))
  assert.is(error.reason, 'mismatch')
  assert.ok(
    error.message.includes(other.fingerprint()) && error.message.includes(key.fingerprint()),
  )
  assert.is(refusal(() => pinned()(key)).reason, 'mismatch')
})

test('patterns match like a naive oracle', () => {
  const oracle = (text: string, pattern: string): boolean => {
    if (pattern === '') return text === ''
    if (pattern[0] === '*') {
      return oracle(text, pattern.slice(1)) || (text !== '' && oracle(text.slice(1), pattern))
    }
    return (
      text !== '' &&
      (pattern[0] === '?' || pattern[0] === text[0]) &&
      oracle(text.slice(1), pattern.slice(1))
    )
  }
  const letters = (alphabet: string): fc.Arbitrary<string> =>
    fc.array(fc.constantFrom(...alphabet), { maxLength: 9 }).map((array) => array.join(''))
  void fc.assert(
    fc.property(letters('ab'), letters('ab*?'), (text, pattern) => {
      assert.is(matchesPattern(text, pattern), oracle(text, pattern))
    }),
    { numRuns: 3000 },
  )
})

test('a pattern made to be slow is not', () => {
  // Backtracking would not end before this file's time limit.
  assert.not(matchesPattern('a'.repeat(2000), `${'a*'.repeat(500)}b`))
})

test('a negated pattern decides wherever it stands, an empty one matches nothing', () => {
  assert.is(matchPatternList('a', ['*', '!a']), 'denied')
  assert.is(matchPatternList('a', ['!a', '*']), 'denied')
  assert.is(matchPatternList('b', ['!a', '*']), 'allowed')
  assert.is(matchPatternList('', ['', '!']), 'none')
})

test('what is no text is refused at once, by its name', () => {
  const host = { host: 'box' } as unknown as string
  assert.throws(() => knownHosts('', host), /^host must be a string/)
  assert.throws(() => knownHosts(host, 'box'), /^text must be a string/)
})

test.run()
