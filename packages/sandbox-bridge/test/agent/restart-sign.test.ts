/** Noticing on a console that the other end has begun anew in the middle of a frame. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { encodeData, encodeMessage } from '../../src/agent/envelope.ts'
import { FrameDecoder } from '../../src/agent/frame.ts'
import { RestartSign } from '../../src/agent/restart-sign.ts'

const hello = encodeMessage(0, 'core.init.resolved', { default_user: { uid: 0, gid: 0 } })
const data = encodeData(7, 'core.exec.stdout', new Uint8Array(1000))

/** A decoder that has been given these bytes, and the sign a while later. */
function after(bytes: Uint8Array, pauseMs: number) {
  let now = 1000
  const decoder = new FrameDecoder()
  const sign = new RestartSign('core.init.resolved', () => now)
  assert.not(sign.isGivenBy(bytes, decoder))
  decoder.push(bytes)
  while (decoder.next() !== undefined);
  now += pauseMs
  return { decoder, sign }
}

test('first words after a pause, where the rest of a frame should come, are a new beginning', () => {
  const { decoder, sign } = after(data.subarray(0, 600), 250)
  assert.ok(sign.isGivenBy(hello, decoder))
  decoder.reset()
  decoder.push(hello)
  assert.is(decoder.next()?.id, 0)
  assert.ok(decoder.idle)
})

test('without a pause they are data, which anybody can print', () => {
  const { decoder, sign } = after(data.subarray(0, 600), 249)
  assert.not(sign.isGivenBy(hello, decoder))
})

test('between frames they need no sign, and other words are none', () => {
  const whole = after(data, 1000)
  assert.not(whole.sign.isGivenBy(hello, whole.decoder))
  for (const other of [
    data.subarray(600),
    hello.subarray(0, 20),
    new Uint8Array(3),
    new Uint8Array(64).fill(255),
    encodeMessage(0, 'core.init.ack', {}),
    encodeMessage(5, 'core.init.resolved', { default_user: { uid: 0, gid: 0 } }),
  ]) {
    const { decoder, sign } = after(data.subarray(0, 600), 1000)
    assert.not(sign.isGivenBy(other, decoder))
  }
})

test.run()
