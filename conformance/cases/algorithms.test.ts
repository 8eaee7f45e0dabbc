// Every algorithm that OpenSSH has in common with us, by name: chosen, seen to be in use, and
// carrying data.
// Time limit: 300 s

import * as assert from 'uvu/assert'
import { offered, opensshHas } from '../algorithms.ts'
import { bytes } from '../data.ts'
import { againstServers, type Case } from '../matrix.ts'

const common = (family: keyof typeof offered): readonly string[] =>
  offered[family].filter((name) => opensshHas(family, name))

/** A case that sends 1 MiB around with `options` and looks at what was negotiated. */
function negotiates(name: string, options: readonly string[], pattern: RegExp): Case {
  return {
    name,
    run: async ({ openssh }) => {
      const data = bytes(1 << 20)
      const args = ['-o', 'LogLevel=DEBUG1', ...options.flatMap((option) => ['-o', option])]
      const { code, stdout, stderr } = await openssh.ssh('cat', { stdin: data, args })
      assert.is(code, 0, stderr)
      assert.match(stderr, pattern)
      assert.ok(stdout.equals(data))
    },
  }
}

const literally = (text: string): string => text.replaceAll('.', '\\.')

againstServers('Algorithms', [
  ...common('cipher').map((name) =>
    negotiates(name, [`Ciphers=${name}`], new RegExp(`client->server cipher: ${literally(name)} `)),
  ),
  ...common('mac').map((name) =>
    negotiates(
      name,
      ['Ciphers=aes128-ctr', `MACs=${name}`],
      new RegExp(`client->server cipher: aes128-ctr MAC: ${literally(name)} `),
    ),
  ),
  ...common('kex').map((name) =>
    negotiates(
      name,
      [`KexAlgorithms=${name}`],
      new RegExp(`kex: algorithm: ${literally(name)}\\s`),
    ),
  ),
  negotiates('ssh-ed25519', ['HostKeyAlgorithms=ssh-ed25519'], /host key algorithm: ssh-ed25519\s/),
  negotiates('ext-info with server-sig-algs', [], /server-sig-algs=<.*ssh-ed25519.*>/),
  {
    name: 'nothing in common is an error that names what is missing',
    run: async ({ openssh }) => {
      const { code, stderr } = await openssh.ssh('true', {
        args: ['-o', 'LogLevel=INFO', '-o', 'Ciphers=3des-cbc'],
      })
      assert.is(code, 255)
      assert.match(stderr, /no matching cipher found/)
    },
  },
])
