import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { agentClient } from '../../src/agent/client.ts'
import { Keyring, type KeyringOptions } from '../../src/agent/keyring.ts'
import { AGENT_MESSAGE_BYTES_MAX, AgentStream, sessionBind } from '../../src/agent/messages.ts'
import { type ServeAgentOptions, serveAgent } from '../../src/agent/server.ts'
import { modern } from '../../src/algorithms/modern.ts'
import { publickey } from '../../src/auth-methods.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import { ignore } from '../../src/deferred.ts'
import { SshError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { issueCertificate, plainKey } from '../../src/keys/certificate.ts'
import { generateKey, type PrivateKey } from '../../src/keys/private-key.ts'
import type { PublicKey, Signer } from '../../src/keys/public-key.ts'
import { Writer } from '../../src/wire/writer.ts'
import { codeOf, connected, gate, hangUp, userKey, utf8 } from '../connected.ts'
import { rejection, within } from '../within.ts'

const LIMIT_MS = 20_000
const crypto = defaultCrypto()
const data = utf8('to be signed')

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

function joined(keyring: Keyring, options: ServeAgentOptions = {}) {
  const [left, right] = memoryPair()
  const serving = serveAgent(right, keyring, options)
  serving.catch(ignore)
  return { agent: agentClient(left), transport: left, serving }
}

/** A client over a transport whose other end is under the test's control. */
function scripted() {
  const [left, right] = memoryPair()
  return { agent: agentClient(left), stream: new AgentStream(right), transport: right }
}

function verify(key: PublicKey, algorithm: string, signature: Uint8Array): boolean {
  const spec = modern(crypto).userKeys.find(({ name }) => name === algorithm)
  return spec?.verify(crypto, key, data, signature) === true
}

async function only(signers: Promise<readonly Signer[]>): Promise<Signer> {
  const [signer, ...others] = await signers
  assert.equal(others, [])
  assert.ok(signer)
  return signer as Signer
}

const keys: readonly [string, PrivateKey][] = [
  ['ed25519', generateKey('ed25519', { comment: 'one' })],
  ['ecdsa-nistp256', generateKey('ecdsa-nistp256', { comment: 'two' })],
  ['ecdsa-nistp521', generateKey('ecdsa-nistp521', { comment: 'three' })],
]

for (const [kind, key] of keys) {
  it(`${kind}: added, listed, used and removed, plain and under a certificate`, async () => {
    const { agent, serving } = joined(new Keyring())
    await agent.add(key)
    const signer = await only(agent.list())
    assert.is(signer.publicKey.toString(), key.publicKey.toString())
    const [algorithm = ''] = signer.algorithms
    assert.ok(verify(key.publicKey, algorithm, await signer.sign(data, algorithm)))

    const certificate = await issueCertificate(generateKey('ed25519'), {
      key: key.publicKey,
      role: 'user',
      principals: ['ada'],
      keyId: 'test',
      validBeforeMs: Date.now() + 1e6,
    })
    await agent.remove(key.publicKey)
    await agent.add(key, { certificate, comment: 'certified' })
    const certifiedSigner = await only(agent.list())
    assert.is(certifiedSigner.publicKey.comment, 'certified')
    assert.ok(plainKey(certifiedSigner.publicKey).equals(key.publicKey))
    const [name = ''] = certifiedSigner.algorithms
    assert.ok(verify(certificate, name, await certifiedSigner.sign(data, name)))

    await agent.removeAll()
    assert.equal(await agent.list(), [])
    await agent.close()
    await serving.catch(ignore)
  })
}

it('an RSA key signs with the hash that is asked for, never with SHA-1', async () => {
  const keyring = new Keyring()
  const { agent } = joined(keyring)
  const key = generateKey('rsa-3072')
  await agent.add(key)
  const signer = await only(agent.list())
  assert.equal(signer.algorithms, ['rsa-sha2-512', 'rsa-sha2-256'])
  for (const algorithm of signer.algorithms) {
    assert.ok(verify(key.publicKey, algorithm, await signer.sign(data, algorithm)))
  }
  assert.is(codeOf(await rejection(agent.sign(key.publicKey, data, 'ssh-rsa'))), 'SSH_SIGN')
  await agent.close()
})

it('a connection authenticates with what an agent holds', async () => {
  const keyring = new Keyring()
  keyring.add(generateKey('ed25519'))
  keyring.add(userKey)
  const { agent } = joined(keyring)
  const both = await connected({ client: { auth: [publickey(() => agent.list())] } })
  await hangUp(both)
  await agent.close()
})

it('requests at once are answered each with its own', async () => {
  const { agent } = joined(new Keyring())
  const key = keys[0]?.[1] as PrivateKey
  const results = await Promise.all([
    agent.list(),
    agent.add(key),
    agent.list(),
    agent.sign(key.publicKey, data, 'ssh-ed25519'),
    agent.remove(key.publicKey),
    agent.list(),
  ])
  assert.is(results[0].length, 0)
  assert.is(results[2].length, 1)
  assert.ok(verify(key.publicKey, 'ssh-ed25519', results[3]))
  assert.is(results[5].length, 0)
  await agent.close()
})

it('a locked agent shows, signs, takes and removes nothing', async () => {
  const { agent } = joined(new Keyring())
  const key = keys[0]?.[1] as PrivateKey
  await agent.add(key)
  await agent.lock('sesame')
  assert.equal(await agent.list(), [])
  for (const attempt of [
    () => agent.sign(key.publicKey, data, 'ssh-ed25519'),
    () => agent.add(key),
    () => agent.remove(key.publicKey),
    () => agent.removeAll(),
    () => agent.lock('again'),
    () => agent.unlock('open'),
  ]) {
    assert.instance(await rejection(attempt()), SshError)
  }
  await agent.unlock('sesame')
  assert.is((await agent.list()).length, 1)
  assert.is(codeOf(await rejection(agent.unlock('sesame'))), 'SSH_REQUEST_REFUSED')
  await agent.close()
})

it('a key that must be confirmed signs only when somebody agrees', async () => {
  let agree = false
  const options: KeyringOptions = { confirm: () => agree }
  const { agent } = joined(new Keyring(options))
  const key = keys[0]?.[1] as PrivateKey
  await agent.add(key, { confirm: true })
  const sign = (): Promise<Uint8Array> => agent.sign(key.publicKey, data, 'ssh-ed25519')
  assert.is(codeOf(await rejection(sign())), 'SSH_SIGN')
  agree = true
  assert.ok(verify(key.publicKey, 'ssh-ed25519', await sign()))
  await agent.close()

  const { agent: alone } = joined(new Keyring())
  assert.is(codeOf(await rejection(alone.add(key, { confirm: true }))), 'SSH_REQUEST_REFUSED')
  await alone.close()
})

it('a confirmation that comes after the lock does not count', async () => {
  const [asked, agreed] = [gate(), gate<boolean>()]
  const keyring = new Keyring({
    confirm: () => {
      asked.open()
      return agreed.opened
    },
  })
  const key = keys[0]?.[1] as PrivateKey
  keyring.add(key, { confirm: true })
  const signing = rejection(keyring.sign(key.publicKey, data, 'ssh-ed25519'))
  await asked.opened
  keyring.lock(utf8('x'))
  agreed.open(true)
  assert.is(codeOf(await signing), 'SSH_SIGN')
})

it('a key is forgotten at the end of its lifetime', async () => {
  const keyring = new Keyring()
  const key = keys[0]?.[1] as PrivateKey
  keyring.add(key, { lifetimeSeconds: 0.02 })
  assert.is(keyring.keys.length, 1)
  while (keyring.keys.length > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.is(codeOf(await rejection(keyring.sign(key.publicKey, data, 'ssh-ed25519'))), 'SSH_SIGN')
})

it('a connection that may only sign changes nothing', async () => {
  const keyring = new Keyring()
  const key = keys[0]?.[1] as PrivateKey
  keyring.add(key)
  const { agent } = joined(keyring, { readOnly: true })
  for (const attempt of [
    () => agent.add(key),
    () => agent.removeAll(),
    () => agent.lock('x'),
    () => agent.unlock('x'),
  ]) {
    assert.is(codeOf(await rejection(attempt())), 'SSH_REQUEST_REFUSED')
  }
  assert.is((await agent.list()).length, 1)
  await agent.close()
})

it('constraints that are not known refuse the key', async () => {
  const { agent, stream } = scripted()
  const adding = agent.add(keys[0]?.[1] as PrivateKey, { lifetimeSeconds: 1000 })
  const request = (await stream.read()) as Uint8Array
  const destination = new Writer().string('restrict-destination-v00@openssh.com').finish()
  const [left, right] = memoryPair()
  const errors: unknown[] = []
  const keyring = new Keyring()
  const serving = serveAgent(right, keyring, { onError: (error) => errors.push(error) })
  const asked = new AgentStream(left)
  const unknown = new Writer().string('store-elsewhere@example.com').finish()
  for (const suffix of [
    // Destinations that are not there, a constraint nobody knows, and a number nobody knows.
    new Writer().uint8(255).bytes(destination).finish(),
    new Writer().uint8(255).bytes(unknown).finish(),
    Uint8Array.of(9),
  ]) {
    await asked.write(new Writer().bytes(request).bytes(suffix).finish())
    assert.equal(await asked.read(), Uint8Array.of(5))
  }
  assert.is(keyring.keys.length, 0)
  assert.is(errors.length, 3)
  await asked.write(request)
  assert.equal(await asked.read(), Uint8Array.of(6))
  await left.close()
  await serving
  await stream.write(Uint8Array.of(6))
  await adding
})

it('a binding to a connection is believed with the signature of its host only', async () => {
  let seen: unknown
  const keyring = new Keyring({
    confirm: ({ sessions }) => {
      seen = sessions.map(({ forwarding, hostKey }) => [forwarding, hostKey.fingerprint()])
      return true
    },
  })
  const key = keys[0]?.[1] as PrivateKey
  keyring.add(key, { confirm: true })
  const { agent } = joined(keyring)
  const host = generateKey('ed25519')
  const other = generateKey('ed25519')
  const bind = (by: PrivateKey, sessionId: Uint8Array, forwarding: number): Promise<Uint8Array> =>
    agent.extension(
      'session-bind@openssh.com',
      sessionBind.encode({
        hostKey: host.publicKey.blob,
        sessionId,
        signature: by.sign(sessionId, 'ssh-ed25519'),
        forwarding,
      }),
    )
  const refusal = await rejection(bind(other, utf8('a'), 1))
  assert.is(codeOf(refusal), 'SSH_REQUEST_REFUSED')
  await bind(host, utf8('a'), 1)
  await bind(host, utf8('a'), 1)
  await bind(host, utf8('b'), 0)
  await rejection(bind(host, utf8('c'), 1))
  await agent.sign(key.publicKey, data, 'ssh-ed25519')
  const fingerprint = host.publicKey.fingerprint()
  assert.equal(seen, [
    [true, fingerprint],
    [false, fingerprint],
  ])
  await rejection(agent.extension('unknown@example.com'))
  assert.ok((await agent.extension('query')).length > 0)
  await agent.close()
})

it('an agent that answers nonsense is given up', async () => {
  const answers: readonly Uint8Array[] = [
    Uint8Array.of(6),
    Uint8Array.of(12, 0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(12, 0, 0, 0, 1, 0, 0, 0, 9),
    Uint8Array.of(12, 0, 0, 0, 0, 7),
  ]
  for (const answer of answers) {
    const { agent, stream } = scripted()
    const listing = rejection(agent.list())
    await stream.read()
    await stream.write(answer)
    assert.is(codeOf(await listing), 'SSH_PROTOCOL')
    assert.is(codeOf(await rejection(agent.list())), 'SSH_PROTOCOL')
  }
})

it('an agent that signs with something else, or goes away, is an error', async () => {
  const key = keys[0]?.[1] as PrivateKey
  const { agent, stream, transport } = scripted()
  const signing = rejection(agent.sign(key.publicKey, data, 'ssh-ed25519'))
  await stream.read()
  const signature = new Writer().string('ssh-rsa').string('x').finish()
  await stream.write(new Writer().uint8(14).string(signature).finish())
  assert.is(codeOf(await signing), 'SSH_SIGN')
  const listing = rejection(agent.list())
  await transport.close()
  assert.is(codeOf(await listing), 'SSH_CONNECTION_LOST')
})

it('keys of unknown kinds are listed, and unreadable ones passed over', async () => {
  const { agent, stream } = scripted()
  const listing = agent.list()
  await stream.read()
  const unknown = new Writer().string('ssh-new').string('x').finish()
  const answer = new Writer().uint8(12).uint32(2)
  await stream.write(
    answer.string(unknown).string('new').string(Uint8Array.of(1)).string('bad').finish(),
  )
  assert.is((await only(listing)).publicKey.type, 'ssh-new')
})

it('frames of no length, too long or cut off end the connection', async () => {
  const long = new Writer().uint32(AGENT_MESSAGE_BYTES_MAX + 1).finish()
  for (const bytes of [new Uint8Array(4), long, Uint8Array.of(0, 0, 0, 9, 1), new Uint8Array(2)]) {
    const [left, right] = memoryPair()
    const serving = rejection(serveAgent(right, new Keyring()))
    await left.write(bytes)
    await left.close()
    assert.is(codeOf(await serving), 'SSH_PROTOCOL')
  }
})

it('whatever is asked, some answer comes and nothing is lost', async () => {
  const keyring = new Keyring()
  const key = keys[0]?.[1] as PrivateKey
  keyring.add(key)
  const [left, right] = memoryPair()
  const serving = serveAgent(right, keyring)
  const stream = new AgentStream(left)
  // Numbers that neither remove everything nor lock.
  const number = fc.constantFrom(0, 5, 6, 11, 13, 17, 18, 20, 25, 26, 27, 255)
  await fc.assert(
    fc.asyncProperty(number, fc.uint8Array({ maxLength: 60 }), async (type, body) => {
      await stream.write(Uint8Array.of(type, ...body))
      const answer = await stream.read()
      assert.ok([5, 6, 12, 28].includes(answer?.[0] ?? -1))
    }),
    { numRuns: 200 },
  )
  await left.close()
  await serving
  assert.is(keyring.keys.length, 1)
})

test.run()
