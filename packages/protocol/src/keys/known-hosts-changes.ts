/** Learning host keys and forgetting them: known_hosts files as they are written. */

import { plainKey } from './certificate.ts'
import {
  HostKeyError,
  type HostKeyVerifier,
  hostName,
  type KnownHostLineOptions,
  knownHostLine,
  parseKnownHosts,
} from './known-hosts.ts'
import type { PublicKey } from './public-key.ts'

/**
 * Decides as `known` does, but takes the first key of a host of which nothing is known at all (as
 * OpenSSH's `accept-new`), after `learn` has resolved with it; what `learn` throws refuses the key. A
 * mismatch or a revoked key is an error as always. `learn` gets the plain key, for `knownHostLine`.
 *
 * @example
 * import { acceptNew, generateKey, knownHostLine, knownHosts } from '@sandbox-ssh/protocol'
 *
 * let text = ''
 * const hostKey = acceptNew(knownHosts(text, 'box'), (key) => {
 *   text += `${knownHostLine(key, 'box', 22, { hashed: false })}\n`
 * })
 * const { publicKey } = generateKey('ed25519')
 * console.log(await hostKey(publicKey), text === `box ${publicKey}\n`) // true true
 */
export function acceptNew(
  known: HostKeyVerifier,
  learn: (key: PublicKey) => void | Promise<void>,
): {
  (key: PublicKey): Promise<boolean>
  readonly keyTypes: readonly string[]
} {
  if (typeof learn !== 'function') throw new TypeError('learn must be a function')
  const decide = async (key: PublicKey): Promise<boolean> => {
    try {
      return known(key)
    } catch (error) {
      if (!(error instanceof HostKeyError && error.reason === 'unknown')) throw error
    }
    await learn(plainKey(key))
    return true
  }
  return Object.assign(decide, { keyTypes: known.keyTypes })
}

/** A known_hosts file after a change, and what was taken out of it. */
export interface KnownHostsChange {
  readonly text: string
  /** Lines of the old text, from 1, that named the host and now do not. */
  readonly removed: readonly number[]
}

/**
 * Forgets what the file says of `host`, as `ssh-keygen -R` does. Of a line that also names others
 * only the name goes. Lines that cover it by a pattern, and those with a marker, stay: they speak of
 * more than this host. Everything else stays as it is, to the byte.
 *
 * @example
 * import { forgetHost } from '@sandbox-ssh/protocol'
 *
 * const text = '# mine\nbox ssh-ed25519 AAAA\nother,box ssh-ed25519 AAAA\n'
 * console.log(forgetHost(text, 'box').removed) // [ 2, 3 ]
 * console.log(forgetHost(text, 'box').text === '# mine\nother ssh-ed25519 AAAA\n') // true
 */
export function forgetHost(text: string, host: string, port = 22): KnownHostsChange {
  const name = hostName(host, port)
  const removed: number[] = []
  const kept = text.split('\n').flatMap((raw, index) => {
    const [, before = '', names = '', rest = ''] = /^(\s*)([^\s#@]\S*)(\s[\s\S]*)$/.exec(raw) ?? []
    if (names === '' || !namesHost(raw, names, name)) return [raw]
    removed.push(index + 1)
    const others = names.split(',').filter((other) => other.toLowerCase() !== name)
    return others.length === 0 || names.startsWith('|') ? [] : [before + others.join(',') + rest]
  })
  return { text: kept.join('\n'), removed }
}

/**
 * `forgetHost`, then adds lines for `keys`: for a host that was given new keys, or when it has told
 * all of them (`ClientOptions.onHostKeys`). Throws TypeError for what cannot be a host name.
 *
 * @example
 * import { generateKey, knownHosts, replaceHost } from '@sandbox-ssh/protocol'
 *
 * const { publicKey } = generateKey('ed25519')
 * const { text } = replaceHost('box ssh-ed25519 AAAA\n', [publicKey], 'box')
 * console.log(knownHosts(text, 'box')(publicKey)) // true
 */
export function replaceHost(
  text: string,
  keys: readonly PublicKey[],
  host: string,
  port = 22,
  options: KnownHostLineOptions = {},
): KnownHostsChange {
  const lines = keys.map((key) => `${knownHostLine(key, host, port, options)}\n`)
  const { text: rest, removed } = forgetHost(text, host, port)
  const joint = rest === '' || rest.endsWith('\n') ? '' : '\n'
  return { text: rest + joint + lines.join(''), removed }
}

/** Whether the first field of a line names the host itself, in clear or hashed. */
function namesHost(line: string, names: string, name: string): boolean {
  if (!names.startsWith('|')) return names.toLowerCase().split(',').includes(name)
  return parseKnownHosts(line).hosts.some((known) => known.covers(name))
}
