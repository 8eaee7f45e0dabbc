// From the first byte to the connection protocol, between two machines on a simulated link.
// Also on: chromium

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as compression from '../../src/algorithms/compression.ts'
import * as legacy from '../../src/algorithms/legacy.ts'
import { modern } from '../../src/algorithms/modern.ts'
import * as umac from '../../src/algorithms/umac.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import { nobleCrypto } from '../../src/crypto/noble.ts'
import { AuthenticationError, type DisconnectError, SshError } from '../../src/errors.ts'
import { generateKey } from '../../src/keys/private-key.ts'
import { clientMachine } from '../../src/machine/client.ts'
import { serverMachine } from '../../src/machine/server.ts'
import { EXTRAS, makeKexinit } from '../../src/transport/negotiate.ts'
import { PacketWriter } from '../../src/transport/packets.ts'
import { DISCONNECT } from '../../src/wire/numbers.ts'
import { kexinit } from '../../src/wire/transport.ts'
import { Pair, user } from '../sim/pair.ts'

const code = (error: Error | undefined): string | undefined =>
  error instanceof SshError ? error.code : undefined

test('a client and a server agree and the user is let in', () => {
  const pair = new Pair().connect()
  const [keys] = pair.client.of('keys')
  assert.is(keys?.negotiated.kex, 'mlkem768x25519-sha256')
  assert.is(keys?.negotiated.strict, true)
  assert.equal(keys?.sessionId, pair.server.of('keys')[0]?.sessionId)
  assert.is(pair.server.of('authenticated')[0]?.username, 'ada')
  assert.is(pair.client.of('extension')[0]?.name, 'server-sig-algs')
})

test('any chopping of the bytes leads to the same events', () => {
  const types = (pair: Pair): string[] => pair.connect().client.events.map((event) => event.type)
  const whole = types(new Pair())
  for (let seed = 1; seed <= 20; seed++) {
    assert.equal(types(new Pair({ link: { seed, chunkBytesMax: seed } })), whole, `seed ${seed}`)
  }
})

for (const crypto of [nobleCrypto, defaultCrypto()]) {
  const all = modern(crypto)
  for (const kex of all.kex) {
    test(`${kex.name} works on ${crypto.name}`, () => {
      const algorithms = { ...all, kex: [kex] }
      const pair = new Pair({ crypto, client: { algorithms } }).connect()
      assert.is(pair.server.machine.negotiated?.kex, kex.name)
    })
  }
  for (const cipher of all.ciphers) {
    for (const mac of cipher.authenticated ? [undefined] : all.macs) {
      test(`${cipher.name} with ${mac?.name ?? 'its own tag'} works on ${crypto.name}`, () => {
        const algorithms = { ...all, ciphers: [cipher], macs: mac ? [mac] : all.macs }
        const pair = new Pair({ crypto, client: { algorithms }, link: { chunkBytesMax: 700 } })
        pair.connect()
        assert.is(pair.server.machine.negotiated?.cipherIn, cipher.name)
        assert.is(pair.server.machine.negotiated?.macIn, mac?.name ?? 'implicit')
      })
    }
  }
}

const named =
  (name: string) =>
  (spec: { readonly name: string }): boolean =>
    spec.name === name

test('no common algorithm is an error that prints both lists', () => {
  const all = modern(defaultCrypto())
  const pair = new Pair({
    client: { algorithms: { ...all, kex: all.kex.filter(named('mlkem768x25519-sha256')) } },
    server: { algorithms: { ...all, kex: all.kex.filter(named('curve25519-sha256')) } },
  }).settle()
  assert.is(code(pair.client.error), 'SSH_NO_COMMON_ALGORITHM')
  assert.match(pair.client.error?.message ?? '', 'the client offers mlkem768x25519-sha256')
  assert.match(pair.client.error?.message ?? '', 'the server curve25519-sha256')
  assert.match(pair.client.error?.message ?? '', 'the server must be given one of ours')
})

test('what could be added is named, with where it is to be had', () => {
  const all = modern(defaultCrypto())
  const pair = new Pair({
    client: { algorithms: { ...all, macs: [...all.macs], ciphers: [legacy.aes128Cbc] } },
  }).settle()
  const { message = '' } = pair.server.error ?? {}
  assert.match(message, 'aes128-cbc (@sandbox-ssh/protocol/legacy: aes128Cbc)')
  assert.match(message, 'to "algorithms.ciphers"')
  const entries = { legacy, compression, umac } as Readonly<Record<string, object>>
  for (const [name, from] of EXTRAS) {
    const [entry = '', exported = ''] = from.split(': ')
    const spec = Object.entries(entries[entry] ?? {}).find(([key]) => key === exported)?.[1]
    assert.is(spec?.name, name, from)
  }
  const weak = Object.values({ ...legacy, ...umac }).flatMap((spec) =>
    'name' in spec ? [spec.name] : [],
  )
  for (const name of weak) assert.ok(EXTRAS.has(name), name)
})

test('strict key exchange can be demanded', () => {
  const demanded = new Pair({
    client: { requireStrictKex: true },
    server: { requireStrictKex: true },
  }).connect()
  assert.is(demanded.client.machine.negotiated?.strict, true)
  // A KEXINIT without the pseudo-algorithms of the first one.
  const crypto = defaultCrypto()
  const all = modern(crypto)
  const offer = makeKexinit('client', all, all.hostKeys, crypto.random(16), false)
  for (const requireStrictKex of [true, false]) {
    const { server } = new Pair({ server: { requireStrictKex } })
    server.machine.receive(new TextEncoder().encode('SSH-2.0-old\r\n'))
    const writer = new PacketWriter(crypto)
    writer.packet(kexinit.encode(offer))
    server.machine.receive(writer.take() as Uint8Array)
    server.drain()
    if (!requireStrictKex) assert.is(server.error, undefined)
    else assert.match(server.error?.message ?? '', 'does not offer strict key exchange')
  }
})

test('a host key that is not accepted ends the connection before anything is told', () => {
  const pair = new Pair({ acceptHostKey: false }).settle()
  assert.is(code(pair.client.error), 'SSH_HOST_KEY_REJECTED')
  assert.is((pair.server.error as DisconnectError).reason, DISCONNECT.HOST_KEY_NOT_VERIFIABLE)
  assert.is(pair.server.events.filter((event) => event.type === 'question').length, 1)
})

test('a signature by another host key is refused', () => {
  const other = generateKey('ed25519')
  const pair = new Pair({
    answer: (machine, question) => {
      if (question.kind !== 'sign' || question.purpose !== 'host-key') return false
      machine.answerSignature(question.id, other.sign(question.data, question.algorithm))
      return true
    },
  }).settle()
  assert.is(code(pair.client.error), 'SSH_KEY_EXCHANGE')
})

test('an unknown key is refused, and the client told what could continue', () => {
  const pair = new Pair({ verdict: () => ({ type: 'reject' }) }).settle()
  assert.instance(pair.client.error, AuthenticationError)
  assert.equal((pair.client.error as AuthenticationError).methods, ['publickey'])
})

test('a signature over another session is refused though the key is right', () => {
  const pair = new Pair({
    answer: (machine, question) => {
      if (question.kind !== 'sign' || question.purpose !== 'user-auth') return false
      const data = question.data.slice()
      data[10]! ^= 1
      machine.answerSignature(question.id, user.sign(data, question.algorithm))
      return true
    },
  }).settle()
  assert.instance(pair.client.error, AuthenticationError)
  assert.is(pair.server.of('authenticated').length, 0)
})

test('failed attempts are counted and end the connection', () => {
  let tries = 0
  const pair = new Pair({
    server: { authMethods: ['password'], authFailuresMax: 3 },
    verdict: () => ({ type: 'reject' }),
    answer: (machine, question) => {
      if (question.kind !== 'authenticate-next') return false
      tries++
      machine.answerAttempt(question.id, { method: 'password', password: `guess ${tries}` })
      return true
    },
  }).settle()
  assert.is(tries, 3)
  assert.is(
    (pair.client.error as DisconnectError).reason,
    DISCONNECT.NO_MORE_AUTH_METHODS_AVAILABLE,
  )
})

test('partial success leads to a second step', () => {
  const steps: string[] = []
  const pair = new Pair({
    server: { authMethods: ['publickey'] },
    verdict: ({ request }) => {
      if (request.method === 'publickey') {
        return request.probe
          ? { type: 'accept' }
          : { type: 'partial', methods: ['keyboard-interactive'] }
      }
      if (request.method !== 'keyboard-interactive') return { type: 'reject' }
      if (request.responses === undefined) {
        const prompts = [{ prompt: 'Code: ', echo: false }]
        return { type: 'prompt', name: 'token', instruction: '', prompts }
      }
      return { type: request.responses[0] === '123456' ? 'accept' : 'reject' }
    },
    answer: (machine, question) => {
      if (question.kind === 'prompts') {
        steps.push(question.prompts[0]?.prompt ?? '')
        machine.answerPrompts(question.id, ['123456'])
        return true
      }
      if (question.kind !== 'authenticate-next' || question.last === undefined) return false
      steps.push(String(question.last.partialSuccess), ...(question.methods ?? []))
      machine.answerAttempt(question.id, { method: 'keyboard-interactive' })
      return true
    },
  }).connect()
  assert.equal(steps, ['true', 'keyboard-interactive', 'Code: '])
  assert.is(pair.server.of('authenticated')[0]?.method, 'keyboard-interactive')
})

test('a user may be limited to some algorithms, and his client is told which', () => {
  const asked: (readonly string[] | undefined)[] = []
  const limits: string[] = []
  const pair = new Pair({
    server: {
      userAlgorithms: (username) => {
        limits.push(username)
        return ['rsa-sha2-512', 'not-known@example']
      },
    },
    answer: (machine, question) => {
      if (question.kind !== 'authenticate-next') return false
      asked.push(question.signatureAlgorithms)
      const attempt = { method: 'publickey', publicKey: user.publicKey } as const
      machine.answerAttempt(
        question.id,
        question.last === undefined ? { ...attempt, algorithm: 'ssh-ed25519' } : undefined,
      )
      return true
    },
  }).settle()
  assert.is(asked.length, 2)
  assert.ok(asked[0]?.includes('ssh-ed25519'), 'at first all are told')
  assert.equal(asked[1], ['rsa-sha2-512'])
  assert.equal(limits, ['ada'])
  assert.is(pair.server.of('question').filter(({ kind }) => kind === 'authenticate').length, 0)
  assert.is(code(pair.client.error), 'SSH_AUTHENTICATION')
})

test('a password that must be changed is changed', () => {
  new Pair({
    server: { authMethods: ['password'] },
    verdict: ({ request }) => {
      if (request.method !== 'password') return { type: 'reject' }
      if (request.newPassword === undefined) return { type: 'change-password', prompt: 'New: ' }
      return { type: request.newPassword === 'better' ? 'accept' : 'reject' }
    },
    answer: (machine, question) => {
      if (question.kind !== 'authenticate-next' && question.kind !== 'change-password') return false
      const changed = question.kind === 'change-password' ? { newPassword: 'better' } : {}
      machine.answerAttempt(question.id, { method: 'password', password: 'old', ...changed })
      return true
    },
  }).connect()
})

test('terrapin: no message may come between KEXINIT and NEWKEYS', () => {
  // An IGNORE in clear, injected before the client's KEXINIT: strict kex must see that it was first.
  const pair = new Pair()
  const inject = Uint8Array.of(0, 0, 0, 12, 6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
  const out = pair.client.machine.takeOutput() as Uint8Array
  const end = out.indexOf(10) + 1
  pair.server.machine.receive(out.slice(0, end))
  pair.server.machine.receive(inject)
  pair.server.machine.receive(out.slice(end))
  pair.server.drain()
  assert.is(code(pair.server.error), 'SSH_PROTOCOL')
  assert.match(pair.server.error?.message ?? '', 'KEXINIT was not the first')
})

test('a peer that is no SSH is told from one that is', () => {
  const pair = new Pair()
  pair.client.machine.receive(new TextEncoder().encode('HTTP/1.1 400 Bad Request\r\n\r\n'))
  pair.client.machine.receive(new TextEncoder().encode('SSH-1.5-old\r\n'))
  pair.client.drain()
  assert.is(code(pair.client.error), 'SSH_VERSION')
  assert.match(pair.client.error?.message ?? '', 'SSH-1.5-old')
})

/** The first line a server sends, after what the client sent and the time that passed. */
function greeting(sent: string, waitedMs: number): string | undefined {
  const { server } = new Pair()
  server.machine.receive(new TextEncoder().encode(sent))
  server.machine.advance(waitedMs)
  const out = server.machine.takeOutput()
  return out && new TextDecoder('latin1').decode(out.subarray(0, out.indexOf(13)))
}

test('a server names itself by its own name, and to OpenSSH as its kin', () => {
  assert.is(greeting('SSH-2.0-PuTTY_Release_0.78\r\n', 0), 'SSH-2.0-sandbox-ssh_test')
  assert.is(greeting('SSH-2.0-sandbox-ssh_0.1.0\r\n', 0), 'SSH-2.0-sandbox-ssh_test')
  const kin = 'SSH-2.0-OpenSSH_compatible sandbox-ssh_test'
  assert.is(greeting('SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n', 0), kin)
})

test('a server waits for the client to speak first, but not for long', () => {
  assert.is(greeting('', 249), undefined)
  assert.is(greeting('', 250), 'SSH-2.0-sandbox-ssh_test')
  assert.is(greeting('SSH-2.0-OpenSSH_9.2', 250), 'SSH-2.0-sandbox-ssh_test')
})

test('a line that never ends is cut off', () => {
  const pair = new Pair()
  for (let sent = 0; sent < 20; sent++) pair.server.machine.receive(new Uint8Array(100).fill(0x41))
  pair.server.drain()
  assert.is(code(pair.server.error), 'SSH_VERSION')
})

test('a handshake that stands still ends in time and names its phase', () => {
  const pair = new Pair({ server: { handshakeMs: 5000 } })
  pair.advance(4999)
  assert.is(pair.server.machine.deadlineMs, 5000)
  assert.is(pair.server.machine.closed, false)
  pair.advance(1)
  pair.server.drain()
  assert.is(code(pair.server.error), 'SSH_TIMEOUT')
  assert.match(pair.server.error?.message ?? '', 'identification')
})

/** Bytes the client sends until it is let in. */
const clientBytes = (() => {
  const pair = new Pair()
  const { machine } = pair.client
  const take = machine.takeOutput.bind(machine)
  let bytes = 0
  machine.takeOutput = () => {
    const out = take()
    bytes += out?.length ?? 0
    return out
  }
  pair.connect()
  return bytes
})()

test('a flipped bit is noticed; only the padding of packets in clear does not matter', () => {
  let unnoticed = 0
  for (let at = 0; at < clientBytes; at += 37) {
    const pair = new Pair({ link: { flipAtByte: at } }).settle()
    if (pair.server.of('authenticated').length === 0 || pair.server.error !== undefined) continue
    unnoticed++
    assert.equal(pair.client.machine.sessionId, pair.server.machine.sessionId, `byte ${at}`)
    const { kex, cipherIn, strict } = pair.server.machine.negotiated ?? {}
    const expected = ['mlkem768x25519-sha256', pair.client.machine.negotiated?.cipherOut, true]
    assert.equal([kex, cipherIn, strict], expected, `byte ${at}`)
  }
  assert.ok(unnoticed < 3, `${unnoticed} flips went unnoticed`)
})

test('a cut connection ends both sides wherever it is cut', () => {
  for (let at = 0; at <= clientBytes; at += 97) {
    const pair = new Pair({ link: { cutAfterBytes: at, chunkBytesMax: 64, seed: at } }).settle()
    assert.is(pair.client.machine.closed && pair.server.machine.closed, true, `cut at ${at}`)
    assert.is(code(pair.client.error), 'SSH_CONNECTION_LOST')
  }
})

test('answers to questions nobody asked are refused', () => {
  const pair = new Pair()
  assert.throws(
    () => pair.client.machine.answerHostKey(1, true),
    (error: unknown) => error instanceof TypeError,
  )
})

test('a machine without what its role needs is refused', () => {
  const crypto = defaultCrypto()
  const common = { crypto, algorithms: modern(crypto), softwareVersion: 'x', nowMs: 0 }
  assert.throws(() => serverMachine(common), /hostKeys/)
  assert.throws(() => clientMachine(common), /username/)
  assert.throws(
    () => clientMachine({ ...common, username: 'x', softwareVersion: 'a b' }),
    /softwareVersion/,
  )
})

test('a connection that ends while a host key is looked at says so', () => {
  const pair = new Pair({ answer: (_, { kind }) => kind === 'host-key' }).settle()
  pair.client.machine.receiveEnd()
  pair.client.drain()
  const { error } = pair.client
  assert.match(
    error?.message ?? '',
    /during key-exchange, which waited for a decision on this side$/,
  )
})

test.run()
