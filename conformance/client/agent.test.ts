// Our agent client to ssh-agent, and ssh-add and ssh to an agent of ours.
// Time limit: 120 s

import { readFileSync, writeFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { join } from 'node:path'
import {
  type AgentClient,
  agentClient,
  defaultCrypto,
  generateKey,
  Keyring,
  type KeyringOptions,
  memoryPair,
  modern,
  nodeSocket,
  parsePrivateKey,
  publickey,
  serveAgent,
} from '@sandbox-ssh/protocol'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { connectTo } from '../peers/connect.ts'
import { type Daemon, startDaemon } from '../peers/daemon.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { OpenSsh, type Sshd, startSshd } from '../peers/openssh.ts'
import { startOwnServer } from '../peers/own-server.ts'
import { output, type Ran, run } from '../peers/run.ts'

const data = new TextEncoder().encode('to be signed')
const kinds = ['ed25519', 'ecdsa-nistp256', 'ecdsa-nistp384', 'ecdsa-nistp521', 'rsa-3072'] as const

/** Runs with an ssh-agent that ends afterwards. */
async function withAgent(
  body: (agent: AgentClient, socket: string) => Promise<void>,
): Promise<void> {
  const socket = join(temporaryFolder(), 'agent')
  // It says nothing on stderr when it is ready; that its socket is there tells.
  const daemon: Daemon = (
    await startDaemon(
      [
        'sh',
        '-c',
        `ssh-agent -D -a ${socket} & child=$!; trap "kill $child" TERM; while ! test -S ${socket}; do sleep 0.02; done; echo ready >&2; wait $child; wait`,
      ],
      /ready/,
    )
  ).daemon
  const agent = agentClient(nodeSocket(createConnection(socket)))
  try {
    await body(agent, socket)
  } finally {
    await agent.close()
    await daemon.stop()
  }
}

const client = suite('Our agent client: ssh-agent')

client('adds keys of all kinds, lists them, signs and removes', async () => {
  await withAgent(async (agent, socket) => {
    for (const kind of kinds) {
      const key = generateKey(kind, { comment: kind })
      await agent.add(key)
      const [signer, ...others] = await agent.list()
      assert.equal(others, [])
      assert.is(signer?.publicKey.toString(), key.publicKey.toString())
      const listed = await output(['ssh-add', '-L'], { env: { SSH_AUTH_SOCK: socket } })
      assert.is(listed.trim(), key.publicKey.toString())
      for (const algorithm of signer?.algorithms ?? []) {
        const spec = modern(defaultCrypto()).userKeys.find(({ name }) => name === algorithm)
        const signature = (await signer?.sign(data, algorithm)) as Uint8Array
        assert.ok(spec?.verify(defaultCrypto(), key.publicKey, data, signature), algorithm)
      }
      await agent.remove(key.publicKey)
      assert.equal(await agent.list(), [])
    }
  })
})

client('locks and unlocks, and a key may end', async () => {
  await withAgent(async (agent, socket) => {
    const key = generateKey('ed25519')
    await agent.add(key, { lifetimeSeconds: 1000 })
    await agent.lock('sesame')
    assert.equal(await agent.list(), [])
    await agent.unlock('sesame')
    assert.is((await agent.list()).length, 1)
    await agent.removeAll()
    await agent.add(key, { lifetimeSeconds: 1 })
    const listed = (): Promise<Ran> => run(['ssh-add', '-l'], { env: { SSH_AUTH_SOCK: socket } })
    while ((await listed()).code === 0) await new Promise((resolve) => setTimeout(resolve, 100))
    assert.equal(await agent.list(), [])
  })
})

client('logs in to sshd, with a key and with a certificate', async () => {
  const folder = temporaryFolder()
  await output(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'ca')])
  const sshd: Sshd = await startSshd([`TrustedUserCAKeys ${join(folder, 'ca.pub')}`])
  try {
    await withAgent(async (agent, socket) => {
      await agent.add(await parsePrivateKey(readFileSync(sshd.identity, 'utf8')))
      const auth = [publickey(() => agent.list())]
      const first = await connectTo(sshd, { auth })
      assert.is((await first.run('echo in')).text(), 'in\n')
      await first.close()
      await agent.removeAll()

      for (const type of ['ed25519', 'ecdsa', 'rsa']) {
        const id = join(folder, type)
        await output(['ssh-keygen', '-q', '-t', type, '-N', '', '-f', id])
        const sign = ['ssh-keygen', '-q', '-s', join(folder, 'ca'), '-I', 'x', '-n', 'root']
        await output([...sign, `${id}.pub`])
        await output(['ssh-add', '-q', id], { env: { SSH_AUTH_SOCK: socket } })
        const signers = await agent.list()
        assert.is(signers.length, 2)
        const certified = signers.filter(({ publicKey: { type } }) => type.includes('-cert-'))
        const second = await connectTo(sshd, { auth: [publickey(certified)] })
        await second.close()
        await agent.removeAll()
      }
    })
  } finally {
    await sshd.daemon.stop()
  }
})

client('is forwarded to a program behind sshd', async () => {
  const sshd = await startSshd()
  try {
    const keyring = new Keyring()
    keyring.add(generateKey('ed25519', { comment: 'far from home' }))
    const connection = await connectTo(sshd, {
      agentForward: () => {
        const [ours, theirs] = memoryPair()
        serveAgent(theirs, keyring, { readOnly: true }).catch(() => {})
        return ours
      },
    })
    assert.match((await connection.run('ssh-add -L')).text(), /far from home\n$/)
    // sshd keeps its socket for the whole connection; we answer only while a session asked for it.
    const without = await connection.run('ssh-add -L', { agentForward: false })
    assert.is.not(without.code, 0)
    await connection.close()
  } finally {
    await sshd.daemon.stop()
  }
})

client.run()

const server = suite('ssh-add and ssh: our agent')

/** Serves a keyring on a Unix socket. */
async function served(
  options: KeyringOptions,
  body: (env: Record<string, string>, keyring: Keyring, errors: unknown[]) => Promise<void>,
): Promise<void> {
  const keyring = new Keyring(options)
  const socket = join(temporaryFolder(), 'agent')
  const errors: unknown[] = []
  const listener = createServer({ allowHalfOpen: true }, (connection) => {
    serveAgent(nodeSocket(connection), keyring, { onError: (error) => errors.push(error) }).catch(
      (error) => errors.push(error),
    )
  })
  await new Promise<void>((resolve) => listener.listen(socket, resolve))
  try {
    // What ssh-add asks in a terminal it asks this program elsewhere.
    const askpass = join(temporaryFolder(), 'askpass')
    writeFileSync(askpass, '#!/bin/sh\necho "$ANSWER"\n', { mode: 0o700 })
    const env = {
      ANSWER: 'sesame',
      SSH_AUTH_SOCK: socket,
      SSH_ASKPASS: askpass,
      SSH_ASKPASS_REQUIRE: 'force',
    }
    await body(env, keyring, errors)
  } finally {
    listener.close()
  }
}

server('ssh-add adds, lists and removes keys and certificates of all kinds', async () => {
  const folder = temporaryFolder()
  await output(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'ca')])
  await served({}, async (env, keyring) => {
    for (const type of ['ed25519', 'ecdsa', 'rsa']) {
      const id = join(folder, type)
      await output(['ssh-keygen', '-q', '-t', type, '-N', '', '-C', 'my key', '-f', id])
      const sign = ['ssh-keygen', '-q', '-s', join(folder, 'ca'), '-I', 'x', '-n', 'root']
      await output([...sign, `${id}.pub`])
      await output(['ssh-add', '-q', id], { env })
      assert.is(keyring.keys.length, 2)
      const listed = await output(['ssh-add', '-L'], { env })
      assert.ok(listed.includes(readFileSync(`${id}.pub`, 'utf8').trim()))
      // Has the agent sign and checks the signature; with an RSA key it asks for SHA-1.
      const tested = await run(['ssh-add', '-q', '-T', `${id}.pub`], { env })
      assert.is(tested.code, type === 'rsa' ? 1 : 0, tested.stderr)
      await output(['ssh-add', '-q', '-d', id], { env })
      assert.is(keyring.keys.length, 0)
    }
    await output(['ssh-add', '-q', join(folder, 'rsa')], { env })
    await output(['ssh-add', '-q', '-D'], { env })
    assert.is(keyring.keys.length, 0)
  })
})

server('ssh-add constrains, locks and unlocks; what is not kept is refused', async () => {
  const folder = temporaryFolder()
  const id = join(folder, 'id')
  await output(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', id])
  let agree = true
  await served({ confirm: () => agree }, async (env, keyring) => {
    await output(['ssh-add', '-q', '-c', '-t', '600', id], { env })
    await output(['ssh-add', '-q', '-T', `${id}.pub`], { env })
    agree = false
    assert.is.not((await run(['ssh-add', '-q', '-T', `${id}.pub`], { env })).code, 0)
    await output(['ssh-add', '-x'], { env })
    assert.ok(keyring.locked)
    assert.match((await run(['ssh-add', '-l'], { env })).stdout.toString(), /no identities/)
    assert.is.not((await run(['ssh-add', '-X'], { env: { ...env, ANSWER: 'wrong' } })).code, 0)
    await output(['ssh-add', '-X'], { env })
    assert.not(keyring.locked)
    await output(['ssh-add', '-q', '-D'], { env })
    // A key for the way to some hosts only.
    const known = join(folder, 'known')
    writeFileSync(known, `box ${readFileSync(`${id}.pub`, 'utf8')}`)
    const destined = await run(['ssh-add', '-q', '-H', known, '-h', 'box', id], { env })
    assert.is.not(destined.code, 0)
    assert.is(keyring.keys.length, 0)
  })
  await served({}, async (env, keyring) => {
    assert.is.not((await run(['ssh-add', '-q', '-c', id], { env })).code, 0)
    assert.is(keyring.keys.length, 0)
  })
})

server('ssh logs in with it, having bound it to its session', async () => {
  const sshd = await startSshd()
  let sessions = -1
  const confirm: KeyringOptions['confirm'] = (request) => {
    sessions = request.sessions.length
    return true
  }
  try {
    await served({ confirm }, async (env, keyring, errors) => {
      keyring.add(await parsePrivateKey(readFileSync(sshd.identity, 'utf8')), { confirm: true })
      const openssh = new OpenSsh({ ...sshd, identity: `${sshd.identity}.pub` }, [
        `IdentityAgent ${env['SSH_AUTH_SOCK']}`,
      ])
      assert.is(await openssh.text('echo in'), 'in\n')
      assert.equal(errors, [])
      assert.is(sessions, 1)
    })
  } finally {
    await sshd.daemon.stop()
  }
})

server('ssh -A lets a session of ours use its agent', async () => {
  let listed: readonly string[] = []
  const own = await startOwnServer({
    agentForwarding: true,
    session: async (session) => {
      if (!session.agentForwarding) return 3
      const agent = agentClient(await session.agent())
      listed = (await agent.list()).map(({ publicKey: { comment } }) => comment)
      await agent.close()
      return 0
    },
  })
  try {
    await withAgent(async (agent, socket) => {
      await agent.add(generateKey('ed25519', { comment: 'far from home' }))
      const openssh = new OpenSsh(own, [`IdentityAgent ${socket}`, 'ForwardAgent yes'])
      assert.is((await openssh.ssh('x')).code, 0)
      assert.equal(listed, ['far from home'])
      assert.is((await openssh.ssh('x', { args: ['-a'] })).code, 3)
    })
  } finally {
    await own.stop()
  }
})

server.run()
