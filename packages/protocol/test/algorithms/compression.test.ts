// zlib@openssh.com: against Node's zlib alone, and between two machines under key exchanges.

import { deflateSync, inflateSync } from 'node:zlib'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { zlibOpenssh } from '../../src/algorithms/compression.ts'
import { modern } from '../../src/algorithms/modern.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import { SshError } from '../../src/errors.ts'
import { Pair } from '../sim/pair.ts'
import { seededRandom } from '../sim/random.ts'

function compressor(): (payload: Uint8Array) => Uint8Array {
  const made = zlibOpenssh.compressor?.()
  assert.ok(made)
  return made as (payload: Uint8Array) => Uint8Array
}

function decompressor(): (payload: Uint8Array) => Uint8Array {
  const made = zlibOpenssh.decompressor?.()
  assert.ok(made)
  return made as (payload: Uint8Array) => Uint8Array
}

const payloads = [1, 20, 40_000, 3, 131_072].map((length) => {
  const random = seededRandom(length)
  return new Uint8Array(length).map(() => 97 + random.below(length > 1000 ? 3 : 26))
})

test('payload by payload comes out as it went in, smaller where it can be', () => {
  const compress = compressor()
  const decompress = decompressor()
  for (const payload of payloads) {
    const compressed = compress(payload)
    if (payload.length > 1000) assert.ok(compressed.length < payload.length / 2)
    assert.equal(decompress(compressed), payload)
  }
})

test('what we compress is one zlib stream to others', () => {
  const compress = compressor()
  const stream = Buffer.concat(payloads.map((payload) => compress(payload)))
  const whole = inflateSync(stream, { finishFlush: 2 })
  assert.is(Buffer.compare(whole, Buffer.concat(payloads)), 0)
})

test('a bomb is stopped at the size of a packet', () => {
  const bomb = new Uint8Array(deflateSync(Buffer.alloc(50_000_000)))
  assert.throws(
    () => decompressor()(bomb),
    (error: unknown) => error instanceof SshError && error.code === 'SSH_LIMIT',
  )
})

test('broken data is an error, not garbage', () => {
  assert.throws(
    () => decompressor()(Uint8Array.of(1, 2, 3, 4, 5)),
    (error: unknown) => error instanceof SshError && error.code === 'SSH_PROTOCOL',
  )
})

test('two machines compress after authentication, and start over with new keys', () => {
  const all = modern(defaultCrypto())
  const algorithms = { ...all, compression: [zlibOpenssh] }
  const pair = new Pair({ client: { algorithms }, server: { algorithms } }).connect()
  assert.is(pair.client.machine.negotiated?.compressionOut, 'zlib@openssh.com')
  const channel = pair.client.machine.openChannel('session')
  pair.settle()
  pair.server.machine.acceptChannel(pair.server.of('channel-open')[0]?.channel ?? -1)
  pair.settle()
  for (let round = 0; round < 3; round++) {
    assert.is(pair.client.machine.sendData(channel, new Uint8Array(100_000)), 100_000)
    assert.ok(pair.client.machine.outputBytes < 2000, 'zeros are small')
    pair.settle()
    pair.client.machine.rekey()
    pair.settle()
  }
  assert.is(pair.client.error ?? pair.server.error, undefined)
  const bytes = pair.server.of('channel-data').reduce((sum, { data }) => sum + data.length, 0)
  assert.is(bytes, 300_000)
})

test.run()
