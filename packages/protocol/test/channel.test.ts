// A channel against a port that records commands: what the machine would be asked, in order.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Channel, type ChannelOptions, type ChannelPort, deliver, listen } from '../src/channel.ts'
import { SshError } from '../src/errors.ts'
import { PENDING_REQUESTS_MAX } from '../src/limits.ts'
import { codeOf, text, utf8 } from './connected.ts'
import { rejection, within } from './within.ts'

class RecordingPort implements ChannelPort {
  readonly replyMs = 60_000
  readonly commands: string[] = []
  /** Bytes that may still be granted. */
  room = Number.POSITIVE_INFINITY
  sent = ''

  sendData(channel: number, data: Uint8Array, extended: number): number {
    const granted = Math.min(data.length, this.room)
    this.room -= granted
    this.sent += text(data.subarray(0, granted))
    this.commands.push(`data ${channel} ${granted}/${data.length} ${extended}`)
    return granted
  }
  sendEof(channel: number): void {
    this.commands.push(`eof ${channel}`)
  }
  closeChannel(channel: number): void {
    this.commands.push(`close ${channel}`)
  }
  consume(channel: number, bytes: number): void {
    this.commands.push(`consume ${channel} ${bytes}`)
  }
  widen(channel: number, windowBytes: number): void {
    this.commands.push(`widen ${channel} ${windowBytes}`)
  }
  channelRequest(channel: number, name: string, _data: Uint8Array, wantReply: boolean): void {
    this.commands.push(`request ${channel} ${name} ${wantReply}`)
  }
  answerChannelRequest(channel: number, ok: boolean): void {
    this.commands.push(`answer ${channel} ${ok}`)
  }
}

function make(options: Partial<ChannelOptions> = {}): { port: RecordingPort; channel: Channel } {
  const port = new RecordingPort()
  const channel = new Channel(5, 'session', port, {
    stderr: 'pipe',
    closeWhenEnded: false,
    ...options,
  })
  return { port, channel }
}

const data = (body: string, extended = 0) =>
  ({ type: 'channel-data', channel: 5, data: utf8(body), extended }) as const
const eof = { type: 'channel-eof', channel: 5 } as const
const closed = { type: 'channel-closed', channel: 5 } as const
const writable = { type: 'channel-writable', channel: 5 } as const
const lost = {
  type: 'connection-closed',
  error: new SshError('SSH_CONNECTION_LOST', 'gone'),
} as const

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(5000, run(), name))
}

it('credit goes back when the reader takes, not when bytes arrive', async () => {
  const { port, channel } = make()
  deliver(channel, data('one'))
  deliver(channel, data('three'))
  assert.equal(port.commands, [])
  assert.is(text(await channel.read()), 'one')
  assert.equal(port.commands, ['consume 5 3'])
  await channel.read()
  const waiting = channel.read()
  deliver(channel, data('x'))
  assert.is(text(await waiting), 'x')
  assert.equal(port.commands, ['consume 5 3', 'consume 5 5', 'consume 5 1'])
})

it('a lazily made stream takes nothing before it is read', async () => {
  const { port, channel } = make()
  deliver(channel, data('abc'))
  const reader = channel.readable.getReader()
  await Promise.resolve()
  assert.equal(port.commands, [])
  assert.is(text((await reader.read()).value), 'abc')
  assert.equal(port.commands, ['consume 5 3'])
})

it('a write resolves when its last byte was granted, and EOF follows the last write', async () => {
  const { port, channel } = make()
  port.room = 4
  const order: string[] = []
  const first = channel.write(utf8('abcdef')).then(() => order.push('first'))
  const second = channel.write(utf8('gh')).then(() => order.push('second'))
  const third = channel.writeStderr(utf8('ij')).then(() => order.push('third'))
  const end = channel.close().then(() => order.push('end'))
  await Promise.resolve()
  assert.equal(order, [])
  port.room = 3
  deliver(channel, writable)
  await first
  assert.equal(order, ['first'])
  port.room = 100
  deliver(channel, writable)
  await Promise.all([second, third, end])
  assert.equal(order, ['first', 'second', 'third', 'end'])
  assert.is(port.sent, 'abcdefghij')
  assert.is(port.commands.at(-1), 'eof 5')
  assert.is(codeOf(await rejection(channel.write(utf8('x')))), 'SSH_CHANNEL_CLOSED')
  await channel.close()
  assert.is(port.commands.filter((command) => command === 'eof 5').length, 1)
})

it('what is not bytes is refused', async () => {
  const { port, channel } = make()
  assert.instance(await rejection(channel.write('text' as never)), TypeError)
  assert.equal(port.commands, [])
})

it('after CLOSE what had come is still read, and the id is named no more', async () => {
  const { port, channel } = make()
  port.room = 0
  const writing = rejection(channel.write(utf8('stuck')))
  const request = rejection(channel.request('x'))
  deliver(channel, data('rest'))
  deliver(channel, closed)
  const before = port.commands.length
  assert.is(codeOf(await writing), 'SSH_CHANNEL_CLOSED')
  assert.is(codeOf(await request), 'SSH_CHANNEL_CLOSED')
  await channel.closed
  assert.is(text(await channel.read()), 'rest')
  assert.is(await channel.read(), undefined)
  channel.notify('x')
  channel.abort()
  await channel.close()
  channel.discard()
  assert.is(codeOf(await rejection(channel.request('x'))), 'SSH_CHANNEL_CLOSED')
  assert.is(port.commands.length, before)
})

it('a lost connection rejects reads behind what had come, unless EOF had', async () => {
  const cut = make()
  deliver(cut.channel, data('x'))
  deliver(cut.channel, lost)
  await cut.channel.read()
  assert.is(await rejection(cut.channel.read()), lost.error)
  assert.is(cut.channel.failure, lost.error)
  const ended = make()
  deliver(ended.channel, eof)
  deliver(ended.channel, lost)
  assert.is(await ended.channel.read(), undefined)
})

it('abort sends CLOSE once, drops what is unread and rejects with its reason', async () => {
  const { port, channel } = make()
  const reason = new Error('enough')
  deliver(channel, data('unread'))
  port.room = 0
  const writing = rejection(channel.write(utf8('x')))
  channel.abort(reason)
  channel.abort()
  assert.is(await writing, reason)
  assert.is(await rejection(channel.read()), reason)
  assert.is(await rejection(channel.write(utf8('x'))), reason)
  deliver(channel, data('late'))
  deliver(channel, closed)
  await channel.closed
  assert.equal(
    port.commands.filter((command) => !command.startsWith('data')),
    ['close 5'],
  )
})

it('a channel that closes itself does so when both sides have ended', async () => {
  for (const order of ['ours first', 'theirs first']) {
    const { port, channel } = make({ closeWhenEnded: true })
    deliver(channel, data('x'))
    if (order === 'ours first') await channel.close()
    deliver(channel, eof)
    if (order === 'theirs first') await channel.close()
    assert.is(port.commands.at(-1), 'close 5', order)
    assert.is(text(await channel.read()), 'x')
    assert.is(await channel.read(), undefined)
  }
})

it('stderr is apart, merged or dropped; unknown extended data is always dropped', async () => {
  const merged = make({ stderr: 'merge' })
  deliver(merged.channel, data('a', 1))
  assert.is(text(await merged.channel.read()), 'a')
  const ignored = make({ stderr: 'ignore' })
  deliver(ignored.channel, data('abc', 1))
  assert.equal(ignored.port.commands, ['consume 5 3'])
  const unknown = make({ stderr: 'pipe' })
  deliver(unknown.channel, data('ab', 7))
  assert.equal(unknown.port.commands, ['consume 5 2'])
})

it('discarding credits what waits and what comes', async () => {
  const { port, channel } = make()
  deliver(channel, data('ab'))
  deliver(channel, data('abc', 1))
  channel.discardStderr()
  channel.discard()
  deliver(channel, data('x'))
  deliver(channel, data('y', 1))
  assert.equal(port.commands, ['consume 5 3', 'consume 5 2', 'consume 5 1', 'consume 5 1'])
  assert.is(channel.drained, true)
})

it('replies come in the order of asking, and too many requests are refused here', async () => {
  const { channel } = make()
  const replies = Array.from({ length: PENDING_REQUESTS_MAX }, (_, at) => channel.request(`r${at}`))
  assert.is(codeOf(await rejection(channel.request('one more'))), 'SSH_LIMIT')
  for (let at = 0; at < replies.length; at++) {
    deliver(channel, { type: 'channel-reply', channel: 5, ok: at % 3 === 0 })
  }
  const granted = await Promise.all(replies)
  assert.ok(granted.every((ok, at) => ok === (at % 3 === 0)))
})

it('requests of the peer are answered in order, if an answer is wanted', async () => {
  const { port, channel } = make()
  const seen: string[] = []
  const request = (name: string, wantReply: boolean) =>
    ({
      type: 'channel-request',
      channel: 5,
      request: name,
      data: new Uint8Array(0),
      wantReply,
    }) as const
  deliver(channel, request('before', true))
  listen(
    channel,
    (name) => {
      seen.push(name)
      return name === 'yes'
    },
    () => {},
  )
  deliver(channel, request('yes', true))
  deliver(channel, request('quiet', false))
  deliver(channel, request('no', true))
  assert.equal(port.commands, ['answer 5 false', 'answer 5 true', 'answer 5 false'])
  assert.equal(seen, ['yes', 'quiet', 'no'])
})

it('refusing stdout rejects its writes and lets stderr through', async () => {
  const { port, channel } = make()
  port.room = 0
  const reason = new Error('nobody reads')
  const stdout = rejection(channel.write(utf8('out')))
  const stderr = channel.writeStderr(utf8('err'))
  channel.refuseWrites(reason)
  assert.is(await stdout, reason)
  assert.is(await rejection(channel.write(utf8('more'))), reason)
  port.room = 100
  deliver(channel, writable)
  await stderr
  await channel.flushed()
  assert.is(port.sent, 'err')
})

it('aborting the writable stream closes the channel, cancelling the readable discards', async () => {
  const { port, channel } = make()
  await channel.readable.cancel()
  deliver(channel, data('x'))
  assert.equal(port.commands, ['consume 5 1'])
  await channel.writable.abort(new Error('source failed'))
  assert.is(port.commands.at(-1), 'close 5')
})

test.run()
