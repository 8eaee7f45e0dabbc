// Keys replaced under load, for every reason there is, and the policy of strict key exchange.

import type { RekeyLimits } from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { features } from '../feature.ts'
import { commands } from '../others/our-server.ts'
import { connectTo } from '../peers/connect.ts'
import { OpenSsh, startSshd } from '../peers/openssh.ts'
import { startOwnServer } from '../peers/own-server.ts'

const MiB = 1 << 20
const data = bytes(8 * MiB)

/** Counts key exchanges in a trace. */
function counted(): { readonly trace: (line: string) => void; readonly exchanges: () => number } {
  let exchanges = 0
  return {
    trace: (line) => {
      if (line.startsWith('< NEWKEYS')) exchanges++
    },
    exchanges: () => exchanges,
  }
}

const limits: readonly (readonly [string, RekeyLimits])[] = [
  ['by bytes', { bytes: MiB }],
  ['by packets', { packets: 50 }],
  ['by time', { ms: 30 }],
]

const client = features('OpenSSH', 'client', 'rekeying', 1)

/** Sends 8 MiB there and back, and gives how often keys were exchanged. */
async function throughSsh(rekey: RekeyLimits, configuration: readonly string[]): Promise<number> {
  const { trace, exchanges } = counted()
  const own = await startOwnServer({ session: commands, rekey, trace, requireStrictKex: true })
  try {
    const ran = await new OpenSsh(own, configuration).ssh('cat; exit 7', { stdin: data })
    assert.is(ran.code, 7, ran.stderr)
    assert.is(sha256(ran.stdout), sha256(data))
    return exchanges()
  } finally {
    await own.stop()
  }
}

for (const [name, rekey] of limits) {
  client(`we replace keys ${name} under 8 MiB each way`, async () => {
    const exchanges = await throughSsh(rekey, [])
    assert.ok(exchanges > 3, `${exchanges} exchanges`)
  })
}
client('ssh replaces them by bytes', async () => {
  const exchanges = await throughSsh({}, ['RekeyLimit 1M'])
  assert.ok(exchanges > 3, `${exchanges} exchanges`)
})
client('both sides replace them by bytes at once', async () => {
  const exchanges = await throughSsh({ bytes: MiB }, ['RekeyLimit 1M'])
  assert.ok(exchanges > 3, `${exchanges} exchanges`)
})
client('ssh replaces them by time while nothing else passes', async () => {
  const { trace, exchanges } = counted()
  const own = await startOwnServer({
    trace,
    session: async ({ signal }) => {
      // It looks at its clock when something arrives or every second of its own accord.
      while (exchanges() < 3 && !signal.aborted) {
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      return 7
    },
  })
  try {
    const options = ['RekeyLimit default 1', 'ServerAliveInterval 1']
    assert.is((await new OpenSsh(own, options).ssh('x')).code, 7)
    assert.ok(exchanges() >= 3)
  } finally {
    await own.stop()
  }
})
client.run()

const server = features('OpenSSH', 'server', 'rekeying', 1)

async function throughSshd(rekey: RekeyLimits, configuration: readonly string[]): Promise<number> {
  const { trace, exchanges } = counted()
  const sshd = await startSshd(configuration)
  try {
    const login = await connectTo(sshd, { rekey, trace, requireStrictKex: true })
    const { code, stdout } = await login.run('cat; exit 7', { stdin: data, maxBytes: 30 * MiB })
    assert.is(code, 7)
    assert.is(sha256(stdout), sha256(data))
    await login.close()
    return exchanges()
  } finally {
    await sshd.daemon.stop()
  }
}

for (const [name, rekey] of limits) {
  server(`we replace keys ${name} under 8 MiB each way`, async () => {
    const exchanges = await throughSshd(rekey, [])
    assert.ok(exchanges > 3, `${exchanges} exchanges`)
  })
}
server('sshd replaces them by bytes', async () => {
  const exchanges = await throughSshd({}, ['RekeyLimit 1M'])
  assert.ok(exchanges > 3, `${exchanges} exchanges`)
})
server('both sides replace them by bytes at once', async () => {
  const exchanges = await throughSshd({ bytes: MiB }, ['RekeyLimit 1M'])
  assert.ok(exchanges > 3, `${exchanges} exchanges`)
})
server.run()
