// What a server demands of security keys: a touch, unless line and certificate both do without.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Attestation } from '../src/algorithms/security-keys.ts'
import { publickey } from '../src/auth-methods.ts'
import { connect } from '../src/client.ts'
import { AuthenticationError } from '../src/errors.ts'
import { memoryPair } from '../src/io/memory.ts'
import { authorize } from '../src/keys/authorization.ts'
import { parseAuthorizedKeys } from '../src/keys/authorized-keys.ts'
import { certified, issueCertificate } from '../src/keys/certificate.ts'
import { pinned } from '../src/keys/known-hosts.ts'
import { generateKey } from '../src/keys/private-key.ts'
import type { Signer } from '../src/keys/public-key.ts'
import { serve } from '../src/server.ts'
import type { ServerAuthHandlers } from '../src/server-auth.ts'
import { clientOptions, serverOptions } from './connected.ts'
import { softSecurityKey } from './suites/soft-security-key.ts'
import { within } from './within.ts'

const LIMIT_MS = 10_000
const TOUCHED = 1
const VERIFIED = 4

/** Whether the key gets in. */
async function enters(signer: Signer, auth: ServerAuthHandlers): Promise<boolean> {
  const [left, right] = memoryPair()
  const [served, connected] = await Promise.allSettled([
    serve(right, serverOptions({ auth })),
    connect(left, clientOptions({ auth: [publickey(signer)] })),
  ])
  if (connected.status === 'rejected') {
    assert.instance(connected.reason, AuthenticationError)
    return false
  }
  if (served.status === 'rejected') throw served.reason
  assert.ok(served.value.publicKey?.equals(signer.publicKey))
  await Promise.all([connected.value.close(), served.value.closed])
  return true
}

/** A server that lets in whom the lines let in. */
function lines(text: string): ServerAuthHandlers {
  const { keys, errors } = parseAuthorizedKeys(text, {
    honours: ['cert-authority', 'verify-required'],
  })
  assert.equal(errors, [])
  return { publickey: ({ key, username }) => authorize(keys, { key, username }) ?? false }
}

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

it('a handler that only says yes lets in nobody who did not touch the key', async () => {
  const key = softSecurityKey()
  const seen: (Attestation | undefined)[] = []
  const auth: ServerAuthHandlers = {
    publickey: ({ probe, attestation }) => {
      if (probe) assert.is(attestation, undefined)
      else seen.push(attestation)
      return true
    },
  }
  assert.ok(await enters(key, auth))
  key.flags = VERIFIED
  assert.not(await enters(key, auth))
  assert.equal(seen, [
    { touched: true, verified: false, counter: 1 },
    { touched: false, verified: true, counter: 2 },
  ])
})

it('no-touch-required and verify-required of a line count', async () => {
  const key = softSecurityKey()
  const cases: readonly (readonly [string, number, boolean])[] = [
    ['', 0, false],
    ['', TOUCHED, true],
    ['no-touch-required ', 0, true],
    ['verify-required ', TOUCHED, false],
    ['verify-required ', VERIFIED, false],
    ['verify-required ', TOUCHED | VERIFIED, true],
    ['no-touch-required,verify-required ', VERIFIED, true],
    ['no-touch-required,verify-required ', TOUCHED, false],
  ]
  for (const [options, flags, expected] of cases) {
    key.flags = flags
    const entered = await enters(key, lines(`${options}${key.publicKey}`))
    assert.is(entered, expected, `"${options}" with flags ${flags}`)
  }
})

it('a certificate does without a touch only if the line of its authority does too', async () => {
  const key = softSecurityKey()
  const authority = generateKey('ed25519')
  const shown = async (
    criticalOptions: Readonly<Record<string, string>>,
    extensions: Readonly<Record<string, string>>,
  ): Promise<Signer> => {
    const certificate = await issueCertificate(authority, {
      key: key.publicKey,
      role: 'user',
      principals: ['ada'],
      keyId: 'ada',
      validBeforeMs: Date.now() + 600_000,
      criticalOptions,
      extensions,
    })
    return certified(key, certificate)
  }
  const line = (options: string): ServerAuthHandlers =>
    lines(`cert-authority${options} ${authority.publicKey}`)
  const noTouch = { 'no-touch-required': '' }
  key.flags = 0
  assert.not(await enters(await shown({}, {}), line('')))
  assert.not(await enters(await shown({}, noTouch), line('')))
  assert.not(await enters(await shown({}, {}), line(',no-touch-required')))
  assert.ok(await enters(await shown({}, noTouch), line(',no-touch-required')))
  key.flags = TOUCHED
  assert.not(await enters(await shown({ 'verify-required': '' }, {}), line('')))
  key.flags = TOUCHED | VERIFIED
  assert.ok(await enters(await shown({ 'verify-required': '' }, {}), line('')))
})

it('a first step needs its touch as well, and a key that failed is not the key of the user', async () => {
  const key = softSecurityKey()
  const auth: ServerAuthHandlers = {
    publickey: ({ key: shown }) =>
      shown.equals(key.publicKey)
        ? { continueWith: ['publickey'] }
        : { accept: true, touchRequired: false },
  }
  key.flags = 0
  assert.not(await enters(key, auth))
  const decided: ServerAuthHandlers = {
    // A decision with a slip of the pen must not let in.
    publickey: (): never => ({ accept: 'true', touchRequired: false }) as never,
  }
  assert.not(await enters(key, decided))
  const strict: ServerAuthHandlers = {
    publickey: (): never => ({ accept: true, touchRequired: 0 }) as never,
  }
  assert.not(await enters(key, strict))
})

it('nobody needs to touch the key of a host', async () => {
  const key = softSecurityKey()
  key.flags = 0
  const [left, right] = memoryPair()
  const [server, client] = await Promise.all([
    serve(right, serverOptions({ hostKeys: [key] })),
    connect(left, clientOptions({ hostKey: pinned(key.publicKey) })),
  ])
  assert.is(client.negotiated.hostKey, key.publicKey.type)
  await Promise.all([client.close(), server.closed])
})

test.run()
