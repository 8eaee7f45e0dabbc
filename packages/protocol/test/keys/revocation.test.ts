/** Lists of revoked keys, made by the real ssh-keygen where there is one. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { issueCertificate } from '../../src/keys/certificate.ts'
import { generateKey } from '../../src/keys/private-key.ts'
import type { PublicKey } from '../../src/keys/public-key.ts'
import { Revocations } from '../../src/keys/revocation.ts'
import { testWith } from '../suites/programs.ts'

const folder = mkdtempSync(join(tmpdir(), 'revocation-'))
test.after(() => rmSync(folder, { recursive: true }))
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const [authority, other, user] = [
  generateKey('ed25519'),
  generateKey('ed25519'),
  generateKey('ed25519'),
]
const certificate = (serial: bigint, keyId: string, by = authority): Promise<PublicKey> =>
  issueCertificate(by, {
    ...{ key: user.publicKey, role: 'user', principals: ['ada'], keyId, serial },
    validBeforeMs: Date.now() + 60_000,
  })

const against = (list: Revocations, key: PublicKey): string => list.reasonAgainst(key) ?? ''

/** A KRL by ssh-keygen out of its specification. */
function krl(specification: string, ca?: PublicKey): Revocations {
  const [list, text, key] = ['list.krl', 'list.txt', 'ca.pub'].map((name) => join(folder, name))
  writeFileSync(text as string, specification)
  writeFileSync(key as string, `${ca}\n`)
  const signedBy = ca === undefined ? [] : ['-s', key as string]
  execFileSync('ssh-keygen', ['-k', '-q', '-f', list as string, ...signedBy, text as string])
  return Revocations.parse(readFileSync(list as string))
}

testWith(
  ['ssh-keygen'],
  'certificates are revoked by number, range and name, of one authority',
  async () => {
    const scattered = Array.from({ length: 40 }, (_, n) => `serial: ${1000 + 3 * n}\n`).join('')
    const list = krl(
      `serial: 7\nserial: 100-200\n${scattered}serial: 0xffffffffffff\nid: ada's laptop\n`,
      authority.publicKey,
    )
    const revoked = async (serial: bigint, keyId = 'x', by = authority): Promise<boolean> =>
      list.reasonAgainst(await certificate(serial, keyId, by)) !== undefined
    for (const serial of [7n, 100n, 150n, 200n, 1000n, 1003n, 1117n, 0xffffffffffffn]) {
      assert.ok(await revoked(serial), String(serial))
      assert.not.ok(await revoked(serial, 'x', other), String(serial))
    }
    for (const serial of [0n, 6n, 8n, 99n, 201n, 1001n, 1118n, 1120n, 0xfffffffffffen]) {
      assert.not.ok(await revoked(serial), String(serial))
    }
    assert.ok(await revoked(0n, "ada's laptop"))
    assert.is(list.reasonAgainst(user.publicKey), undefined)
  },
)

testWith(
  ['ssh-keygen'],
  'keys are revoked whole or by hash, and their certificates with them',
  async () => {
    const fingerprint = user.publicKey.fingerprint()
    for (const line of [
      `key: ${user.publicKey}`,
      `sha1: ${user.publicKey}`,
      `hash: ${fingerprint}`,
    ]) {
      const list = krl(`${line}\n`)
      assert.match(against(list, user.publicKey), /the key is revoked/)
      assert.match(against(list, await certificate(1n, 'x')), /the key of the certificate/)
      assert.is(list.reasonAgainst(other.publicKey), undefined)
    }
    const list = krl(`key: ${authority.publicKey}\n`)
    assert.match(against(list, await certificate(1n, 'x')), /the authority/)
  },
)

test('a text of keys, fingerprints, numbers and names', async () => {
  const text = (...lines: readonly string[]): Revocations =>
    Revocations.parse(bytes(`# gone\n\n${lines.join('\r\n')}\n`))
  assert.ok(text(user.publicKey.toString()).reasonAgainst(user.publicKey))
  assert.ok(text(user.publicKey.fingerprint()).reasonAgainst(user.publicKey))
  assert.is(text(other.publicKey.toString()).reasonAgainst(user.publicKey), undefined)
  const list = text('serial: 5-9', 'id: lost laptop')
  assert.match(against(list, await certificate(9n, 'x')), /the certificate is revoked/)
  assert.match(against(list, await certificate(0n, 'lost laptop', other)), /certificate is/)
  assert.is(list.reasonAgainst(await certificate(10n, 'x')), undefined)
  const one = await certificate(12n, 'x')
  assert.match(against(text(one.toString()), one), /the certificate is revoked/)
})

test('a list that is not understood is refused, and never read in part', () => {
  const whole = bytes('SSHKRL\n\0')
  for (const bad of [
    bytes('serial: 0\n'),
    bytes('serial: 9-5\n'),
    bytes(`${user.publicKey}\nnonsense\n`),
    bytes('md5: abc\n'),
    Uint8Array.of(0xff, 0xfe, 0),
    whole,
    new Uint8Array([...whole, 0, 0, 0, 2]),
    new Uint8Array([...whole, ...[0, 0, 0, 1], ...new Array<number>(32).fill(0), 9, 0, 0, 0, 0]),
    new Uint8Array([...whole, ...[0, 0, 0, 1], ...new Array<number>(32).fill(0), 2, 0, 0, 0, 9]),
  ]) {
    assert.throws(
      () => Revocations.parse(bad),
      (error: { code?: string }) => error.code === 'SSH_KEY_INVALID',
    )
  }
  const empty = new Uint8Array([...whole, ...[0, 0, 0, 1], ...new Array<number>(32).fill(0)])
  assert.is(Revocations.parse(empty).reasonAgainst(user.publicKey), undefined)
})

test.run()
