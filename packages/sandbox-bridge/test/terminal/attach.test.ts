/** A program joined to streams, which may be slower than it is. */
import { PassThrough, Writable } from 'node:stream'
import type { RemoteProcess } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { SshClient } from '../../src/ssh-client.ts'
import { type AttachOptions, attach } from '../../src/terminal/attach.ts'
import { memorySandbox } from '../memory-sandbox.ts'
import { rejection } from '../rejection.ts'

/** An output that holds all it is given until it is let go. */
class Stalled extends Writable {
  readonly taken: Uint8Array[] = []
  #letGo: () => void = () => undefined
  readonly #going = new Promise<void>((resolve) => {
    this.#letGo = resolve
  })

  letGo(): void {
    this.#letGo()
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, done: () => void): void {
    void this.#going.then(() => {
      this.taken.push(chunk)
      done()
    })
  }
}

async function joined(
  command: string,
  body: (
    program: RemoteProcess,
    stdout: Stalled,
    join: (options?: AttachOptions) => ReturnType<typeof attach>,
  ) => Promise<void>,
): Promise<void> {
  const box = memorySandbox()
  const client: SshClient = await box.sandbox.ssh().openClient()
  try {
    const program = await client.connection.exec(command)
    const [stdin, stdout, stderr] = [new PassThrough(), new Stalled(), new PassThrough()]
    await body(program, stdout, (options) => attach(program, { stdin, stdout, stderr }, options))
  } finally {
    await client.close()
    box.stop()
  }
}

/** What has been settled by now, and what is settled at the next turn. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('a program has ended when the last of its output has been taken', async () => {
  await joined('printf last; exit 3', async (program, stdout, join) => {
    let over = false
    const end = join()
    void end.then(() => {
      over = true
    })
    await program.exit
    await turn()
    assert.is(over, false)
    stdout.letGo()
    assert.equal(await end, { type: 'exited', status: await program.exit })
    assert.is(Buffer.concat(stdout.taken).toString(), 'last')
    assert.is((await program.exit).code, 3)
  })
})

test('who waits for a reader can leave', async () => {
  await joined('printf last', async (program, stdout, join) => {
    const leaving = new AbortController()
    const end = rejection(join({ signal: leaving.signal }))
    await program.exit
    leaving.abort(new Error('enough'))
    assert.is(String(await end), 'Error: enough')
    stdout.letGo()
  })
})

test('what came before a connection was lost is written, and then told of', async () => {
  await joined('printf first; exec cat', async (program, stdout, join) => {
    const end = rejection(join())
    while (stdout.writableLength === 0) await turn()
    const lost = new Error('lost')
    program.close(lost)
    assert.is(await rejection(program.exit), lost)
    stdout.letGo()
    assert.is(await end, lost)
    assert.is(Buffer.concat(stdout.taken).toString(), 'first')
  })
})

test.run()
