import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SshError } from '../../src/errors.ts'
import { webStreams } from '../../src/io/web-streams.ts'
import { transportSuite } from '../suites/transport.ts'
import { rejection } from '../within.ts'

transportSuite(
  'web streams',
  async () => {
    const bytes = new CountQueuingStrategy({ highWaterMark: 2 })
    const there = new TransformStream<Uint8Array, Uint8Array>(copying, bytes)
    const back = new TransformStream<Uint8Array, Uint8Array>(copying, bytes)
    return [
      webStreams({ readable: back.readable, writable: there.writable }),
      webStreams({ readable: there.readable, writable: back.writable }),
    ]
  },
  { halfClose: true, bufferedBytesMax: 4 * 64 * 1024 },
)

/** An identity transform would hand the writer's own buffer to the reader. */
const copying = {
  transform(chunk: Uint8Array, controller: TransformStreamDefaultController<Uint8Array>) {
    controller.enqueue(chunk.slice())
  },
}

function failing(error: Error): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.error(error) })
}

test('a stream that fails is a transport error with the failure as its cause', async () => {
  const cause = new Error('the line is down')
  const transport = webStreams({ readable: failing(cause), writable: new WritableStream() })
  const error = (await rejection(transport.read())) as SshError
  assert.instance(error, SshError)
  assert.is(error.code, 'SSH_TRANSPORT')
  assert.match(error.message, 'the line is down')
  assert.is(error.cause, cause)
})

test('a stream of something else than bytes is refused', async () => {
  const readable = new ReadableStream<unknown>({
    start: (controller) => controller.enqueue('text'),
  }) as ReadableStream<Uint8Array>
  const error = await rejection(webStreams({ readable, writable: new WritableStream() }).read())
  assert.is((error as SshError).code, 'SSH_TRANSPORT')
})

test.run()
