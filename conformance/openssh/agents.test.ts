// Our agent client to ssh-agent, and ssh-add and ssh to an agent of ours.

import { readFileSync, writeFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { join } from 'node:path'
import {
  AuthenticationError,
  agentClient,
  agentKeys,
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
import * as assert from 'uvu/assert'
import { features } from '../feature.ts'
import { withAgent } from '../peers/agent.ts'
import { connectTo } from '../peers/connect.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { OpenSsh, type Sshd, startSshd } from '../peers/openssh.ts'
import { startOwnServer } from '../peers/own-server.ts'
import { output, type Ran, run } from '../peers/run.ts'

const data = new TextEncoder().encode('to be signed')
const kinds = ['ed25519', 'ecdsa-nistp256', 'ecdsa-nistp384', 'ecdsa-nistp521', 'rsa-3072'] as const

const client = features('OpenSSH', 'server', 'agents')

client('ssh-agent takes keys of all kinds, lists them, signs and forgets them', async () => {
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

client('ssh-agent is locked and unlocked, and a key may end', async () => {
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

client('keys and certificates in ssh-agent log in to sshd', async () => {
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

client('of many keys in ssh-agent only those are offered that are asked for', async () => {
  const sshd: Sshd = await startSshd(['MaxAuthTries 2'])
  try {
    await withAgent(async (agent, socket) => {
      for (let count = 0; count < 4; count++) await agent.add(generateKey('ed25519'))
      const known = await parsePrivateKey(readFileSync(sshd.identity, 'utf8'))
      await agent.add(known)
      const open = () => nodeSocket(createConnection(socket))
      const tried: string[] = []
      const trace = (line: string): void => {
        if (/^> USERAUTH_REQUEST .* publickey/.test(line)) tried.push(line)
      }
      const all = await connectTo(sshd, { auth: [agentKeys(open)], trace }).catch(
        (error: unknown) => error,
      )
      assert.match(String(all), /too many authentication failures/i)
      tried.length = 0
      const auth = [agentKeys(open, { only: [known.publicKey] })]
      const login = await connectTo(sshd, { auth, trace })
      assert.is((await login.run('echo in')).text(), 'in\n')
      await login.close()
      // It is asked whether it would do, and then signs.
      assert.is(tried.length, 2)
      const none = [agentKeys(open, { only: [generateKey('ed25519').publicKey] })]
      tried.length = 0
      const refused = await connectTo(sshd, { auth: none, trace }).catch((error: unknown) => error)
      assert.instance(refused, AuthenticationError, String(refused))
      assert.is(tried.length, 0)
    })
  } finally {
    await sshd.daemon.stop()
  }
})

client('an agent of ours is forwarded to a program behind sshd', async () => {
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

const server = features('OpenSSH', 'client', 'agents')

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

server(
  'ssh-add gives our agent keys and certificates of all kinds, lists and removes them',
  async () => {
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
  },
)

server(
  'ssh-add constrains keys, locks and unlocks our agent; what it cannot keep it refuses',
  async () => {
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
    })
    await served({}, async (env, keyring) => {
      assert.is.not((await run(['ssh-add', '-q', '-c', id], { env })).code, 0)
      assert.is(keyring.keys.length, 0)
    })
  },
)

server('a key that ssh-add binds to a destination logs in there and nowhere else', async () => {
  const sshd = await startSshd()
  const elsewhere = await startSshd([], [readFileSync(`${sshd.identity}.pub`, 'utf8')])
  try {
    const known = join(temporaryFolder(), 'known')
    writeFileSync(known, `box ${sshd.hostKey}\n`)
    await served({}, async (env, keyring) => {
      await output(['ssh-add', '-q', '-H', known, '-h', 'box', sshd.identity], { env })
      assert.is(keyring.keys.length, 1)
      const through = (endpoint: Sshd): OpenSsh =>
        new OpenSsh({ ...endpoint, identity: `${sshd.identity}.pub` }, [
          `IdentityAgent ${env['SSH_AUTH_SOCK']}`,
        ])
      assert.is(await through(sshd).text('echo in'), 'in\n')
      const { code, stderr } = await through(elsewhere).ssh('echo in')
      assert.is(code, 255)
      assert.match(stderr, /Permission denied|agent refused operation/)
      // And bound to no connection it signs nothing at all.
      const tested = await run(['ssh-add', '-q', '-T', `${sshd.identity}.pub`], { env })
      assert.is.not(tested.code, 0)
    })
  } finally {
    await sshd.daemon.stop()
    await elsewhere.daemon.stop()
  }
})

server('ssh logs in with our agent, having bound it to its session', async () => {
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
