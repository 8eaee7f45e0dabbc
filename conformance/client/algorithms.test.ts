// Our client with each algorithm by name against servers that have it.
// Time limit: 300 s

import { type Algorithms, type ClientOptions, nobleCrypto } from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { againstServers, type Case } from '../matrix.ts'
import { connectTo } from '../peers/connect.ts'

/** OpenSSH of Debian 12 is older than this one. */
const onlyOurs = new Set(['mlkem768x25519-sha256'])

/** A case that allows one name of each family given, and sends 1 MiB around. */
function using(
  name: string,
  narrow: (modern: Algorithms) => Partial<Algorithms>,
  options: Partial<ClientOptions> = {},
): Case {
  return {
    name,
    ...(onlyOurs.has(name) ? { only: 'msb' as const } : {}),
    run: async ({ server }) => {
      const client = await connectTo(server, {
        algorithms: (modern) => ({ ...modern, ...narrow(modern) }),
        ...options,
      })
      try {
        const data = bytes(1 << 20)
        const { code, stdout } = await client.run('cat', { stdin: data })
        assert.is(sha256(stdout), sha256(data))
        assert.is(code, 0)
        assert.match(JSON.stringify(client.negotiated), `"${name.split(' ')[0]}"`)
      } finally {
        await client.close()
      }
    },
  }
}

const named = <T extends { readonly name: string }>(list: readonly T[], name: string): T[] => {
  const found = list.filter((spec) => spec.name === name)
  assert.is(found.length, 1, `${name} is not implemented`)
  return found
}

const ciphers = [
  'chacha20-poly1305@openssh.com',
  'aes256-gcm@openssh.com',
  'aes128-gcm@openssh.com',
  'aes256-ctr',
  'aes192-ctr',
  'aes128-ctr',
]
const macs = [
  'hmac-sha2-256-etm@openssh.com',
  'hmac-sha2-512-etm@openssh.com',
  'hmac-sha2-256',
  'hmac-sha2-512',
]
const kexes = ['mlkem768x25519-sha256', 'curve25519-sha256', 'curve25519-sha256@libssh.org']

againstServers('Our client: algorithms', [
  ...ciphers.map((name) => using(name, (modern) => ({ ciphers: named(modern.ciphers, name) }))),
  ...ciphers.map((name) =>
    using(
      `${name} on portable primitives`,
      (modern) => ({ ciphers: named(modern.ciphers, name) }),
      {
        crypto: nobleCrypto,
      },
    ),
  ),
  ...macs.map((name) =>
    using(name, (modern) => ({
      ciphers: named(modern.ciphers, 'aes128-ctr'),
      macs: named(modern.macs, name),
    })),
  ),
  ...kexes.map((name) => using(name, (modern) => ({ kex: named(modern.kex, name) }))),
])
