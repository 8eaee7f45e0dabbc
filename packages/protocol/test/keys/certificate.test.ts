import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { modern } from '../../src/algorithms/modern.ts'
import { defaultCrypto } from '../../src/crypto/native.ts'
import { SshError } from '../../src/errors.ts'
import { addressMatches, isAddressBlock } from '../../src/keys/address.ts'
import { authorize } from '../../src/keys/authorization.ts'
import { parseAuthorizedKeys, type RestrictingOption } from '../../src/keys/authorized-keys.ts'
import {
  type CertificateRequest,
  type CertificateUse,
  certified,
  checkCertificate,
  decodeCertificate,
  issueCertificate,
  plainKey,
} from '../../src/keys/certificate.ts'
import { HostKeyError, knownHosts, pinned } from '../../src/keys/known-hosts.ts'
import { generateKey, type KeyKind } from '../../src/keys/private-key.ts'
import { PublicKey } from '../../src/keys/public-key.ts'

const authority = generateKey('ed25519')
const stranger = generateKey('ed25519')
const user = generateKey('ed25519', { comment: 'ada' })
const now = 1_800_000_000_000
const hour = 3_600_000

const request: CertificateRequest = {
  key: user.publicKey,
  role: 'user',
  principals: ['ada', 'root'],
  keyId: 'ticket 12',
  validAfterMs: now - hour,
  validBeforeMs: now + hour,
  serial: 7n,
}
const use: CertificateUse = {
  role: 'user',
  principals: ['ada'],
  authorities: [authority.publicKey],
  nowMs: now,
}
const issue = (change: Partial<CertificateRequest> = {}): Promise<PublicKey> =>
  issueCertificate(authority, { ...request, ...change })

function refusal(certificate: PublicKey, change: Partial<CertificateUse> = {}): string {
  try {
    checkCertificate(certificate, { ...use, ...change })
  } catch (error) {
    assert.instance(error, SshError)
    assert.is((error as SshError).code, 'SSH_KEY_INVALID')
    return (error as SshError).message
  }
  throw new Error('the certificate was accepted')
}

test('a certificate says what it was issued with', async () => {
  const content = checkCertificate(await issue({ criticalOptions: { 'force-command': 'ls' } }), {
    ...use,
    honours: ['force-command'],
  })
  assert.ok(content.key.equals(user.publicKey))
  assert.ok(content.signatureKey.equals(authority.publicKey))
  assert.is(content.role, 'user')
  assert.is(content.serial, 7n)
  assert.is(content.keyId, 'ticket 12')
  assert.equal(content.principals, ['ada', 'root'])
  assert.is(content.validAfterMs, now - hour)
  assert.is(content.validBeforeMs, now + hour)
  assert.equal([...content.criticalOptions], [['force-command', 'ls']])
  assert.ok(content.extensions.has('permit-pty'))
  assert.is(content.certificate.type, 'ssh-ed25519-cert-v01@openssh.com')
})

test('authority, role, principal and time each can refuse', async () => {
  const certificate = await issue()
  assert.match(refusal(certificate, { authorities: [] }), /not trusted/)
  assert.match(refusal(certificate, { authorities: [stranger.publicKey] }), /not trusted/)
  assert.match(refusal(certificate, { role: 'host' }), /user certificate/)
  assert.match(refusal(certificate, { principals: ['eve'] }), /for ada, root, not for eve/)
  assert.match(refusal(certificate, { principals: [] }), /not for/)
  assert.match(refusal(certificate, { principals: ['ADA'] }), /not for/)
  assert.match(refusal(certificate, { nowMs: now - hour - 1000 }), /not valid yet/)
  assert.match(refusal(certificate, { nowMs: now + hour }), /expired/)
  checkCertificate(certificate, { ...use, nowMs: now + hour - 1 })
  checkCertificate(certificate, { ...use, principals: ['eve', 'root'] })
})

test('an unknown critical option is refused, an extension is not', async () => {
  assert.match(refusal(await issue({ criticalOptions: { 'x@y': '1' } })), /x@y/)
  assert.match(refusal(await issue({ criticalOptions: { 'force-command': 'x' } })), /force-command/)
  checkCertificate(await issue({ extensions: { 'x@y': '1' } }), use)
})

test('source-address is enforced, and refused where no address is known', async () => {
  const certificate = await issue({ criticalOptions: { 'source-address': '10.0.0.0/8,::1' } })
  checkCertificate(certificate, { ...use, address: '10.1.2.3' })
  checkCertificate(certificate, { ...use, address: '::1' })
  assert.match(refusal(certificate, { address: '11.0.0.1' }), /this address/)
  assert.match(refusal(certificate), /this address/)
  const malformed = await issue({ criticalOptions: { 'source-address': '10.0.0.1/8' } })
  assert.match(refusal(malformed, { address: '10.0.0.1' }), /malformed/)
})

test('every changed byte of a certificate is noticed', async () => {
  const { blob } = await issue()
  void fc.assert(
    fc.property(
      fc.nat({ max: blob.length - 1 }),
      fc.integer({ min: 1, max: 255 }),
      (at, change) => {
        const damaged = blob.slice()
        damaged[at]! ^= change
        let key: PublicKey
        try {
          key = PublicKey.fromBlob(damaged)
        } catch (error) {
          assert.instance(error, SshError)
          return
        }
        refusal(key)
      },
    ),
    { numRuns: 400 },
  )
})

test('certificates of every type of key, by authorities of every type', async () => {
  const kinds: readonly KeyKind[] = ['ed25519', 'ecdsa-nistp256', 'ecdsa-nistp521', 'rsa-3072']
  const keys = kinds.map((kind) => generateKey(kind))
  for (const key of keys) {
    for (const by of keys) {
      if (key !== keys[0] && by !== keys[0]) continue
      const certificate = await issueCertificate(by, { ...request, key: key.publicKey })
      const content = checkCertificate(certificate, { ...use, authorities: [by.publicKey] })
      assert.ok(content.key.equals(key.publicKey))
      const signer = certified(key, certificate)
      const data = new TextEncoder().encode('data')
      for (const algorithm of signer.algorithms) {
        const spec = modern(defaultCrypto()).userKeys.find(({ name }) => name === algorithm)
        assert.ok(spec, algorithm)
        assert.is(spec?.keyType, certificate.type)
        const signature = await signer.sign(data, algorithm)
        assert.ok(spec?.verify(defaultCrypto(), certificate, data, signature))
        assert.not(spec?.verify(defaultCrypto(), key.publicKey, data, signature))
        assert.not(spec?.verify(defaultCrypto(), certificate, data.subarray(1), signature))
      }
    }
  }
})

test('senseless requests are TypeErrors', async () => {
  const certificate = await issue()
  for (const change of [
    { principals: [] },
    { validBeforeMs: now - 2 * hour },
    { key: certificate },
    { validBeforeMs: Number.NaN },
  ]) {
    try {
      await issue(change)
      assert.unreachable(JSON.stringify(Object.keys(change)))
    } catch (error) {
      assert.instance(error, TypeError)
    }
  }
})

test('a certificate is shown only with the key it is for', async () => {
  const certificate = await issue()
  assert.throws(() => certified(stranger, certificate), /another key/)
  const signer = certified(user, certificate)
  assert.throws(() => signer.sign(new Uint8Array(1), 'ssh-ed25519'), /cannot sign/)
  assert.ok(plainKey(certificate).equals(user.publicKey))
  assert.ok(plainKey(user.publicKey).equals(user.publicKey))
  assert.throws(() => decodeCertificate(user.publicKey), /not a certificate/)
})

// --- hosts -----------------------------------------------------------------------------------

const host = generateKey('ed25519').publicKey
const hostCertificate = (principals: readonly string[]): Promise<PublicKey> =>
  issueCertificate(authority, {
    key: host,
    role: 'host',
    principals,
    keyId: 'box',
    validBeforeMs: Date.now() + hour,
  })

function hostRefusal(text: string, name: string, key: PublicKey): HostKeyError {
  try {
    knownHosts(text, name)(key)
  } catch (error) {
    assert.instance(error, HostKeyError)
    return error as HostKeyError
  }
  throw new Error('the key was accepted')
}

test('@cert-authority trusts certificates for the names they are for', async () => {
  const text = `@cert-authority *.example ${authority.publicKey}`
  assert.ok(knownHosts(text, 'box.example')(await hostCertificate(['box.example'])))
  assert.ok(knownHosts(text, 'box.example', 22)(await hostCertificate(['*.example'])))
  assert.is(knownHosts(text, 'box.example').keyTypes[0], 'ssh-ed25519-cert-v01@openssh.com')
  const wrongName = hostRefusal(text, 'box.example', await hostCertificate(['other.example']))
  assert.match(wrongName.message, /for other.example/)
  assert.is(hostRefusal(text, 'elsewhere', await hostCertificate(['*'])).reason, 'unknown')
  assert.is(hostRefusal(text, 'box.example', host).reason, 'unknown')
  assert.is(hostRefusal(text, 'box.example', await issue()).reason, 'unknown')
})

test('a certificate of nobody known is as good as its key', async () => {
  const certificate = await hostCertificate(['box'])
  assert.ok(knownHosts(`box ${host}`, 'box')(certificate))
  assert.is(hostRefusal(`box ${user.publicKey}`, 'box', certificate).reason, 'mismatch')
  assert.ok(pinned(host)(certificate))
  assert.throws(
    () => pinned(user.publicKey)(certificate),
    (error: unknown) => error instanceof HostKeyError,
  )
})

test('a revoked key or authority revokes the certificate', async () => {
  const certificate = await hostCertificate(['box'])
  const trusting = `@cert-authority * ${authority.publicKey}\n`
  assert.ok(knownHosts(trusting, 'box')(certificate))
  for (const key of [host, authority.publicKey, certificate]) {
    assert.is(hostRefusal(`${trusting}@revoked * ${key}\n`, 'box', certificate).reason, 'revoked')
  }
})

// --- users -----------------------------------------------------------------------------------

const honours: readonly RestrictingOption[] = [
  'cert-authority',
  'command',
  'expiry-time',
  'from',
  'no-pty',
  'principals',
  'restrict',
]
const keysIn = (text: string) => parseAuthorizedKeys(text, { honours }).keys

test('a plain key gets in by its line, within time and place', () => {
  const ask = { key: user.publicKey, username: 'ada', nowMs: now }
  assert.is(authorize(keysIn(`${stranger.publicKey}\n${user.publicKey}`), ask)?.line, 2)
  assert.is(authorize(keysIn(`${stranger.publicKey}`), ask), undefined)
  assert.is(authorize(keysIn(`expiry-time="20200101Z" ${user.publicKey}`), ask), undefined)
  assert.ok(authorize(keysIn(`expiry-time="29990101Z" ${user.publicKey}`), ask))
  const from = keysIn(`from="10.0.0.0/8,!10.0.0.1,2001:db8::/32,192.168.*" ${user.publicKey}`)
  assert.is(authorize(from, ask), undefined)
  for (const address of ['10.0.0.2', '2001:db8::5', '192.168.7.9', '::ffff:10.9.9.9']) {
    assert.ok(authorize(from, { ...ask, address }), address)
  }
  for (const address of ['10.0.0.1', '11.0.0.1', '2001:db9::', 'nonsense', '']) {
    assert.is(authorize(from, { ...ask, address }), undefined, address)
  }
})

test('an authority lets in certificates, not itself, and narrows what they may do', async () => {
  const certificate = await issue({ extensions: { 'permit-pty': '' } })
  const ask = { key: certificate, username: 'ada', nowMs: now }
  const lines = keysIn(`cert-authority ${authority.publicKey}`)
  const granted = authorize(lines, ask)
  assert.is(granted?.certificate?.keyId, 'ticket 12')
  assert.is(granted?.options.pty, true)
  assert.is(granted?.options.portForwarding, false)
  assert.is(granted?.options.touchRequired, true)
  assert.is(authorize(lines, { ...ask, key: authority.publicKey }), undefined)
  assert.is(authorize(lines, { ...ask, username: 'eve' }), undefined)
  assert.is(authorize(lines, { ...ask, nowMs: now + hour }), undefined)
  assert.is(authorize(keysIn(`${authority.publicKey}`), ask), undefined)
  assert.is(authorize(keysIn(`${user.publicKey}`), ask), undefined)
  const noPty = authorize(keysIn(`cert-authority,no-pty ${authority.publicKey}`), ask)
  assert.is(noPty?.options.pty, false)
})

test('principals of the line replace the user name', async () => {
  const ask = { key: await issue(), username: 'root', nowMs: now }
  const line = (names: string) =>
    keysIn(`cert-authority,principals="${names}" ${authority.publicKey}`)
  assert.ok(authorize(line('x,ada'), ask))
  assert.is(authorize(line('x'), ask), undefined)
})

test('two different forced commands let nobody in, one is passed on', async () => {
  const forced = await issue({ criticalOptions: { 'force-command': 'date' } })
  const ask = { key: forced, username: 'ada', nowMs: now }
  const line = (option: string) => keysIn(`cert-authority${option} ${authority.publicKey}`)
  assert.is(authorize(line(''), ask)?.options.command, 'date')
  assert.is(authorize(line(',command="date"'), ask)?.options.command, 'date')
  assert.is(authorize(line(',command="id"'), ask), undefined)
})

test('addresses and blocks', () => {
  assert.ok(addressMatches('1.2.3.4', '1.2.3.4'))
  assert.ok(addressMatches('1.2.3.4', '0.0.0.0/0'))
  assert.ok(addressMatches('fe80::1%eth0', 'fe80::/10'))
  assert.ok(addressMatches('2001:DB8:0:0:0:0:0:1', '2001:db8::1'))
  assert.not(addressMatches('1.2.3.4', '::/0'))
  assert.not(addressMatches('1.2.3.4', '1.2.3.5'))
  for (const bad of ['1.2.3', '1.2.3.256', '01.2.3.4', '1.2.3.4/33', '1.2.3.4/', '10.0.0.1/8']) {
    assert.not(isAddressBlock(bad), bad)
  }
  for (const bad of [
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    'g::',
    '::1/129',
    '',
  ]) {
    assert.not(isAddressBlock(bad), bad)
  }
})

test.run()
