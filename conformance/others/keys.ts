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
import { username } from './user.ts'

/** The one name that the certificates are for, of users and of hosts. */
const principals = { user: username, host: '127.0.0.1' } as const

/** One pair of each kind, by itself and under a certificate of the authority for either role. */
export interface Keys {
  readonly plain: readonly KeyFile[]
  readonly user: readonly KeyFile[]
  readonly host: readonly KeyFile[]
  /** With certificates of the authority that are no good, by what is wrong with them. */
  readonly unfit: Readonly<Record<'user' | 'host', Readonly<Record<Fault, KeyFile>>>>
  readonly authority: PublicKey
  /** The one of the plain pairs to use where any will do. */
  readonly usual: KeyFile
}

/** What can be wrong with a certificate. */
export type Fault = 'that has expired' | 'for another name'

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
  const [usual] = plain as [KeyFile]
  const certify = async (
    { key, path: plainPath }: KeyFile,
    role: 'user' | 'host',
    fault?: Fault,
  ): Promise<KeyFile> => {
    const hourMs = 3_600_000
    const endMs = Date.now() + (fault === 'that has expired' ? -hourMs : hourMs)
    const name = fault === 'for another name' ? 'elsewhere' : principals[role]
    const certificate = await issueCertificate(authority, {
      ...{ key: key.publicKey, role, principals: [name], keyId: role },
      ...{ validAfterMs: endMs - 2 * hourMs, validBeforeMs: endMs },
    })
    const path = [plainPath, role, ...(fault?.split(' ') ?? [])].join('-')
    copyFileSync(plainPath, path)
    copyFileSync(`${plainPath}.pub`, `${path}.pub`)
    writeFileSync(`${path}-cert.pub`, `${certificate}\n`)
    return { key, path, certificate }
  }
  const certifyAll = (role: 'user' | 'host'): Promise<readonly KeyFile[]> =>
    Promise.all(plain.map((file) => certify(file, role)))
  const certifyBadly = async (role: 'user' | 'host'): Promise<Record<Fault, KeyFile>> => {
    return {
      'that has expired': await certify(usual, role, 'that has expired'),
      'for another name': await certify(usual, role, 'for another name'),
    }
  }
  const [user, host] = await Promise.all([certifyAll('user'), certifyAll('host')])
  const unfit = { user: await certifyBadly('user'), host: await certifyBadly('host') }
  return { plain, user, host, unfit, authority: authority.publicKey, usual }
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
