// The profile without encryption: between the ends of a memory pair, when both ask, and nowhere else.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as legacy from '../src/algorithms/legacy.ts'
import { modern } from '../src/algorithms/modern.ts'
import {
  type ClientOptions,
  connect,
  defaultCrypto,
  generateKey,
  memoryPair,
  nobleCrypto,
  pinned,
  publickey,
  type ServerOptions,
  type SshError,
  serve,
  type Transport,
} from '../src/index.ts'
import { rejection, within } from './within.ts'

const hostKey = generateKey('ed25519')
const userKey = generateKey('ed25519')
const serverOptions: ServerOptions = {
  hostKeys: [hostKey],
  auth: { publickey: ({ key }) => key.equals(userKey.publicKey) },
  exec: async ({ stdin, stdout }) => {
    await stdin.pipeTo(stdout)
    return 0
  },
}
const clientOptions: ClientOptions = {
  username: 'ada',
  hostKey: pinned(hostKey.publicKey),
  auth: [publickey(userKey)],
}
const inProcess = { inProcess: true } as const

test('both ends of a memory pair may agree on no cipher and no MAC', async () => {
  const [left, right] = memoryPair()
  const [client, server] = await Promise.all([
    connect(left, { ...clientOptions, ...inProcess }),
    serve(right, { ...serverOptions, ...inProcess }),
  ])
  const { cipherIn, cipherOut, macIn, strict } = client.negotiated
  assert.equal([cipherIn, cipherOut, macIn, strict], ['none', 'none', 'implicit', true])
  const stdin = new Uint8Array(3_000_000).fill(7)
  client.rekey()
  const { code, stdout } = await client.run('cat', { stdin })
  assert.is(code, 0)
  assert.ok(stdout.length === stdin.length && stdout.every((byte) => byte === 7))
  await client.close()
  await server.closed
})

test('a key that is not the right one does not get in all the same', async () => {
  const [left, right] = memoryPair()
  const refused = serve(right, { ...serverOptions, ...inProcess }).catch(() => {})
  const auth = [publickey(generateKey('ed25519'))]
  const error = await rejection(connect(left, { ...clientOptions, ...inProcess, auth }))
  assert.is((error as SshError).code, 'SSH_AUTHENTICATION')
  await refused
})

test('one side that asks and one that does not have nothing in common', async () => {
  for (const [ours, theirs] of [
    [inProcess, {}],
    [{}, inProcess],
  ] as const) {
    const [left, right] = memoryPair()
    const outcomes = await within(
      5000,
      Promise.allSettled([
        connect(left, { ...clientOptions, ...ours }),
        serve(right, { ...serverOptions, ...theirs }),
      ]),
    )
    const codes = outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason : {}))
    assert.ok(codes.some((reason) => reason.code === 'SSH_NO_COMMON_ALGORITHM'))
    assert.ok(outcomes.every(({ status }) => status === 'rejected'))
  }
})

test('nothing but an end of a memory pair is taken, whatever it says of itself', async () => {
  const [left] = memoryPair()
  const wrapped: Transport = {
    read: () => left.read(),
    write: (chunk) => left.write(chunk),
    close: () => left.close(),
    abort: (reason) => left.abort(reason),
  }
  for (const transport of [wrapped, { ...wrapped, inProcess: true }, Object.create(left)]) {
    for (const attempt of [
      connect(transport, { ...clientOptions, ...inProcess }),
      serve(transport, { ...serverOptions, ...inProcess }),
    ]) {
      const error = await rejection(attempt)
      assert.instance(error, TypeError)
      assert.match((error as TypeError).message, 'inProcess')
    }
  }
})

test('no list that anything else negotiates contains none', () => {
  const lists = [nobleCrypto, defaultCrypto()].map(modern)
  const names = lists.flatMap(({ ciphers, macs }) => [...ciphers, ...macs]).map(({ name }) => name)
  const weak = Object.values(legacy).flatMap((value) =>
    typeof value === 'object' && 'name' in value ? [value.name] : [],
  )
  assert.ok(names.length > 10 && weak.length > 3)
  assert.not([...names, ...weak].includes('none'))
})

test.run()
