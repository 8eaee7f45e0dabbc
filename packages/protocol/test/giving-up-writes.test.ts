// A write that the peer has no room for is given up by its signal, and so is waiting for a program.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { SessionHandler } from '../src/server-session.ts'
import { codeOf, connected, hangUp } from './connected.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 20_000
/** More than the peer has room for while nobody reads there. */
const tooMuch = new Uint8Array(5 << 20).fill(1)
const behind = new Uint8Array(1000).fill(2)

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

/** All of a stream, once it has ended. */
async function all(read: () => Promise<Uint8Array | undefined>): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  for (let chunk = await read(); chunk !== undefined; chunk = await read()) chunks.push(chunk)
  return chunks
}

const count = (chunks: readonly Uint8Array[], value: number): number =>
  chunks.reduce((sum, chunk) => sum + chunk.filter((byte) => byte === value).length, 0)

it('of a write that is given up the rest is never sent, and the one behind it is', async () => {
  let received: readonly Uint8Array[] = []
  let begin = (): void => {}
  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  const both = await connected({
    server: {
      exec: async (session) => {
        await begun
        received = await all(() => session.read())
        return 0
      },
    },
  })
  const process = await both.client.exec('x', { stderr: 'ignore' })
  const fired = { signal: AbortSignal.abort() }
  assert.is(codeOf(await rejection(process.write(behind, fired))), 'SSH_ABORTED')
  const controller = new AbortController()
  const { signal } = controller
  const writing = rejection(process.write(tooMuch, { signal }))
  const next = process.write(behind, { signal: new AbortController().signal })
  const ending = rejection(process.end({ signal }))
  const flushing = rejection(process.channel.flushed({ signal }))
  await both.client.ping()
  const cause = new Error('enough')
  controller.abort(cause)
  for (const waiting of [writing, ending, flushing]) {
    const error = (await waiting) as Error
    assert.is(codeOf(error), 'SSH_ABORTED')
    assert.is(error.cause, cause)
  }
  begin()
  await next
  assert.equal(await process.exit, { code: 0 })
  const sent = count(received, 1)
  assert.ok(sent > 0 && sent < tooMuch.length, `${sent} bytes`)
  assert.is(count(received, 2), behind.length)
  await hangUp(both)
})

it('output that a server gives up leaves the exit status its way', async () => {
  const codes: unknown[] = []
  const exec: SessionHandler = async (session) => {
    for (const write of ['write', 'writeStderr'] as const) {
      const controller = new AbortController()
      const writing = rejection(session[write](tooMuch, { signal: controller.signal }))
      await both.server.ping()
      controller.abort()
      codes.push(codeOf(await writing))
    }
    return 3
  }
  const both = await connected({ server: { exec } })
  const process = await both.client.exec('x', { stderr: 'pipe' })
  while (codes.length < 2) await both.client.ping()
  const [stdout] = await Promise.all([all(() => process.read()), all(() => process.readStderr())])
  assert.equal(codes, ['SSH_ABORTED', 'SSH_ABORTED'])
  assert.ok(count(stdout, 1) < tooMuch.length)
  assert.equal(await process.exit, { code: 3 })
  await hangUp(both)
})

it('waiting for a program is given up, and the program goes on', async () => {
  const both = await connected({
    server: { exec: async (session) => ((await session.read())?.[0] === 2 ? 4 : 5) },
  })
  const process = await both.client.exec('x', { stderr: 'ignore' })
  const controller = new AbortController()
  const waiting = rejection(process.wait({ signal: controller.signal }))
  controller.abort()
  assert.is(codeOf(await waiting), 'SSH_ABORTED')
  await process.write(behind)
  assert.is(await process.read(), undefined)
  assert.equal(await process.wait(), { code: 4 })
  assert.equal(await process.exit, { code: 4 })
  await hangUp(both)
})

test.run()
