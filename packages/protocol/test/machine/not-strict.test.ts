// Two machines that each take the other for a peer without strict key exchange: sequence numbers go
// on through all key exchanges, and what strict key exchange forbids may come between.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { modern } from '../../src/algorithms/modern.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import type { CryptoProvider } from '../../src/crypto/provider.ts'
import { SshError } from '../../src/errors.ts'
import { Writer } from '../../src/wire/writer.ts'
import { Pair, type PairOptions } from '../sim/pair.ts'
import { seededRandom } from '../sim/random.ts'

const marker = new TextEncoder().encode('kex-strict-')
const other = new TextEncoder().encode('kex-absent-')

/** Puts a name that nobody knows in place of the marker, wherever it stands. */
function unmark(bytes: Uint8Array): void {
  for (let at = 0; at + marker.length <= bytes.length; at++) {
    if (marker.every((byte, index) => bytes[at + index] === byte)) bytes.set(other, at)
  }
}

const crypto = defaultCrypto()

/** The link unmarks both proposals, and the exchange hash, which is over them, does so as well. */
const unmarked: CryptoProvider = {
  ...crypto,
  hash: (name, ...parts) =>
    crypto.hash(
      name,
      ...parts.map((part) => {
        const copy = part.slice()
        unmark(copy)
        return copy
      }),
    ),
}

function notStrict(options: PairOptions = {}, seed = 1): Pair {
  return new Pair({
    ...options,
    crypto: unmarked,
    link: { seed, chunkBytesMax: 3000, alter: unmark },
  })
}

/** The same, with the number of the first packet under each key of a MAC. */
function noting(numbers: number[]): CryptoProvider {
  return {
    ...unmarked,
    hmac: (name, key) => {
      const mac = crypto.hmac(name, key)
      let isFirst = true
      return {
        packet: (sequenceNumber, data) => {
          if (isFirst) numbers.push(sequenceNumber)
          isFirst = false
          return mac.packet(sequenceNumber, data)
        },
      }
    },
  }
}

const all = modern(unmarked)

for (const cipher of all.ciphers) {
  test(`${cipher.name}: keys are exchanged again and again, and nothing is lost`, () => {
    for (const [seed, macs] of [all.macs, [...all.macs].reverse()].entries()) {
      const algorithms = { ...all, ciphers: [cipher], macs }
      const pair = notStrict(
        {
          client: { algorithms, rekey: { bytes: 30_000 } },
          server: { algorithms, rekey: { packets: 25 } },
        },
        seed + 1,
      ).connect()
      const up = pair.client.machine.openChannel('session')
      pair.settle()
      const down = pair.server.of('channel-open')[0]!.channel
      pair.server.machine.acceptChannel(down)
      pair.settle()
      const random = seededRandom(seed)
      const sent = Uint8Array.from({ length: 120_000 }, () => random.below(256))
      let [there, back] = [0, 0]
      while (there < sent.length || back < sent.length) {
        there += pair.client.machine.sendData(up, sent.subarray(there, there + 4000))
        back += pair.server.machine.sendData(down, sent.subarray(back, back + 4000))
        // Each begins one of its own, too, now and then both at once.
        if (random.below(9) === 0) pair.client.machine.rekey()
        if (random.below(9) === 0) pair.server.machine.rekey()
        pair.step()
        assert.is(pair.client.error ?? pair.server.error, undefined)
      }
      pair.settle()
      for (const end of [pair.client, pair.server]) {
        assert.is(end.error, undefined)
        const came = new Writer()
        for (const { data } of end.of('channel-data')) came.bytes(data)
        assert.equal(came.finish(), sent)
        const keys = end.of('keys')
        assert.ok(keys.length > 3, `${keys.length} key exchanges`)
        assert.not(keys.some(({ negotiated }) => negotiated.strict))
      }
    }
  })
}

test('the numbers of packets go on under new keys; with strict key exchange they begin again', () => {
  const algorithms = { ...all, ciphers: all.ciphers.filter(({ authenticated }) => !authenticated) }
  for (const isStrict of [false, true]) {
    const numbers: number[] = []
    const pair = new Pair({
      crypto: noting(numbers),
      client: { algorithms },
      server: { algorithms },
      link: isStrict ? {} : { alter: unmark },
    }).connect()
    pair.client.machine.rekey()
    pair.settle()
    // Something in both directions under the new keys.
    pair.client.machine.openChannel('session')
    pair.settle()
    pair.server.machine.acceptChannel(pair.server.of('channel-open')[0]!.channel)
    pair.settle()
    assert.is(pair.client.of('keys')[1]?.negotiated.strict, isStrict)
    // Two directions, sealed and opened, under two keys each.
    assert.is(numbers.length, 8)
    assert.is(numbers.filter((number) => number === 0).length, isStrict ? 8 : 0)
  }
})

test('keys are exchanged anew when their time is over', () => {
  const pair = notStrict({ server: { rekey: { ms: 1000 } } }).connect()
  for (let times = 2; times < 6; times++) {
    pair.advance(1000)
    pair.settle()
    assert.is(pair.client.of('keys').length, times)
    assert.is(pair.client.error ?? pair.server.error, undefined)
  }
})

test('whoever demands strict key exchange ends the connection, and names it', () => {
  for (const side of ['client', 'server'] as const) {
    const pair = notStrict({ [side]: { requireStrictKex: true } }).settle()
    const { error } = pair[side]
    assert.instance(error, SshError)
    assert.is((error as SshError).code, 'SSH_KEY_EXCHANGE')
    assert.match((error as SshError).message, 'strict key exchange')
    assert.is(pair.server.of('keys').length, 0)
  }
})

test.run()
