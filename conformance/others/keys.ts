// Key pairs of every kind, in the format that OpenSSH made common.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateKey } from '@sandbox-ssh/protocol'
import { temporaryFolder } from '../peers/folder.ts'
import type { KeyFile } from '../peers/peer.ts'
import { keyKinds, kindOf } from './algorithms.ts'

/** One pair of each kind. */
export function generateKeyFiles(): readonly KeyFile[] {
  const folder = temporaryFolder()
  return keyKinds.map((kind) => {
    // With a comment: paramiko loses a private key that needs no padding and has none.
    const key = generateKey(kind, { comment: 'ada' })
    const path = join(folder, kind)
    writeFileSync(path, key.toOpenSsh(), { mode: 0o600 })
    writeFileSync(`${path}.pub`, `${key.publicKey}\n`)
    return { key, path }
  })
}

/** The one that makes such signatures. */
export function keyFor(signature: string, files: readonly KeyFile[]): KeyFile {
  const kind = kindOf(signature)
  const file = kind && files[keyKinds.indexOf(kind)]
  if (file === undefined) throw new Error(`no key makes ${signature}`)
  return file
}
