// The connection protocol between two machines: flow control, turns, endings, requests, rekeying.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { aes128Cbc, aes192Cbc, aes256Cbc } from '../../src/algorithms/legacy.ts'
import { modern } from '../../src/algorithms/modern.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import { SshError } from '../../src/errors.ts'
import type { ChannelId } from '../../src/machine/event.ts'
import { Writer } from '../../src/wire/writer.ts'
import { type End, Pair, type PairOptions } from '../sim/pair.ts'
import { seededRandom } from '../sim/random.ts'
import { RawClient } from '../sim/raw-client.ts'

const code = (error: Error | undefined): string | undefined =>
  error instanceof SshError ? error.code : undefined

const cbc = [aes128Cbc, aes192Cbc, aes256Cbc]

/** A connected pair with `count` session channels open. */
function withChannels(
  count: number,
  options: PairOptions = {},
): { pair: Pair; client: ChannelId[]; server: ChannelId[] } {
  const pair = new Pair(options).connect()
  const client = Array.from({ length: count }, () => pair.client.machine.openChannel('session'))
  pair.settle()
  const server = pair.server.of('channel-open').map(({ channel }) => channel)
  for (const channel of server) pair.server.machine.acceptChannel(channel)
  pair.settle()
  assert.is(pair.client.of('channel-opened').length, count)
  return { pair, client, server }
}

function received(end: End, channel: ChannelId): Uint8Array {
  const chunks = end.of('channel-data').filter((event) => event.channel === channel)
  const writer = new Writer()
  for (const { data } of chunks) writer.bytes(data)
  return writer.finish()
}

test('data arrives whole and in order, whatever the pieces, the windows and the key exchanges', () => {
  for (let seed = 1; seed <= 12; seed++) {
    const random = seededRandom(seed)
    const { pair, client, server } = withChannels(3, {
      link: { seed, chunkBytesMax: 5000 },
      client: { rekey: { bytes: 40_000 }, windowBytes: 10_000 },
      server: { rekey: { packets: 30 }, windowBytes: 7000 },
    })
    const sent = client.map(() => {
      const bytes = new Uint8Array(60_000)
      for (let at = 0; at < bytes.length; at++) bytes[at] = random.below(256)
      return bytes
    })
    const offsets = client.map(() => 0)
    let seen = pair.server.events.length
    while (offsets.some((offset, index) => offset < (sent[index] as Uint8Array).length)) {
      client.forEach((channel, index) => {
        const bytes = sent[index] as Uint8Array
        const rest = bytes.subarray(
          offsets[index],
          (offsets[index] as number) + 1 + random.below(9000),
        )
        offsets[index] = (offsets[index] as number) + pair.client.machine.sendData(channel, rest)
      })
      pair.step()
      for (const event of pair.server.events.slice(seen)) {
        if (event.type === 'channel-data')
          pair.server.machine.consume(event.channel, event.data.length)
      }
      seen = pair.server.events.length
      assert.is(pair.client.error ?? pair.server.error, undefined, `seed ${seed}`)
    }
    pair.settle()
    server.forEach((channel, index) => {
      assert.equal(received(pair.server, channel), sent[index], `seed ${seed}`)
    })
    assert.ok(pair.client.of('keys').length > 3, 'keys were exchanged again and again')
  }
})

test('no more is granted than the window, and credit returns when data is taken', () => {
  const { pair, client, server } = withChannels(1, { server: { windowBytes: 1000 } })
  const [up] = client as [ChannelId]
  const [down] = server as [ChannelId]
  assert.is(pair.client.machine.sendData(up, new Uint8Array(5000)), 1000)
  pair.settle()
  assert.is(pair.client.machine.sendData(up, new Uint8Array(1)), 0)
  pair.server.machine.consume(down, 100)
  pair.settle()
  assert.is(pair.client.of('channel-writable').length, 0, 'credit goes out by eighths')
  pair.server.machine.consume(down, 25)
  pair.settle()
  assert.is(pair.client.of('channel-writable').length, 1)
  assert.is(pair.client.machine.sendData(up, new Uint8Array(5000)), 125)
})

test('a window is widened once, and never narrowed', () => {
  const { pair, client, server } = withChannels(1, { server: { windowBytes: 1000 } })
  const [up] = client as [ChannelId]
  const [down] = server as [ChannelId]
  for (const bytes of [4000, 500, 4000]) pair.server.machine.widen(down, bytes)
  pair.settle()
  assert.is(pair.client.machine.sendData(up, new Uint8Array(9000)), 4000)
  pair.settle()
  pair.server.machine.consume(down, 400)
  pair.settle()
  assert.is(pair.client.of('channel-writable').length, 0, 'credit goes out by eighths of all')
  pair.server.machine.consume(down, 100)
  pair.settle()
  assert.is(pair.client.machine.sendData(up, new Uint8Array(9000)), 500)
})

test('output that nobody takes is bounded, and channels take turns', () => {
  const { pair, client } = withChannels(2)
  const [first, second] = client as [ChannelId, ChannelId]
  const big = new Uint8Array(2 ** 21)
  const granted = pair.client.machine.sendData(first, big)
  assert.ok(granted < 600_000 && granted > 400_000, `${granted} bytes`)
  assert.is(pair.client.machine.sendData(second, big), 0)
  while (pair.client.machine.takeOutput() !== undefined);
  const order: ChannelId[] = []
  for (let turn = 0; turn < 8; turn++) {
    const event = pair.client.machine.nextEvent()
    if (event?.type !== 'channel-writable') break
    order.push(event.channel)
    pair.client.machine.sendData(event.channel, big)
  }
  assert.equal(order.slice(0, 4), [first, second, first, second])
})

test('a key exchange started by either side, or both at once, loses nothing', () => {
  for (const sides of ['client', 'server', 'both'] as const) {
    const { pair, client, server } = withChannels(1)
    if (sides !== 'server') pair.client.machine.rekey()
    if (sides !== 'client') pair.server.machine.rekey()
    assert.is(
      pair.client.machine.sendData(client[0] as ChannelId, Uint8Array.of(1, 2, 3)),
      sides === 'server' ? 3 : 0,
    )
    pair.server.machine.channelRequest(
      server[0] as ChannelId,
      'held@example',
      Uint8Array.of(),
      true,
    )
    pair.settle()
    assert.is(pair.client.of('keys').length, 2, sides)
    assert.is(pair.client.of('channel-request')[0]?.request, 'held@example')
    assert.is(pair.client.error ?? pair.server.error, undefined)
  }
})

test('keys are exchanged again when their time is over', () => {
  const { pair } = withChannels(0, { client: { rekey: { ms: 1000 } } })
  assert.is(pair.client.machine.deadlineMs, 1000)
  pair.advance(1000)
  pair.settle()
  assert.is(pair.client.of('keys').length, 2)
  assert.is(pair.client.machine.deadlineMs, 2000)
})

test('keys are exchanged again after so many packets, and no cipher outlives its own limit', () => {
  const { pair, client } = withChannels(1, { client: { rekey: { packets: 40 } } })
  const before = pair.client.of('keys').length
  for (let sent = 0; sent < 40; sent++) {
    pair.client.machine.sendData(client[0] as ChannelId, Uint8Array.of(1))
    pair.settle()
  }
  assert.ok(pair.client.of('keys').length > before)
  assert.is(pair.client.of('keys').length, pair.server.of('keys').length)
  // RFC 4344 §3: 2^31 packets under any key, 2^32 blocks of 128 bits.
  const { ciphers } = modern(defaultCrypto())
  for (const { name, rekeyPackets, rekeyBytes } of [...ciphers, ...cbc]) {
    assert.is(rekeyPackets, 2 ** 31, name)
    assert.is(rekeyBytes, name.startsWith('aes') ? 2 ** 36 : undefined, name)
  }
})

test('a key exchange that is never answered ends the connection', () => {
  const { pair } = withChannels(0)
  pair.client.machine.rekey()
  pair.client.machine.takeOutput()
  pair.client.machine.advance(60_000)
  pair.client.drain()
  assert.is(code(pair.client.error), 'SSH_TIMEOUT')
})

test('EOF leaves the other direction open; CLOSE ends both', () => {
  const { pair, client, server } = withChannels(1)
  const [up] = client as [ChannelId]
  const [down] = server as [ChannelId]
  pair.client.machine.sendEof(up)
  pair.client.machine.sendEof(up)
  assert.is(pair.client.machine.sendData(up, Uint8Array.of(1)), 0)
  pair.settle()
  assert.is(pair.server.of('channel-eof').length, 1)
  assert.is(pair.server.machine.sendData(down, Uint8Array.of(9)), 1)
  pair.server.machine.channelRequest(down, 'exit-status', Uint8Array.of(0, 0, 0, 3), false)
  pair.server.machine.closeChannel(down)
  pair.settle()
  assert.equal(received(pair.client, up), Uint8Array.of(9))
  assert.is(pair.client.of('channel-closed').length, 1)
  assert.is(pair.server.of('channel-closed').length, 1)
  pair.client.machine.sendEof(up)
  pair.client.machine.consume(up, 1)
  pair.settle()
  assert.is(pair.client.error ?? pair.server.error, undefined, 'late commands do nothing')
})

test('closes that cross are one close', () => {
  const { pair, client, server } = withChannels(1)
  pair.client.machine.closeChannel(client[0] as ChannelId)
  pair.server.machine.sendData(server[0] as ChannelId, new Uint8Array(10))
  pair.server.machine.closeChannel(server[0] as ChannelId)
  pair.settle()
  assert.is(pair.client.of('channel-closed').length, 1)
  assert.is(pair.client.of('channel-data').length, 0, 'nobody listens after a close')
  assert.is(pair.client.error ?? pair.server.error, undefined)
})

test('a channel closed before it was confirmed goes away', () => {
  const pair = new Pair().connect()
  const channel = pair.client.machine.openChannel('session')
  pair.client.machine.closeChannel(channel)
  pair.settle()
  pair.server.machine.acceptChannel(pair.server.of('channel-open')[0]?.channel as ChannelId)
  pair.settle()
  assert.is(pair.client.of('channel-opened').length, 0)
  assert.is(pair.server.of('channel-closed').length, 1)
})

test('a refused channel tells why', () => {
  const pair = new Pair().connect()
  pair.client.machine.openChannel('direct-tcpip', Uint8Array.of(1, 2))
  pair.settle()
  const offer = pair.server.of('channel-open')[0]
  assert.equal(offer?.typeSpecific, Uint8Array.of(1, 2))
  pair.server.machine.rejectChannel(offer?.channel as ChannelId, 2, 'refused')
  pair.settle()
  const failed = pair.client.of('channel-open-failed')[0]
  assert.equal([failed?.reason, failed?.description], [2, 'refused'])
})

test('channels beyond the limit are refused, not counted', () => {
  const { pair } = withChannels(3, { server: { channelsMax: 3 } })
  pair.client.machine.openChannel('session')
  pair.settle()
  assert.is(pair.client.of('channel-open-failed')[0]?.reason, 4)
  assert.is(pair.server.of('channel-open').length, 3)
})

test('replies come in the order of the requests', () => {
  const { pair, client, server } = withChannels(1)
  const [up] = client as [ChannelId]
  for (const name of ['env', 'pty-req', 'exec']) {
    pair.client.machine.channelRequest(up, name, Uint8Array.of(), true)
  }
  pair.client.machine.globalRequest('keepalive@openssh.com', Uint8Array.of(), true)
  pair.settle()
  for (const ok of [true, false, true]) {
    pair.server.machine.answerChannelRequest(server[0] as ChannelId, ok)
  }
  pair.server.machine.answerChannelRequest(server[0] as ChannelId, true)
  pair.server.machine.answerGlobalRequest(false)
  pair.settle()
  assert.equal(
    pair.client.of('channel-reply').map(({ ok }) => ok),
    [true, false, true],
    'one answer each, and none that nobody asked for',
  )
  assert.equal(
    pair.client.of('global-reply').map(({ ok }) => ok),
    [false],
  )
})

test('requests that pile up without an answer end the connection', () => {
  const { pair, client } = withChannels(1)
  for (let sent = 0; sent < 256; sent++) {
    pair.client.machine.channelRequest(client[0] as ChannelId, 'x', Uint8Array.of(), true)
  }
  assert.throws(
    () => pair.client.machine.channelRequest(client[0] as ChannelId, 'x', Uint8Array.of(), true),
    (error: unknown) => error instanceof SshError && error.code === 'SSH_LIMIT',
  )
  pair.settle()
  assert.is(pair.server.error, undefined)
})

test('a ping comes back where it is offered', () => {
  const { pair } = withChannels(0)
  assert.is(pair.client.machine.ping(Uint8Array.of(7)), true)
  pair.settle()
  assert.equal(pair.client.of('pong')[0]?.data, Uint8Array.of(7))
  assert.is(pair.server.machine.ping(Uint8Array.of(8)), true)
  pair.settle()
  assert.equal(pair.server.of('pong')[0]?.data, Uint8Array.of(8))
  const raw = new RawClient().logIn()
  assert.is(raw.server.machine.ping(Uint8Array.of()), false, 'nothing was told of it')
})

test('disconnect says goodbye', () => {
  const { pair } = withChannels(1)
  pair.client.machine.disconnect(11, 'done')
  pair.settle()
  assert.is(pair.client.of('closed').length, 1)
  assert.is(pair.client.error, undefined)
  assert.is(code(pair.server.error), 'SSH_DISCONNECTED')
  assert.match(pair.server.error?.message ?? '', 'done')
})

test.run()
