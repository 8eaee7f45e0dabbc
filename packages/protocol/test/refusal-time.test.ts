// The time of a refusal tells nothing of what was looked up.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { publickey } from '../src/auth-methods.ts'
import { connect } from '../src/client.ts'
import { defaultCrypto } from '../src/crypto/native.ts'
import { AuthenticationError } from '../src/errors.ts'
import { memoryPair } from '../src/io/memory.ts'
import { generateKey } from '../src/keys/private-key.ts'
import { refusalMs, refusalTime } from '../src/refusal-time.ts'
import { serve } from '../src/server.ts'
import { clientOptions, serverOptions } from './connected.ts'
import { rejection, within } from './within.ts'

const crypto = defaultCrypto()

test('checks of different lengths are refused at the same time', () => {
  const [fast, slow] = [0.01, 4.9].map((ms) => refusalMs(crypto, 'ada', ms))
  assert.is(fast, slow)
  assert.ok((fast ?? 0) >= 5 && (fast ?? 0) < 10)
  // Longer ones fall into few classes, each twice the one before.
  const times = Array.from({ length: 1000 }, (_, ms) => refusalMs(crypto, 'ada', ms))
  assert.ok(new Set(times).size <= 9)
  for (const [ms, time] of times.entries()) assert.ok(time >= ms)
})

test('each user has a time of his own, always the same', () => {
  const names = Array.from({ length: 50 }, (_, at) => `user${at}`)
  const times = names.map((name) => refusalMs(crypto, name, 0))
  assert.equal(
    times,
    names.map((name) => refusalMs(crypto, name, 0)),
  )
  assert.ok(new Set(times).size > 40)
})

test('a refusal waits for its time, also that of a handler that throws', async () => {
  const startMs = performance.now()
  await refusalTime(crypto, 'ada', startMs)
  // Timers of some runtimes fire up to a millisecond early.
  assert.ok(performance.now() - startMs >= refusalMs(crypto, 'ada', 0) - 2)
  const errors: unknown[] = []
  const [left, right] = memoryPair()
  const auth = {
    publickey: (): never => {
      throw new Error('no such user')
    },
  }
  const serving = rejection(
    serve(right, serverOptions({ auth, onError: (error) => errors.push(error) })),
  )
  const login = connect(left, clientOptions({ auth: [publickey(generateKey('ed25519'))] }))
  assert.instance(await within(10_000, rejection(login)), AuthenticationError)
  await serving
  assert.match(String(errors[0]), 'no such user')
})

test.run()
