// PuTTY's `plink` as a peer.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from './folder.ts'
import { missing } from './installed.ts'
import type { KeyFile, PeerClient } from './peer.ts'
import { output, run } from './run.ts'

/** Keys by path of the original, in PuTTY's format. */
const converted = new Map<string, Promise<string>>()

function convert({ path }: KeyFile): Promise<string> {
  const target = `${path}.ppk`
  const promise = converted.get(path) ?? output(['puttygen', path, '-o', target]).then(() => target)
  converted.set(path, promise)
  return promise
}

/** `plink`, with settings of its own. */
export const plink: PeerClient = {
  name: 'PuTTY',
  missing: missing('putty-tools', ['plink', 'puttygen']),
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  exec: async ({ port, username, hostKey, proof, rekeyBytes }, command, stdin) => {
    const folder = temporaryFolder()
    mkdirSync(join(folder, 'sessions'))
    // Only a saved session can ask for these two.
    const settings = ['Protocol=ssh', 'Compression=1', `RekeyBytes=${rekeyBytes ?? '1G'}`]
    writeFileSync(join(folder, 'sessions/peer'), `${settings.join('\n')}\n`)
    const identity =
      'key' in proof ? ['-i', await convert(proof)] : ['-pw', proof.secret, '-no-antispoof']
    const trust = ['-batch', '-hostkey', hostKey.publicKey.fingerprint()]
    const target = ['-P', `${port}`, `${username}@127.0.0.1`, command]
    const ran = await run(['plink', '-load', 'peer', '-T', ...trust, ...identity, ...target], {
      ...{ stdin, env: { PUTTYDIR: folder } },
    })
    return { code: ran.code, stdout: ran.stdout, problem: ran.stderr }
  },
}
