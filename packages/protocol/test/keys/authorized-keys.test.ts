import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type AuthorizedKeyOptions,
  parseAuthorizedKeys,
  type RestrictingOption,
} from '../../src/keys/authorized-keys.ts'
import { generateKey } from '../../src/keys/private-key.ts'

const key = generateKey('ed25519', { comment: 'ada' }).publicKey
const everything: readonly RestrictingOption[] = [
  'cert-authority',
  'command',
  'expiry-time',
  'from',
  'no-agent-forwarding',
  'no-port-forwarding',
  'no-pty',
  'no-user-rc',
  'no-x11-forwarding',
  'permitlisten',
  'permitopen',
  'principals',
  'restrict',
  'verify-required',
]

function optionsOf(list: string): AuthorizedKeyOptions {
  const { keys, errors } = parseAuthorizedKeys(`${list} ${key}`, { honours: everything })
  assert.equal(errors, [], list)
  assert.ok(keys[0]?.key.equals(key))
  if (keys[0] === undefined) throw new Error('no key')
  return keys[0].options
}

function errorOf(line: string, honours: readonly RestrictingOption[] = everything): string {
  const { keys, errors } = parseAuthorizedKeys(line, { honours })
  assert.is(keys.length, 0, line)
  assert.is(errors.length, 1, line)
  return errors[0]?.message ?? ''
}

test('plain lines, comments, blanks and CRLF', () => {
  const { keys, errors } = parseAuthorizedKeys(`# c\r\n\r\n  ${key}\r\n\t${key}\n`)
  assert.equal(errors, [])
  assert.equal(
    keys.map(({ line }) => line),
    [3, 4],
  )
  assert.is(keys[0]?.key.comment, 'ada')
  assert.is(keys[0]?.options.pty, true)
  assert.is(keys[0]?.options.command, undefined)
})

test('a bad line is reported and skipped, the others stand', () => {
  const { keys, errors } = parseAuthorizedKeys(`${key}\nnonsense\nssh-ed25519 AAAA\n${key}\n`)
  assert.is(keys.length, 2)
  assert.equal(
    errors.map(({ line }) => line),
    [2, 3],
  )
})

test('values are quoted, with quotes inside escaped', () => {
  assert.is(optionsOf('command="echo \\"a b\\", c"').command, 'echo "a b", c')
  // As in OpenSSH a backslash escapes nothing but a quote, not even another backslash.
  assert.is(optionsOf('command="a\\b\\\\c"').command, 'a\\b\\\\c')
  errorOf(`command="a\\\\" ${key}`)
  assert.is(optionsOf('command=""').command, '')
  assert.is(optionsOf('no-pty,command="x # y"').command, 'x # y')
})

test('restrict switches off, later options switch on again', () => {
  const options = optionsOf('restrict,pty,port-forwarding')
  assert.is(options.pty, true)
  assert.is(options.portForwarding, true)
  assert.is(options.agentForwarding, false)
  assert.is(options.x11Forwarding, false)
  assert.is(options.userRc, false)
  assert.is(optionsOf('pty,restrict').pty, false)
  assert.is(optionsOf('No-PTY').pty, false)
  assert.is(optionsOf('no-X11-forwarding').x11Forwarding, false)
})

test('every other option has its place', () => {
  const options = optionsOf(
    'cert-authority,from="10.0.0.0/8,!10.0.0.1",principals="a,b",verify-required,' +
      'no-touch-required,environment="A=1",environment="B=x=y",environment="A=2",tunnel="0",' +
      'permitopen="localhost:80",permitopen="[::1]:*",permitopen="*:22",permitlisten="8080",' +
      'permitlisten="localhost:*"',
  )
  assert.is(options.certAuthority, true)
  assert.equal(options.from, ['10.0.0.0/8', '!10.0.0.1'])
  assert.equal(options.principals, ['a', 'b'])
  assert.is(options.verifyRequired, true)
  assert.is(options.touchRequired, false)
  assert.equal(
    [...options.environment],
    [
      ['A', '1'],
      ['B', 'x=y'],
    ],
  )
  assert.equal(options.permitOpen, [
    { host: 'localhost', port: 80 },
    { host: '::1', port: undefined },
    { host: undefined, port: 22 },
  ])
  assert.equal(options.permitListen, [
    { host: undefined, port: 8080 },
    { host: 'localhost', port: undefined },
  ])
  assert.is(options.tunnel, '0')
})

test('expiry times, the earliest counting', () => {
  assert.is(optionsOf('expiry-time="20300102Z"').expiryMs, Date.UTC(2030, 0, 2))
  assert.is(optionsOf('expiry-time="203001020304Z"').expiryMs, Date.UTC(2030, 0, 2, 3, 4))
  assert.is(optionsOf('expiry-time="20300102030405Z"').expiryMs, Date.UTC(2030, 0, 2, 3, 4, 5))
  assert.is(optionsOf('expiry-time="20300102"').expiryMs, new Date(2030, 0, 2).getTime())
  assert.is(
    optionsOf('expiry-time="20310101Z",expiry-time="20300101Z"').expiryMs,
    Date.UTC(2030, 0, 1),
  )
  for (const bad of ['', '2030', '20300231Z', '20301301Z', '20300102Q', '203001022504Z']) {
    assert.match(errorOf(`expiry-time="${bad}" ${key}`), /time/)
  }
})

test('a restriction that the caller does not honour takes the key away', () => {
  for (const name of everything) {
    const value = {
      command: '="x"',
      'expiry-time': '="20300101"',
      from: '="*"',
      permitlisten: '="1"',
      permitopen: '="a:1"',
      principals: '="a"',
    }[name as string]
    const line = `${name}${value ?? ''} ${key}`
    assert.match(errorOf(line, []), /cannot be honoured/)
    assert.match(
      errorOf(
        line,
        everything.filter((other) => other !== name),
      ),
      /cannot be honoured/,
    )
    assert.is(parseAuthorizedKeys(line, { honours: [name] }).keys.length, 1, line)
  }
})

test('options that only give something need not be honoured', () => {
  const list = 'pty,port-forwarding,agent-forwarding,user-rc,x11-forwarding,environment="A=1"'
  assert.is(parseAuthorizedKeys(`${list} ${key}`).keys.length, 1)
})

test('malformed options never let the key in', () => {
  for (const list of [
    'no-such-option',
    'command',
    'command=',
    'command=x',
    'command="x',
    'command="a",command="b"',
    'from="a",from="b"',
    'from=""',
    'from="a,,b"',
    'pty="yes"',
    'no-pty,',
    ',no-pty',
    'no-pty,,no-pty',
    'no-pty no-pty',
    'environment="=x"',
    'environment="A"',
    'permitopen="80"',
    'permitopen="host:99999"',
    'permitopen="host"',
    'permitopen=":80"',
    'permitlisten="a:b"',
    'restrict;pty',
    'tunnel="z"',
    'tunnel="0:1"',
  ]) {
    errorOf(`${list} ${key}`)
  }
  errorOf('no-pty')
  errorOf('command="x"')
  errorOf(`command="${'x'.repeat(70_000)}" ${key}`)
})

test('whatever comes before a key, it never gives a key more than the line says', () => {
  const word = fc.constantFrom(
    'restrict',
    'no-pty',
    'pty',
    'command="x"',
    'COMMAND="y"',
    '"',
    '\\"',
    ',',
    ' ',
    '=',
    'ssh-ed25519',
    'AAAA',
  )
  void fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 6 }), (words) => {
      const { keys, errors } = parseAuthorizedKeys(`${words.join('')} ${key}`)
      assert.is(keys.length + errors.length, 1)
      // Nothing is honoured here, so a key may come out only if no restriction stood before it.
      if (keys.length === 1) assert.not.match(words.join(''), /restrict|no-pty|command/i)
    }),
    { numRuns: 2000 },
  )
})

test.run()
