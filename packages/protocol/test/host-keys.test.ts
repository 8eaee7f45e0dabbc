import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { generateKey } from '../src/keys/private-key.ts'
import type { PublicKey, Signer } from '../src/keys/public-key.ts'
import type { ServerConnection } from '../src/server.ts'
import { Writer } from '../src/wire/writer.ts'
import { codeOf, connected, hangUp, hostKey } from './connected.ts'
import { rejection, within } from './within.ts'

const LIMIT_MS = 10_000
const others = [generateKey('ed25519'), generateKey('ecdsa-nistp256'), generateKey('rsa-3072')]

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

/** Connects, has the server do something, and tells which keys the client heard of. */
async function heardOf(
  hostKeys: readonly Signer[],
  also: (server: ServerConnection) => void = () => {},
): Promise<readonly (readonly string[])[]> {
  const heard: (readonly string[])[] = []
  const onHostKeys = (keys: readonly PublicKey[]): void => {
    heard.push(keys.map((key) => key.fingerprint()))
  }
  const both = await connected({ client: { onHostKeys }, server: { hostKeys } })
  also(both.server)
  // The server's answer to the question that its announcement caused is before these.
  for (let round = 0; round < 3; round++) await both.client.ping()
  await hangUp(both)
  return heard
}

it('a client hears of the keys that the server announces and proves', async () => {
  const heard = await heardOf([hostKey, ...others])
  const expected = [hostKey, ...others].map(({ publicKey }) => publicKey.fingerprint())
  assert.equal(heard, [expected])
})

it('of keys of which one cannot be proved, none is believed', async () => {
  const [victim, thief] = [generateKey('ed25519'), generateKey('ed25519')]
  const forged: Signer = {
    publicKey: victim.publicKey,
    algorithms: victim.algorithms,
    sign: (data, algorithm) => thief.sign(data, algorithm),
  }
  const failing: Signer = { ...forged, sign: () => Promise.reject(new Error('the token is gone')) }
  assert.equal(await heardOf([hostKey, forged]), [])
  assert.equal(await heardOf([hostKey, failing]), [])
})

it('a second announcement, and keys of unknown kinds, are passed over', async () => {
  const unknown = new Writer().string('ssh-new').string('x').finish()
  const announcement = new Writer().string(unknown).string(hostKey.publicKey.blob).finish()
  const heard = await heardOf([hostKey], (server) => {
    server.globalRequest('hostkeys-00@openssh.com', announcement).catch(() => {})
  })
  assert.equal(heard, [[hostKey.publicKey.fingerprint()]])
})

it('announcements that are malformed or without end do no harm', async () => {
  const many = new Writer()
  for (let at = 0; at < 100; at++) many.string(hostKey.publicKey.blob)
  for (const announcement of [Uint8Array.of(0, 0, 0, 9, 1), many.finish(), new Uint8Array(0)]) {
    let heard = 0
    const both = await connected({
      client: { onHostKeys: () => heard++ },
      server: { announceHostKeys: false },
    })
    const request = both.server.globalRequest('hostkeys-00@openssh.com', announcement)
    assert.is(codeOf(await rejection(request)), 'SSH_REQUEST_REFUSED')
    await both.client.ping()
    await hangUp(both)
    assert.ok(heard === 0 || announcement.length === 0)
  }
})

it('a server proves its own keys only, and signs nothing else', async () => {
  const both = await connected()
  const stranger = generateKey('ed25519').publicKey.blob
  for (const request of [
    new Writer().string(stranger).finish(),
    new Writer().string(hostKey.publicKey.blob).string(stranger).finish(),
    Uint8Array.of(1),
  ]) {
    const proving = both.client.globalRequest('hostkeys-prove-00@openssh.com', request)
    assert.is(codeOf(await rejection(proving)), 'SSH_REQUEST_REFUSED')
  }
  await hangUp(both)
})

it('after the promise of no more sessions none opens, on either side', async () => {
  const both = await connected({ server: { exec: () => 0 } })
  assert.is((await both.client.run('x')).code, 0)
  both.client.noMoreSessions()
  assert.is(codeOf(await rejection(both.client.exec('x'))), 'SSH_REQUEST_REFUSED')
  assert.is(codeOf(await rejection(both.client.session())), 'SSH_REQUEST_REFUSED')
  assert.is(codeOf(await rejection(both.client.openChannel('session'))), 'SSH_CHANNEL_OPEN')
  await hangUp(both)
})

test.run()
