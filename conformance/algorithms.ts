// The algorithms to try: all that we offer, and which of them Debian's OpenSSH has too.

import { spawnSync } from 'node:child_process'
import { defaultCrypto, modern } from '@sandbox-ssh/protocol'

const ours = modern(defaultCrypto())

/** Names of what we offer, by family, in order of preference. */
export const offered: Readonly<Record<'kex' | 'cipher' | 'mac', readonly string[]>> = {
  kex: ours.kex.map(({ name }) => name),
  cipher: ours.ciphers.map(({ name }) => name),
  mac: ours.macs.map(({ name }) => name),
}

/** Whether the installed OpenSSH has an algorithm. */
export function opensshHas(family: keyof typeof offered, name: string): boolean {
  const { stdout } = spawnSync('ssh', ['-Q', family], { encoding: 'utf8' })
  return (stdout ?? '').split('\n').includes(name)
}
