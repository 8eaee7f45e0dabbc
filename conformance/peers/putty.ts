// PuTTY's `plink` as a peer.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from './folder.ts'
import { found, missing } from './installed.ts'
import type { KeyFile, PeerClient } from './peer.ts'
import { output, run } from './run.ts'

const program = (name: string): string => found(name) ?? name

/**
 * Where PuTTY's programs find neither `ps` nor `ls`, which they else run for noise and wait for: on
 * a busy machine that takes seconds. A seed of the user's is not touched either.
 */
const nowhere = temporaryFolder()
const noNoise = { PATH: nowhere, HOME: nowhere }

/** Keys by path of the original, in PuTTY's format. */
const converted = new Map<string, Promise<string>>()

function convert({ path }: KeyFile): Promise<string> {
  const target = `${path}.ppk`
  const command = [program('puttygen'), path, '-o', target]
  const promise = converted.get(path) ?? output(command, { env: noNoise }).then(() => target)
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
    const ran = await run(
      [program('plink'), '-load', 'peer', '-T', ...trust, ...identity, ...target],
      {
        ...{ stdin, env: { ...noNoise, PUTTYDIR: folder } },
      },
    )
    return { code: ran.code, stdout: ran.stdout, problem: ran.stderr }
  },
}
