// RFC 4419 between two machines, and the bounds both sides keep.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { groupExchangeSha256 } from '../../src/algorithms/group-exchange.ts'
import { modpGroup } from '../../src/algorithms/group-kex.ts'
import { modern } from '../../src/algorithms/modern.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import { SshError } from '../../src/errors.ts'
import { Pair } from '../sim/pair.ts'

const { groupExchange } = groupExchangeSha256
assert.ok(groupExchange)
const refused = (error: unknown): boolean =>
  error instanceof SshError && error.code === 'SSH_KEY_EXCHANGE'

test('client and server agree on a group and on a secret, again and again', () => {
  const all = modern(defaultCrypto())
  const algorithms = { ...all, kex: [groupExchangeSha256] }
  const pair = new Pair({ client: { algorithms }, link: { chunkBytesMax: 100 } }).connect()
  pair.client.machine.rekey()
  pair.settle()
  assert.is(pair.server.of('keys').length, 2)
  assert.is(pair.server.machine.negotiated?.kex, 'diffie-hellman-group-exchange-sha256')
})

test('the server chooses the smallest group that is large enough', () => {
  const bits = (minimum: number, preferred: number, maximum: number): number =>
    (groupExchange?.choose({ minimum, preferred, maximum }).prime.length ?? 0) * 8
  assert.is(bits(1024, 2048, 8192), 2048)
  assert.is(bits(2048, 2049, 8192), 3072)
  assert.is(bits(2048, 7680, 8192), 8192)
  assert.is(bits(2048, 7680, 7680), 4096)
})

test('a request for weak groups only, or for nothing, is refused', () => {
  for (const [minimum, preferred, maximum] of [
    [512, 1024, 1024],
    [4096, 2048, 8192],
    [2048, 8192, 4096],
  ] as const) {
    assert.throws(() => groupExchange?.choose({ minimum, preferred, maximum }), refused)
  }
})

test('the client refuses small primes, even ones and generators of nothing', () => {
  const { prime, generator } = modpGroup(2048)
  groupExchange?.check({ prime, generator })
  const even = prime.slice()
  even[255] = 0xfe
  for (const group of [
    { prime: prime.subarray(1), generator },
    { prime: new Uint8Array(0), generator },
    { prime: even, generator },
    { prime, generator: Uint8Array.of(1) },
    { prime, generator: new Uint8Array(0) },
    { prime, generator: prime },
  ]) {
    assert.throws(() => groupExchange?.check(group), refused)
  }
})

test.run()
