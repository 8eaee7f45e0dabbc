// Our client with each algorithm by name against servers that have it.
// Time limit: 300 s

import { type Algorithms, type ClientOptions, nobleCrypto } from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { offered, opensshHas } from '../algorithms.ts'
import { bytes, sha256 } from '../data.ts'
import { againstServers, type Case } from '../matrix.ts'
import { connectTo } from '../peers/connect.ts'

/** A case that allows one name of each family given, and sends 1 MiB around. */
function using(
  family: keyof typeof offered,
  name: string,
  narrow: (modern: Algorithms) => Partial<Algorithms>,
  options: Partial<ClientOptions> = {},
): Case {
  return {
    name: options.crypto === undefined ? name : `${name} on portable primitives`,
    // What sshd lacks can at least be tried between our own two sides.
    ...(opensshHas(family, name) ? {} : { only: 'msb' as const }),
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
        assert.match(JSON.stringify(client.negotiated), `"${name}"`)
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

againstServers('Our client: algorithms', [
  ...offered.cipher.flatMap((name) =>
    [{}, { crypto: nobleCrypto }].map((options) =>
      using('cipher', name, (modern) => ({ ciphers: named(modern.ciphers, name) }), options),
    ),
  ),
  ...offered.mac.map((name) =>
    using('mac', name, (modern) => ({
      ciphers: named(modern.ciphers, 'aes128-ctr'),
      macs: named(modern.macs, name),
    })),
  ),
  ...offered.kex.map((name) => using('kex', name, (modern) => ({ kex: named(modern.kex, name) }))),
])
