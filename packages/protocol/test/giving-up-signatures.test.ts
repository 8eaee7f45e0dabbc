// Who signs hears when nobody waits for the signature any more.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { agentClient } from '../src/agent/client.ts'
import { Keyring } from '../src/agent/keyring.ts'
import { serveAgent } from '../src/agent/server.ts'
import { publickey } from '../src/auth-methods.ts'
import { connect } from '../src/client.ts'
import { memoryPair } from '../src/io/memory.ts'
import { certified, issueCertificate } from '../src/keys/certificate.ts'
import { generateKey } from '../src/keys/private-key.ts'
import type { Signer } from '../src/keys/public-key.ts'
import { signMessage } from '../src/keys/ssh-signature.ts'
import { serve } from '../src/server.ts'
import { clientOptions, codeOf, hostKey, serverOptions, userKey } from './connected.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 20_000

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

/** One that waits to be touched, which never happens; it tells when it begins and when it stops. */
function untouched(key: Signer): {
  readonly signer: Signer
  readonly begun: Promise<void>
  readonly stopped: Promise<unknown>
} {
  let begin = (): void => {}
  let stop = (_reason: unknown): void => {}
  return {
    begun: new Promise((resolve) => {
      begin = resolve
    }),
    stopped: new Promise((resolve) => {
      stop = resolve
    }),
    signer: {
      publicKey: key.publicKey,
      algorithms: key.algorithms,
      sign: (_data, _algorithm, options) =>
        new Promise((_, reject) => {
          const { signal } = options ?? {}
          if (signal === undefined) throw new Error('no signal was given')
          signal.addEventListener('abort', () => {
            stop(signal.reason)
            reject(signal.reason)
          })
          begin()
        }),
    },
  }
}

it("a user's signer stops when the login is given up, under a certificate too", async () => {
  const certificate = await issueCertificate(userKey, {
    ...{ key: userKey.publicKey, role: 'user', principals: ['ada'], keyId: 'x' },
    validBeforeMs: Date.now() + 3_600_000,
  })
  for (const shown of [(signer: Signer) => signer, (it: Signer) => certified(it, certificate)]) {
    const [near, far] = memoryPair()
    const served = rejection(serve(far, serverOptions({ auth: { publickey: () => true } })))
    const { signer, begun, stopped } = untouched(userKey)
    const controller = new AbortController()
    const auth = [publickey(shown(signer))]
    const connecting = connect(near, { ...clientOptions({ auth }), signal: controller.signal })
    const failed = rejection(connecting)
    await begun
    controller.abort()
    assert.is(codeOf(await failed), 'SSH_ABORTED')
    assert.is(codeOf(await stopped), 'SSH_ABORTED')
    await served
  }
})

it("a server's signer stops when the client is gone", async () => {
  const [near, far] = memoryPair()
  const { signer, begun, stopped } = untouched(hostKey)
  const served = rejection(serve(far, serverOptions({ hostKeys: [signer] })))
  const controller = new AbortController()
  const failed = rejection(connect(near, { ...clientOptions(), signal: controller.signal }))
  await begun
  controller.abort()
  assert.instance(await stopped, Error)
  await Promise.all([served, failed])
})

it('an agent is not waited for: by its signers, for a message, for a certificate', async () => {
  const [near, far] = memoryPair()
  const keyring = new Keyring({ confirm: () => new Promise(() => {}) })
  keyring.add(userKey, { confirm: true })
  serveAgent(far, keyring).catch(() => {})
  const agent = agentClient(near)
  const [signer] = await agent.list()
  assert.ok(signer)
  const attempts: ((signal: AbortSignal) => unknown)[] = [
    (signal) => signer.sign(new Uint8Array(8), 'ssh-ed25519', { signal }),
    (signal) => signMessage(signer, new Uint8Array(8), 'file', { signal }),
    (signal) =>
      issueCertificate(signer, {
        ...{ key: generateKey('ed25519').publicKey, role: 'user', principals: ['ada'] },
        ...{ keyId: 'x', validBeforeMs: Date.now() + 3_600_000, signal },
      }),
  ]
  for (const attempt of attempts) {
    const controller = new AbortController()
    const waiting = rejection(Promise.resolve(attempt(controller.signal)))
    controller.abort()
    assert.is(codeOf(await waiting), 'SSH_ABORTED')
  }
  await agent.close()
})

test.run()
