/** The proxy's requests, byte by byte and malformed. */
import { ChannelOpenError, memoryPair, OPEN_FAILURE, SshError } from '@sandbox-ssh/protocol'
import * as fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readSocksRequest, type SocksRequest } from '../src/forwards/socks.ts'
import { within } from './within.ts'

const test = suite('socks')
const ascii = (text: string): number[] => [...Buffer.from(text, 'latin1')]
const name = ascii('web.example')

const requests: readonly [string, readonly number[], string][] = [
  ['SOCKS 4', [4, 1, 0x1f, 0x90, 10, 0, 0, 7, ...ascii('me'), 0], '10.0.0.7:8080'],
  ['SOCKS 4a', [4, 1, 0, 80, 0, 0, 0, 1, 0, ...name, 0], 'web.example:80'],
  ['SOCKS 5 IPv4', [5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 22], '127.0.0.1:22'],
  ['SOCKS 5 name', [5, 2, 2, 0, 5, 1, 0, 3, name.length, ...name, 1, 0xbb], 'web.example:443'],
  [
    'SOCKS 5 IPv6',
    [5, 1, 0, 5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 1, 0, 80],
    '2001:db8:0:0:0:0:0:1:80',
  ],
]

/** Feeds `bytes`, in pieces of `size`, and ends. */
async function ask(bytes: readonly number[], size: number): Promise<[SocksRequest, () => unknown]> {
  const [ours, theirs] = memoryPair()
  const sent = Uint8Array.from(bytes)
  const feeding = (async () => {
    for (let at = 0; at < sent.length; at += size) await theirs.write(sent.slice(at, at + size))
    await theirs.close()
  })()
  const request = await readSocksRequest(ours)
  await feeding
  return [request, () => theirs.read()]
}

for (const [title, bytes, expected] of requests) {
  test(`${title}, in any pieces, and what follows belongs to the destination`, () =>
    within(10_000, async () => {
      for (const size of [1, 3, 1000]) {
        const [request] = await ask([...bytes, ...ascii('early data')], size)
        assert.is(`${request.host}:${request.port}`, expected)
        let rest = ''
        for (let chunk = await request.transport.read(); chunk !== undefined; ) {
          rest += Buffer.from(chunk).toString()
          chunk = await request.transport.read()
        }
        assert.is(rest, 'early data')
      }
    }))
}

test('refusals say why as far as the protocol can', async () => {
  const reply = async (bytes: readonly number[], error: unknown): Promise<unknown> => {
    const [request, read] = await ask(bytes, 1000)
    if (bytes[0] === 5) await read()
    await request.refuse(error)
    return [...((await read()) as Uint8Array)].slice(0, 2)
  }
  const [[, four = []] = [], , [, five = []] = []] = requests
  const failure = (reason: number): ChannelOpenError => new ChannelOpenError(reason, 'no')
  assert.equal(await reply(four, failure(OPEN_FAILURE.CONNECT_FAILED)), [0, 0x5b])
  assert.equal(await reply(five, failure(OPEN_FAILURE.CONNECT_FAILED)), [5, 5])
  assert.equal(await reply(five, failure(OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED)), [5, 2])
  assert.equal(await reply(five, new Error('anything')), [5, 1])
})

test('what is no request is refused, and only with an SshError', async () => {
  for (const bytes of [
    ascii('GET / HTTP/1.1\r\n'),
    [5, 1, 2],
    [5, 1, 0, 5, 2, 0, 1, 1, 1, 1, 1, 0, 1],
    [5, 1, 0, 5, 1, 0, 9, 1],
    [5, 1, 0, 5, 1, 0, 3, 2, 0, 65, 0, 1],
    [5, 1, 0, 5, 1, 0, 3, 0, 0, 1],
    [4, 2, 0, 1, 1, 1, 1, 1, 0],
    [4, 1, 0, 1, 1, 1, 1, 1, ...Array(1000).fill(65)],
    [4],
    [],
  ]) {
    try {
      await ask(bytes, 1000)
      assert.unreachable(`${bytes} was taken`)
    } catch (error) {
      assert.ok(error instanceof SshError && error.code === 'SSH_PROTOCOL', String(error))
    }
  }
})

test('random bytes never do more', () =>
  fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(4, 5), async (tail, v) => {
      try {
        const [request] = await ask([v, ...tail], 1000)
        assert.match(request.host, /^[\x21-\x7e]+$/)
      } catch (error) {
        assert.ok(error instanceof SshError, String(error))
      }
    }),
    { numRuns: 300 },
  ))

test.run()
