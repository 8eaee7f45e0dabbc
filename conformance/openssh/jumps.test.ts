// Jump hosts: ours for ssh -J, and sshd for our client, whose channel carries the next connection.

import { readFileSync, writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import {
  connect,
  nodeSocket,
  PublicKey,
  parsePrivateKey,
  pinned,
  publickey,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes } from '../data.ts'
import { features } from '../feature.ts'
import { commands } from '../others/our-server.ts'
import { connectTo } from '../peers/connect.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { type Endpoint, startSshd } from '../peers/openssh.ts'
import { type OwnServer, startOwnServer } from '../peers/own-server.ts'
import { run } from '../peers/run.ts'

const data = bytes(1 << 20)

const client = features('OpenSSH', 'client', 'jump hosts')

/** A server of ours that connects its clients to the one port given, and to nothing else. */
function jumpHost(port: number): Promise<OwnServer> {
  return startOwnServer({
    directTcpip: (target) => {
      if (target.port !== port) throw new Error('not there')
      return nodeSocket(connectTcp(port, '127.0.0.1'))
    },
  })
}

/** A configuration in which each host is reached through the one before. */
function configuration(hosts: readonly Endpoint[]): string {
  const path = join(temporaryFolder(), 'config')
  const lines = hosts.flatMap(({ port, username, identity }, index) => [
    `Host hop${index}`,
    ...[`Port ${port}`, `User ${username}`, `IdentityFile ${identity}`],
  ])
  const common = [
    ...['HostName 127.0.0.1', 'IdentitiesOnly yes', 'IdentityAgent none', 'BatchMode yes'],
    ...['UserKnownHostsFile /dev/null', 'StrictHostKeyChecking no', 'LogLevel ERROR'],
  ]
  writeFileSync(path, `${[...lines, 'Host *', ...common].join('\n')}\n`)
  return path
}

client('-J through our server to sshd', async () => {
  const target = await startSshd()
  const jump = await jumpHost(target.port)
  try {
    const config = configuration([jump, target])
    const ran = await run(['ssh', '-F', config, '-J', 'hop0', 'hop1', 'cat'], { stdin: data })
    assert.is(ran.code, 0, ran.stderr)
    assert.ok(ran.stdout.equals(data))
    assert.is(jump.connections.length, 1)
  } finally {
    await jump.stop()
    await target.daemon.stop()
  }
})

client('-J through two servers of ours to a third', async () => {
  const target = await startOwnServer({ session: commands })
  const second = await jumpHost(target.port)
  const first = await jumpHost(second.port)
  try {
    const config = configuration([first, second, target])
    const ran = await run(['ssh', '-F', config, '-J', 'hop0,hop1', 'hop2', 'cat; exit 7'], {
      stdin: data,
    })
    assert.is(ran.code, 7, ran.stderr)
    assert.ok(ran.stdout.equals(data))
  } finally {
    await Promise.all([first, second, target].map((server) => server.stop()))
  }
})

client('-J to where our server does not go', async () => {
  const jump = await jumpHost(1)
  try {
    const config = configuration([jump, { ...jump, port: 9 }])
    const ran = await run(['ssh', '-F', config, '-J', 'hop0', 'hop1', 'true'])
    assert.is(ran.code, 255)
  } finally {
    await jump.stop()
  }
})
client.run()

const server = features('OpenSSH', 'server', 'jump hosts')

server('our client jumps through sshd to our server and on to sshd', async () => {
  const sshd = await startSshd()
  const middle = await jumpHost(sshd.port)
  try {
    const outer = await connectTo(sshd)
    const through = await outer.directTcpip('127.0.0.1', middle.port)
    const inner = await connect(through, {
      username: middle.username,
      hostKey: () => true,
      auth: [publickey(await parsePrivateKey(readFileSync(middle.identity, 'utf8')))],
    })
    const last = await connect(await inner.directTcpip('127.0.0.1', sshd.port), {
      username: sshd.username,
      hostKey: pinned(PublicKey.parse(sshd.hostKey)),
      auth: [publickey(await parsePrivateKey(readFileSync(sshd.identity, 'utf8')))],
    })
    const { stdout, code } = await last.run('cat; exit 7', { stdin: data })
    assert.is(code, 7)
    assert.ok(stdout.every((byte, at) => byte === data[at]) && stdout.length === data.length)
    await last.close()
    await inner.close()
    await outer.close()
  } finally {
    await middle.stop()
    await sshd.daemon.stop()
  }
})
server.run()
