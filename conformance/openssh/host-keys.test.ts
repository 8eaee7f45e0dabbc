// Host keys announced and proved, with OpenSSH on the other side.
// Time limit: 120 s

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateKey, type PublicKey } from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { features } from '../feature.ts'
import { connectTo } from '../peers/connect.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { OpenSsh, startSshd } from '../peers/openssh.ts'
import { startOwnServer } from '../peers/own-server.ts'
import { output } from '../peers/run.ts'

const announced = features('OpenSSH', 'server', 'host keys announced')

announced('our client learns all keys of sshd', async () => {
  const folder = temporaryFolder()
  const paths = ['ecdsa', 'rsa'].map((type) => join(folder, type))
  for (const path of paths) {
    const type = path.slice(folder.length + 1)
    await output(['ssh-keygen', '-q', '-t', type, '-N', '', '-f', path])
  }
  const sshd = await startSshd(paths.map((path) => `HostKey ${path}`))
  try {
    let heard: (keys: readonly PublicKey[]) => void = () => {}
    const told = new Promise<readonly PublicKey[]>((resolve) => {
      heard = resolve
    })
    const client = await connectTo(sshd, { onHostKeys: heard })
    const lines = (await told).map((key) => key.toString())
    const expected = [sshd.hostKey, ...paths.map((path) => readFileSync(`${path}.pub`, 'utf8'))]
    assert.equal(lines.sort(), expected.map((line) => line.split(' ').slice(0, 2).join(' ')).sort())
    client.noMoreSessions()
    await client.ping()
    await client.close()
  } finally {
    await sshd.daemon.stop()
  }
})

announced.run()

const learned = features('OpenSSH', 'client', 'host keys announced')

learned("OpenSSH's client learns all keys of our server", async () => {
  const keys = [generateKey('ed25519'), generateKey('ecdsa-nistp256'), generateKey('rsa-3072')]
  const known = join(temporaryFolder(), 'known')
  const isKnown = ({ publicKey }: { readonly publicKey: PublicKey }): boolean =>
    existsSync(known) && readFileSync(known, 'utf8').includes(publicKey.toString())
  const own = await startOwnServer({
    hostKeys: keys,
    session: async ({ command, signal }) => {
      if (command === 'first') return 0
      // The client learns beside the session, and ends with it.
      while (!signal.aborted && !keys.every(isKnown)) {
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      return 0
    },
  })
  try {
    const config = ['UpdateHostKeys yes', `UserKnownHostsFile ${known}`]
    const openssh = new OpenSsh(own, config)
    // It takes one key on trust, and others only from a host that it knows already.
    assert.is((await openssh.ssh('first')).code, 0)
    assert.is((await openssh.ssh('second', { limitMs: 20_000 })).code, 0)
    assert.ok(keys.every(isKnown))
  } finally {
    await own.stop()
  }
})

learned.run()
