// Key pairs of every kind and certificates for them, in the formats that OpenSSH made common.

import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  generateKey,
  issueCertificate,
  type PrivateKey,
  type PublicKey,
} from '@sandbox-ssh/protocol'
import { temporaryFolder } from '../peers/folder.ts'
import type { KeyFile } from '../peers/peer.ts'
import { isCertified, keyKinds, kindOf } from './algorithms.ts'

/** The one name that the certificates are for, of users and of hosts. */
const principals = { user: 'ada', host: '127.0.0.1' } as const

/** One pair of each kind, by itself and under a certificate of the authority for either role. */
export interface Keys {
  readonly plain: readonly KeyFile[]
  readonly user: readonly KeyFile[]
  readonly host: readonly KeyFile[]
  readonly authority: PublicKey
  /** The one of the plain pairs to use where any will do. */
  readonly usual: KeyFile
}

/** Generates all; the usual ones are Ed25519. */
export async function generateKeyFiles(): Promise<Keys> {
  const folder = temporaryFolder()
  const plain = keyKinds.map((kind): KeyFile => {
    // With a comment: paramiko loses a private key that needs no padding and has none.
    const key = generateKey(kind, { comment: 'ada' })
    const path = join(folder, kind)
    writeFileSync(path, key.toOpenSsh(), { mode: 0o600 })
    writeFileSync(`${path}.pub`, `${key.publicKey}\n`)
    return { key, path }
  })
  const authority = generateKey('ed25519')
  const certifiedFor = (role: 'user' | 'host'): Promise<readonly KeyFile[]> =>
    Promise.all(
      plain.map(async ({ key, path: plainPath }) => {
        const certificate = await issueCertificate(authority, {
          ...{ key: key.publicKey, role, principals: [principals[role]], keyId: role },
          validBeforeMs: Date.now() + 3_600_000,
        })
        const path = `${plainPath}-${role}`
        copyFileSync(plainPath, path)
        copyFileSync(`${plainPath}.pub`, `${path}.pub`)
        writeFileSync(`${path}-cert.pub`, `${certificate}\n`)
        return { key, path, certificate }
      }),
    )
  const [user, host] = await Promise.all([certifiedFor('user'), certifiedFor('host')])
  const [usual] = plain as [KeyFile]
  return { plain, user, host, authority: authority.publicKey, usual }
}

/** The one that makes such signatures, in the role given if it takes a certificate. */
export function keyFor(signature: string, role: 'user' | 'host', keys: Keys): KeyFile {
  const kind = kindOf(signature)
  const files = isCertified(signature) ? keys[role] : keys.plain
  const file = kind && files[keyKinds.indexOf(kind)]
  if (file === undefined) throw new Error(`no key makes ${signature}`)
  return file
}

/** A new key of the same kind, which nobody knows. */
export function another({ key }: KeyFile): PrivateKey {
  const [signature = ''] = key.algorithms
  return generateKey(kindOf(signature) ?? 'ed25519')
}
