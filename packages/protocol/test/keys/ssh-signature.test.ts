import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { attestationOf, webauthnEcdsaNistp256 } from '../../src/algorithms/security-keys.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import { SshError } from '../../src/errors.ts'
import { allowedSigner, parseAllowedSigners } from '../../src/keys/allowed-signers.ts'
import { encodeBase64 } from '../../src/keys/base64.ts'
import { certified, issueCertificate } from '../../src/keys/certificate.ts'
import { ecdsaBlob } from '../../src/keys/key-material.ts'
import { generateKey } from '../../src/keys/private-key.ts'
import { PublicKey } from '../../src/keys/public-key.ts'
import { signMessage, verifyMessage } from '../../src/keys/ssh-signature.ts'
import { Reader } from '../../src/wire/reader.ts'
import { Writer } from '../../src/wire/writer.ts'
import recorded from '../vectors/security-keys.json' with { type: 'json' }

const crypto = defaultCrypto()
const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)
const message = ascii('the message')

function refused(action: () => unknown, what: RegExp): void {
  try {
    action()
  } catch (error) {
    assert.instance(error, SshError)
    assert.is((error as SshError).code, 'SSH_KEY_INVALID')
    assert.match((error as SshError).message, what)
    return
  }
  throw new Error('the signature was accepted')
}

test('what is signed is verified, for that message and purpose only', async () => {
  for (const kind of ['ed25519', 'ecdsa-nistp384', 'rsa-3072'] as const) {
    const key = generateKey(kind)
    for (const hash of ['sha256', 'sha512'] as const) {
      const signature = await signMessage(key, message, 'file', { hash })
      assert.ok(verifyMessage(signature, message, 'file').equals(key.publicKey))
      refused(() => verifyMessage(signature, ascii('another'), 'file'), /does not fit/)
      refused(() => verifyMessage(signature, message, 'git'), /for "file"/)
    }
  }
})

test('a certificate signs messages too', async () => {
  const key = generateKey('ed25519')
  const authority = generateKey('ed25519')
  const certificate = await issueCertificate(authority, {
    key: key.publicKey,
    role: 'user',
    principals: ['ada'],
    keyId: 'ada',
    validBeforeMs: Date.now() + 60_000,
  })
  const signature = await signMessage(certified(key, certificate), message, 'file')
  const shown = verifyMessage(signature, message, 'file')
  assert.ok(shown.equals(certificate))
  const { signers } = parseAllowedSigners(`*@x,ada cert-authority ${authority.publicKey}`)
  assert.ok(allowedSigner(signers, { principal: 'ada', namespace: 'file', key: shown }))
  assert.not(allowedSigner(signers, { principal: 'eve@x', namespace: 'file', key: shown }))
  assert.not(
    allowedSigner(signers, { principal: 'ada', namespace: 'file', key: authority.publicKey }),
  )
})

test('damaged and foreign texts are refused', async () => {
  const signature = await signMessage(generateKey('ed25519'), message, 'file')
  refused(() => verifyMessage('', message, 'file'), /not a signature/)
  refused(() => verifyMessage('x'.repeat(100_000), message, 'file'), /not a signature/)
  refused(
    () => verifyMessage(signature.replace('U1NI', 'U1NJ'), message, 'file'),
    /not a signature/,
  )
  for (let at = 40; at < signature.length - 40; at += 7) {
    const other = signature[at] === 'A' ? 'B' : 'A'
    if (signature[at] === '\n') continue
    const damaged = signature.slice(0, at) + other + signature.slice(at + 1)
    refused(() => verifyMessage(damaged, message, 'file'), /./)
  }
})

// --- security keys ---------------------------------------------------------------------------

for (const { name, key, signature, touched } of recorded.cases) {
  test(`a signature of a security key is verified: ${name}`, () => {
    const verify = (policy: object, text = recorded.message): PublicKey =>
      verifyMessage(signature, ascii(text), recorded.namespace, { policy })
    const expected = PublicKey.parse(key)
    if (touched) assert.ok(verify({}).equals(expected))
    else refused(() => verify({}), /does not fit/)
    assert.ok(verify({ touchRequired: false }).equals(expected))
    refused(() => verify({ touchRequired: false, verifyRequired: true }), /does not fit/)
    refused(() => verify({ touchRequired: false }, 'another message'), /does not fit/)
  })
}

test('the attestation of a signature can be read', () => {
  const signatures = recorded.cases.map(({ signature }) => {
    const body = signature.replace(/-----.*?-----|\s/g, '')
    const reader = new Reader(Uint8Array.from(atob(body), (c) => c.charCodeAt(0)))
    reader.bytes(6)
    reader.uint32()
    for (let field = 0; field < 4; field++) reader.string()
    return attestationOf(reader.string())
  })
  assert.equal(
    signatures.map((attestation) => attestation?.touched),
    [true, true, false],
  )
  assert.ok(signatures.every((attestation) => typeof attestation?.counter === 'number'))
  assert.is(attestationOf(generateKey('ed25519').sign(message, 'ssh-ed25519')), undefined)
  assert.is(attestationOf(new Uint8Array(3)), undefined)
})

/** What a browser would make of data to be signed: there is none here to ask. */
function webauthn(change: { flags?: number; origin?: string; client?: (text: string) => string }) {
  const pair = crypto.ecdsa.generate('nistp256')
  const fields = new Reader(ecdsaBlob('nistp256', pair.publicKey))
  fields.string()
  const key = PublicKey.fromBlob(
    new Writer()
      .string('sk-ecdsa-sha2-nistp256@openssh.com')
      .bytes(fields.rest())
      .string('ssh.example')
      .finish(),
  )
  const { flags = 5, origin = 'https://ssh.example', client = (text: string) => text } = change
  const challenge = encodeBase64(message).replaceAll('+', '-').replaceAll('/', '_')
  const clientData = ascii(
    client(
      `{"type":"webauthn.get","challenge":"${challenge.replace(/=+$/, '')}",` +
        `"origin":"${origin}","crossOrigin":false}`,
    ),
  )
  const signed = new Writer()
    .bytes(crypto.hash('sha256', ascii('ssh.example')))
    .uint8(flags)
    .uint32(9)
    .bytes(crypto.hash('sha256', clientData))
    .finish()
  const raw = crypto.ecdsa.sign('nistp256', pair.secretKey, signed)
  const value = new Writer().mpint(raw.subarray(0, 32)).mpint(raw.subarray(32)).finish()
  const signature = new Writer()
    .string('webauthn-sk-ecdsa-sha2-nistp256@openssh.com')
    .string(value)
    .uint8(flags)
    .uint32(9)
    .string(origin)
    .string(clientData)
    .string('')
    .finish()
  return (policy?: object): boolean =>
    webauthnEcdsaNistp256.verify(crypto, key, message, signature, policy)
}

test('a WebAuthn signature is verified, with its text bound to data and origin', () => {
  assert.ok(webauthn({})())
  assert.ok(webauthn({})({ verifyRequired: true }))
  assert.not(webauthn({ flags: 1 })({ verifyRequired: true }))
  assert.not(webauthn({ flags: 4 })())
  assert.ok(webauthn({ flags: 4 })({ touchRequired: false }))
  assert.not(webauthn({ flags: 0x85 })())
  assert.not(webauthn({ origin: 'x","y":"' })())
  assert.not(webauthn({ client: (text) => text.replace('webauthn.get', 'webauthn.create') })())
  assert.not(webauthn({ client: (text) => ` ${text}` })())
  assert.not(webauthn({ client: (text) => text.replace('challenge":"', 'challenge":"A') })())
  assert.not(webauthn({ client: (text) => text.replace('ssh.example"', 'ssh.example.evil"') })())
})

// --- allowed_signers -------------------------------------------------------------------------

test('allowed_signers: names, purposes and times', () => {
  const key = generateKey('ed25519').publicKey
  const { signers, errors } = parseAllowedSigners(
    [
      '# comment',
      `ada@x,*@y,!eve@y namespaces="git,file*" ${key}`,
      `"ada lovelace" valid-after="20200101Z",valid-before="20300101Z" ${key}`,
      `nobody unknown-option ${key}`,
      `nobody valid-after="1" ${key}`,
      'nobody',
    ].join('\n'),
  )
  assert.equal(
    errors.map(({ line }) => line),
    [4, 5, 6],
  )
  const ask = (principal: string, namespace = 'git', nowMs = Date.UTC(2026, 1, 1)): boolean =>
    allowedSigner(signers, { principal, namespace, key, nowMs })
  assert.ok(ask('ada@x'))
  assert.ok(ask('bob@y', 'file-x'))
  assert.not(ask('eve@y'))
  assert.not(ask('ada@x', 'mail'))
  assert.ok(ask('ada lovelace', 'mail'))
  assert.not(ask('ada lovelace', 'mail', Date.UTC(2019, 1, 1)))
  assert.not(ask('ada lovelace', 'mail', Date.UTC(2031, 1, 1)))
  assert.not(ask('nobody'))
  const other = generateKey('ed25519').publicKey
  assert.not(allowedSigner(signers, { principal: 'ada@x', namespace: 'git', key: other }))
})

test.run()
