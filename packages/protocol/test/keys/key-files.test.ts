/** Key files of OpenSSL, PuTTY and old ssh-keygens, made by the programs themselves. */
import { type ExecFileSyncOptionsWithStringEncoding, execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SshError } from '../../src/errors.ts'
import { generateKey, parsePrivateKey } from '../../src/keys/private-key.ts'
import { parsePublicKey, toRfc4716 } from '../../src/keys/public-key-file.ts'
import { programPath, testWith } from '../suites/programs.ts'

const folder = mkdtempSync(join(tmpdir(), 'key-files-'))
test.after(() => rmSync(folder, { recursive: true }))

function run(program: string, ...args: readonly string[]): string {
  const options: ExecFileSyncOptionsWithStringEncoding = {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 30_000,
    killSignal: 'SIGKILL',
    // PuTTY's programs run `ps` and `ls` of the temporary folder for noise and wait for them, which
    // on a busy machine takes seconds or does not end. Where they find neither they do without.
    ...(program === 'puttygen' && { env: { PATH: folder, HOME: folder } }),
  }
  return execFileSync(programPath(program) ?? program, args, options)
}
const path = (name: string): string => join(folder, name)
const read = (name: string): string => readFileSync(path(name), 'utf8')

/** What ssh-keygen says is the public key of a file it can read itself. */
const publicOf = (name: string): string =>
  run('ssh-keygen', '-y', '-P', '', '-f', path(name)).split(' ').slice(0, 2).join(' ').trim()

async function failure(promise: Promise<unknown>): Promise<SshError> {
  try {
    await promise
  } catch (error) {
    assert.instance(error, SshError)
    return error as SshError
  }
  throw new Error('no error')
}

async function check(text: string, expected: string, passphrase?: string): Promise<void> {
  const key = await parsePrivateKey(text, passphrase)
  assert.is(key.publicKey.toString().split(' ').slice(0, 2).join(' '), expected)
}

/** Makes plain PKCS #8 files, one of each type of key. */
const plain: readonly (readonly [name: string, ...args: readonly string[]])[] = [
  ['rsa', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  ['p256', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  ['p384', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  ['p521', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-521'],
]
for (const [name, ...args] of plain) {
  testWith(
    ['openssl', 'ssh-keygen'],
    `${name}: PKCS #8 and the older forms of OpenSSL, plain and encrypted`,
    async () => {
      run('openssl', 'genpkey', ...args, '-out', path(name))
      execFileSync('chmod', ['600', path(name)])
      const expected = publicOf(name)
      await check(read(name), expected)

      for (const [kind, ...options] of [
        ['aes256', '-v2', 'aes-256-cbc'],
        ['aes128', '-v2', 'aes-128-cbc', '-v2prf', 'hmacWithSHA1'],
        ['sha512', '-v2', 'aes-192-cbc', '-v2prf', 'hmacWithSHA512', '-iter', '5000'],
        ['scrypt', '-scrypt', '-scrypt_N', '1024'],
      ]) {
        const sealed = `${name}-${kind}`
        const files = ['-in', path(name), '-out', path(sealed), '-passout', 'pass:secret']
        run('openssl', 'pkcs8', '-topk8', ...files, ...options)
        await check(read(sealed), expected, 'secret')
        assert.is((await failure(parsePrivateKey(read(sealed)))).code, 'SSH_KEY_PASSPHRASE')
        const wrong = await failure(parsePrivateKey(read(sealed), 'wrong'))
        assert.is(wrong.code, 'SSH_KEY_PASSPHRASE')
      }

      const old = name === 'rsa' ? 'rsa' : 'ec'
      const traditional = name === 'rsa' ? ['-traditional'] : []
      run('openssl', old, '-in', path(name), '-out', path(`${name}-old`), ...traditional)
      assert.match(read(`${name}-old`), /BEGIN (RSA|EC) PRIVATE KEY/)
      await check(read(`${name}-old`), expected)
      const cipher = ['-aes128', '-passout', 'pass:secret', ...traditional]
      run('openssl', old, '-in', path(name), '-out', path(`${name}-dek`), ...cipher)
      assert.match(read(`${name}-dek`), /DEK-Info: AES-128-CBC/)
      await check(read(`${name}-dek`), expected, 'secret')
      const wrong = await failure(parsePrivateKey(read(`${name}-dek`), 'wrong'))
      assert.is(wrong.code, 'SSH_KEY_PASSPHRASE')
    },
  )
}

testWith(['openssl'], 'an Ed25519 key of OpenSSL is read', async () => {
  run('openssl', 'genpkey', '-algorithm', 'ED25519', '-out', path('ed'))
  const raw = execFileSync('openssl', ['pkey', '-in', path('ed'), '-pubout', '-outform', 'DER'])
  const { publicKey } = await parsePrivateKey(read('ed'))
  assert.equal(publicKey.blob.slice(-32), new Uint8Array(raw.subarray(-32)))
})

testWith(['openssl'], 'EC PARAMETERS in front of a key are passed over', async () => {
  run('openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-out', path('parameters'))
  assert.match(read('parameters'), /EC PARAMETERS/)
  assert.is((await parsePrivateKey(read('parameters'))).publicKey.type, 'ecdsa-sha2-nistp256')
})

testWith(['openssl', 'ssh-keygen'], 'OpenSSL reads the PKCS #8 files we write', async () => {
  for (const kind of ['ed25519', 'ecdsa-nistp256', 'ecdsa-nistp521', 'rsa-3072'] as const) {
    const key = generateKey(kind)
    writeFileSync(path(kind), key.toPkcs8(), { mode: 0o600 })
    run('openssl', 'pkey', '-in', path(kind), '-check', '-noout')
    await check(key.toPkcs8(), key.publicKey.toString())
    if (kind !== 'ed25519') assert.is(publicOf(kind), key.publicKey.toString())
  }
})

for (const version of ['2', '3']) {
  for (const [type, bits] of [
    ['ed25519', '255'],
    ['ecdsa', '256'],
    ['ecdsa', '384'],
    ['ecdsa', '521'],
    ['rsa', '2048'],
  ] as const) {
    testWith(
      ['puttygen', 'ssh-keygen'],
      `a PuTTY key file of version ${version} is read: ${type} ${bits}`,
      async () => {
        const name = `putty-${version}-${type}-${bits}`
        const source = `${name}-source`
        const size = type === 'ed25519' ? [] : ['-b', bits]
        const made = ['-q', '-t', type, ...size, '-N', '', '-C', 'ada & co', '-f', path(source)]
        run('ssh-keygen', ...made)
        const expected = read(`${source}.pub`).split(' ').slice(0, 2).join(' ')
        const param = ['--ppk-param', `version=${version}`]
        run('puttygen', path(source), '-O', 'private', '-o', path(name), ...param)
        const key = await parsePrivateKey(read(name))
        assert.is(key.publicKey.comment, 'ada & co')
        await check(read(name), expected)
        await check(read(name).replaceAll('\n', '\r\n'), expected)

        writeFileSync(path('passphrase'), 'open sesame')
        const cheap = version === '3' ? ',memory=64,passes=2' : ''
        const sealing = ['--ppk-param', `version=${version}${cheap}`]
        const passphrase = ['--new-passphrase', path('passphrase')]
        const from = path(name)
        const to = path(`${name}-sealed`)
        run('puttygen', from, '-P', '-O', 'private', '-o', to, ...sealing, ...passphrase)
        assert.match(read(`${name}-sealed`), /Encryption: aes256-cbc/)
        await check(read(`${name}-sealed`), expected, 'open sesame')
        for (const wrong of [undefined, 'wrong']) {
          const error = await failure(parsePrivateKey(read(`${name}-sealed`), wrong))
          assert.is(error.code, 'SSH_KEY_PASSPHRASE')
        }
        const changed = read(name).replace('Comment: ada', 'Comment: eve')
        assert.match((await failure(parsePrivateKey(changed))).message, /MAC/)
      },
    )
  }
}

testWith(['ssh-keygen'], 'public keys in RFC 4716 are read and written', () => {
  for (const kind of ['ed25519', 'rsa-3072'] as const) {
    const comment = 'a comment that is long enough to be folded into more than one line "quoted"'
    const { publicKey } = generateKey(kind, { comment })
    const text = toRfc4716(publicKey)
    assert.ok(text.split('\n').every((line) => line.length <= 72))
    assert.ok(parsePublicKey(text).equals(publicKey))
    assert.is(parsePublicKey(text).comment, comment.replaceAll('"', "'"))
    writeFileSync(path('rfc4716'), text)
    const line = run('ssh-keygen', '-i', '-f', path('rfc4716')).trim()
    assert.ok(parsePublicKey(line).equals(publicKey))
    writeFileSync(path('line.pub'), `${publicKey}\n`)
    const exported = run('ssh-keygen', '-e', '-f', path('line.pub'))
    assert.ok(parsePublicKey(exported).equals(publicKey))
    assert.ok(parsePublicKey(`# comment\n\n${publicKey}\n`).equals(publicKey))
  }
  for (const bad of ['', 'a\nb', '---- BEGIN SSH2 PUBLIC KEY ----\nAAAA']) {
    assert.throws(
      () => parsePublicKey(bad),
      (error: unknown) => error instanceof SshError,
    )
  }
})

test('costly and senseless parameters are refused before any work is done', async () => {
  const ppk = (memory: string, passes: string): string =>
    [
      'PuTTY-User-Key-File-3: ssh-ed25519',
      'Encryption: aes256-cbc',
      'Comment: x',
      'Public-Lines: 1',
      'AAAA',
      'Key-Derivation: Argon2id',
      `Argon2-Memory: ${memory}`,
      `Argon2-Passes: ${passes}`,
      'Argon2-Parallelism: 1',
      `Argon2-Salt: ${'ab'.repeat(16)}`,
      'Private-Lines: 1',
      'AAAAAAAAAAAAAAAAAAAAAA==',
      `Private-MAC: ${'ab'.repeat(32)}`,
    ].join('\n')
  for (const [memory, passes] of [
    ['4194304', '1'],
    ['65536', '1000000'],
    ['x', '1'],
    ['64', '-1'],
  ] as const) {
    const error = await failure(parsePrivateKey(ppk(memory, passes), 'x'))
    assert.is(error.code, 'SSH_KEY_INVALID')
  }
})

testWith(
  ['openssl', 'puttygen', 'ssh-keygen'],
  'any damage to a file ends in an SshError about the key',
  async () => {
    const bytes = readFileSync(path('p256-aes256'), 'utf8')
    const texts = [read('p256'), read('rsa-old'), read('putty-3-ecdsa-256'), bytes]
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...texts),
        fc.nat(),
        fc.constantFrom('A', '/', '\n', '=', 'é', ''),
        async (text, position, put) => {
          const at = position % text.length
          try {
            await parsePrivateKey(text.slice(0, at) + put + text.slice(at + 1), 'secret')
          } catch (error) {
            assert.instance(error, SshError, String(error))
            assert.match((error as SshError).code, /^SSH_KEY_/)
          }
        },
      ),
      { numRuns: 300 },
    )
  },
)

test.run()
