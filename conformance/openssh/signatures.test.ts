// Signatures by each of those who can make them for us (native code, the portable primitives, keys
// that stay within WebCrypto), for a login to sshd and for a host that ssh has to believe.

import {
  generateKey,
  nobleCrypto,
  parsePrivateKey,
  publickey,
  type Signer,
  webCryptoSigner,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { features } from '../feature.ts'
import { commands } from '../others/our-server.ts'
import { connectTo } from '../peers/connect.ts'
import { OpenSsh, type Sshd, startSshd } from '../peers/openssh.ts'
import { startOwnServer } from '../peers/own-server.ts'

const rsa = generateKey('rsa-3072')

/** The private key as one of WebCrypto, which does not give it out again. */
async function imported(hash: string): Promise<Signer> {
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', hash }
  const der = Buffer.from(rsa.toPkcs8().replaceAll(/-----.*-----/g, ''), 'base64')
  const { subtle } = crypto
  const readable = await subtle.importKey('pkcs8', der, algorithm, true, ['sign'])
  const { n = '', e = '' } = await subtle.exportKey('jwk', readable)
  const publicKey = await subtle.importKey('jwk', { kty: 'RSA', n, e }, algorithm, true, ['verify'])
  const privateKey = await subtle.importKey('pkcs8', der, algorithm, false, ['sign'])
  return webCryptoSigner({ privateKey, publicKey })
}

const generated = async (algorithm: object): Promise<Signer> =>
  webCryptoSigner(
    (await crypto.subtle.generateKey(algorithm as EcKeyGenParams, false, [
      ...(['sign', 'verify'] as const),
    ])) as CryptoKeyPair,
  )

const portable = (): Promise<Signer> =>
  parsePrivateKey(rsa.toOpenSsh(), undefined, { crypto: nobleCrypto })

const makers: readonly (readonly [string, string, () => Promise<Signer>])[] = [
  ['rsa-sha2-256', 'WebCrypto', () => imported('SHA-256')],
  ['rsa-sha2-512', 'WebCrypto', () => imported('SHA-512')],
  ['ecdsa-sha2-nistp256', 'WebCrypto', () => generated({ name: 'ECDSA', namedCurve: 'P-256' })],
  ['ecdsa-sha2-nistp384', 'WebCrypto', () => generated({ name: 'ECDSA', namedCurve: 'P-384' })],
  ['ecdsa-sha2-nistp521', 'WebCrypto', () => generated({ name: 'ECDSA', namedCurve: 'P-521' })],
  ['ssh-ed25519', 'WebCrypto', () => generated({ name: 'Ed25519' })],
  ['rsa-sha2-256', 'portable primitives', portable],
  ['rsa-sha2-512', 'portable primitives', portable],
  ['rsa-sha2-256', 'native code', async () => rsa],
  ['rsa-sha2-512', 'native code', async () => rsa],
]

const client = features('OpenSSH', 'client', 'signatures of our host')
for (const [name, maker, make] of makers) {
  client(`${name} by ${maker}`, async () => {
    const own = await startOwnServer({ hostKeys: [await make()], session: commands })
    try {
      const openssh = new OpenSsh(own, [`HostKeyAlgorithms ${name}`])
      assert.is((await openssh.ssh('exit 7')).code, 7)
      assert.is(own.connections[0]?.negotiated.hostKey, name)
    } finally {
      await own.stop()
    }
  })
}
client('all of a session on the portable primitives alone', async () => {
  const hostKeys = [generateKey('ed25519', { crypto: nobleCrypto })]
  const own = await startOwnServer({ hostKeys, session: commands, crypto: nobleCrypto })
  try {
    const ran = await new OpenSsh(own).ssh('cat; exit 7', { stdin: 'to and fro' })
    assert.is(ran.code, 7, ran.stderr)
    assert.is(ran.stdout.toString(), 'to and fro')
  } finally {
    await own.stop()
  }
})
client.run()

const server = features('OpenSSH', 'server', 'signatures of our user')

async function withSshd(
  signer: Signer,
  algorithm: string,
  body: (sshd: Sshd) => Promise<void>,
): Promise<void> {
  const sshd = await startSshd([`PubkeyAcceptedAlgorithms ${algorithm}`], [`${signer.publicKey}\n`])
  try {
    await body(sshd)
  } finally {
    await sshd.daemon.stop()
  }
}

for (const [name, maker, make] of makers) {
  server(`${name} by ${maker}`, async () => {
    const made = await make()
    // sshd claims to take the other algorithm for RSA as well, though it is told not to.
    const { publicKey } = made
    const signer = { publicKey, algorithms: [name], sign: made.sign.bind(made) }
    await withSshd(signer, name, async (sshd) => {
      const login = await connectTo(sshd, { auth: [publickey(signer)] })
      assert.is((await login.run('echo in')).text(), 'in\n')
      await login.close()
    })
  })
}
server('all of a login with RSA on the portable primitives alone', async () => {
  const signer = await portable()
  await withSshd(signer, 'rsa-sha2-512', async (sshd) => {
    const options = { auth: [publickey(signer)], crypto: nobleCrypto }
    const login = await connectTo(sshd, options)
    assert.is((await login.run('cat', { stdin: 'to and fro' })).text(), 'to and fro')
    await login.close()
  })
})
server.run()
