// Keys for some destinations only: what travels, what an agent of ours refuses, and OpenSSH's too.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { agentKeys } from '../../src/agent/auth.ts'
import { agentClient } from '../../src/agent/client.ts'
import {
  type BoundSession,
  type DestinationConstraint,
  decodeDestinations,
  encodeDestinations,
} from '../../src/agent/destinations.ts'
import { Keyring } from '../../src/agent/keyring.ts'
import { sessionBind } from '../../src/agent/messages.ts'
import { serveAgent } from '../../src/agent/server.ts'
import { type Client, connect } from '../../src/client.ts'
import { ignore } from '../../src/deferred.ts'
import { AuthenticationError } from '../../src/errors.ts'
import { memoryPair } from '../../src/io/memory.ts'
import { nodeSocket } from '../../src/io/node-socket.ts'
import type { Transport } from '../../src/io/transport.ts'
import { certified, issueCertificate } from '../../src/keys/certificate.ts'
import { pinned } from '../../src/keys/known-hosts.ts'
import { generateKey, type PrivateKey } from '../../src/keys/private-key.ts'
import type { PublicKey, Signer } from '../../src/keys/public-key.ts'
import { type ServerConnection, serve } from '../../src/server.ts'
import type { SessionHandler } from '../../src/server-session.ts'
import { Reader } from '../../src/wire/reader.ts'
import {
  publickeyHostboundRequest,
  publickeyRequest,
  publickeySigned,
  userauthRequest,
} from '../../src/wire/userauth.ts'
import { Writer } from '../../src/wire/writer.ts'
import { codeOf, utf8 } from '../connected.ts'
import { testWith } from '../suites/programs.ts'
import { rejection, within } from '../within.ts'

const LIMIT_MS = 20_000
const NOTHING = new Uint8Array(0)
const [first, second, stranger] = [1, 2, 3].map(() => generateKey('ed25519')) as [
  PrivateKey,
  PrivateKey,
  PrivateKey,
]
const user = generateKey('ed25519')

function it(name: string, run: () => Promise<void>): void {
  test(name, () => within(LIMIT_MS, run(), name))
}

const host = (hostName: string, key: PublicKey) => ({
  hostName,
  hostKeys: [{ key, isAuthority: false }],
})
const toFirst: DestinationConstraint = { to: host('first', first.publicKey) }
const onToSecond: DestinationConstraint = {
  from: host('first', first.publicKey),
  to: { ...host('second', second.publicKey), username: 'eve*' },
}

function opener(keyring: Keyring): () => Transport {
  return () => {
    const [left, right] = memoryPair()
    serveAgent(right, keyring).catch(ignore)
    return left
  }
}

/** Logs in with what the agent holds at a server with that host key. */
async function logIn(
  openAgent: () => Transport | Promise<Transport>,
  hostKey: Signer,
  username = 'ada',
  exec?: SessionHandler,
): Promise<{ client: Client; server: ServerConnection }> {
  const [left, right] = memoryPair()
  const [served, client] = await Promise.allSettled([
    serve(right, {
      hostKeys: [hostKey],
      auth: { publickey: ({ key }) => key.equals(user.publicKey) },
      agentForwarding: true,
      ...(exec && { exec }),
    }),
    connect(left, {
      username,
      hostKey: pinned(hostKey.publicKey),
      auth: [agentKeys(openAgent)],
      agentForward: openAgent,
    }),
  ])
  if (client.status === 'rejected') throw client.reason
  if (served.status === 'rejected') throw served.reason
  return { client: client.value, server: served.value }
}

it('what is encoded is read again, and what OpenSSH would not take is not made', async () => {
  const constraints = [toFirst, onToSecond]
  assert.equal(decodeDestinations(new Reader(encodeDestinations(constraints))), constraints)
  const nameless = { to: { hostName: '', hostKeys: toFirst.to.hostKeys } }
  assert.throws(() => encodeDestinations([nameless]), /"to" needs a name/)
  const keyless = { ...toFirst, from: { hostName: 'x', hostKeys: [] } }
  assert.throws(() => encodeDestinations([keyless]), /"from" needs a name/)
  assert.throws(() => decodeDestinations(new Reader(new Writer().string('').finish())), /none/)
})

it('a key logs in where its destinations are, and is not even offered elsewhere', async () => {
  const keyring = new Keyring()
  const agent = agentClient(opener(keyring)())
  await agent.add(user, { destinations: [toFirst] })
  const { client, server } = await logIn(opener(keyring), first)
  assert.ok(server.publicKey?.equals(user.publicKey))
  await client.close()
  const refused = await rejection(logIn(opener(keyring), stranger))
  assert.instance(refused, AuthenticationError)
  assert.match((refused as Error).message, 'nothing fitted')
  await agent.close()
})

it('an authority stands for the hosts whose certificates carry the name', async () => {
  const authority = generateKey('ed25519')
  const shown = async (name: string): Promise<Signer> =>
    certified(
      first,
      await issueCertificate(authority, {
        key: first.publicKey,
        role: 'host',
        principals: [name],
        keyId: name,
        validBeforeMs: Date.now() + 600_000,
      }),
    )
  const keyring = new Keyring()
  const hostKeys = [{ key: authority.publicKey, isAuthority: true }]
  keyring.add(user, { destinations: [{ to: { hostName: '*.example', hostKeys } }] })
  const policy = keyring
  const over = async (signer: Signer): Promise<number> => {
    const sessions: BoundSession[] = [
      { hostKey: signer.publicKey, sessionId: utf8('x'), forwarding: false },
    ]
    return policy.keysOver({ sessions }).length
  }
  assert.is(await over(await shown('*.example')), 1)
  assert.is(await over(await shown('other')), 0)
  assert.is(await over(first), 0)
})

it('a forwarded agent lets the next hop be made only where that is permitted', async () => {
  const keyring = new Keyring()
  const onward: SessionHandler = async (session) => {
    const [username, which] = session.command.split('@') as [string, string]
    try {
      const next = await logIn(
        () => session.agent(),
        which === 'second' ? second : stranger,
        username,
      )
      await next.client.close()
      return 0
    } catch {
      return 1
    }
  }
  const attempt = async (
    command: string,
    destinations: readonly DestinationConstraint[] | undefined,
  ): Promise<number | undefined> => {
    keyring.removeAll()
    keyring.add(user, destinations === undefined ? {} : { destinations })
    const { client } = await logIn(opener(keyring), first, 'ada', onward)
    const { code } = await client.run(command)
    await client.close()
    return code
  }
  assert.is(await attempt('eve@second', undefined), 0)
  assert.is(await attempt('eve@second', [toFirst, onToSecond]), 0)
  assert.is(await attempt('evelyn@second', [toFirst, onToSecond]), 0)
  assert.is(await attempt('mallory@second', [toFirst, onToSecond]), 1)
  assert.is(await attempt('eve@third', [toFirst, onToSecond]), 1)
  assert.is(await attempt('eve@second', [toFirst]), 1)
})

it('nothing is signed but the login at the end of the way that was bound', async () => {
  const keyring = new Keyring()
  keyring.add(user, { destinations: [toFirst, onToSecond] })
  const ask = opener(keyring)
  const login = (
    options: {
      sessionId?: Uint8Array
      username?: string
      key?: PublicKey
      hostKey?: PublicKey | undefined
      signed?: boolean
    } = {},
  ): Uint8Array => {
    const { sessionId = utf8('one'), username = 'ada', key = user.publicKey } = options
    const { hostKey, signed = true } = options
    const fields = { signed, algorithm: 'ssh-ed25519', publicKey: key.blob, signaturePart: NOTHING }
    return publickeySigned.encode({
      sessionId,
      request: userauthRequest.encode({
        username,
        serviceName: 'ssh-connection',
        methodName: hostKey ? 'publickey-hostbound-v00@openssh.com' : 'publickey',
        methodSpecific: hostKey
          ? publickeyHostboundRequest.encode({ ...fields, hostKey: hostKey.blob })
          : publickeyRequest.encode(fields),
      }),
    })
  }
  type Binding = readonly [PrivateKey, string, boolean]
  const signs = async (bindings: readonly Binding[], data: Uint8Array): Promise<boolean> => {
    const agent = agentClient(ask())
    for (const [key, id, forwarding] of bindings) {
      const sessionId = utf8(id)
      const signature = key.sign(sessionId, 'ssh-ed25519')
      const hostKey = key.publicKey.blob
      const bind = { hostKey, sessionId, signature, forwarding: forwarding ? 1 : 0 }
      await agent.extension('session-bind@openssh.com', sessionBind.encode(bind))
    }
    const outcome = await agent.sign(user.publicKey, data, 'ssh-ed25519').catch(codeOf)
    await agent.close()
    if (outcome instanceof Uint8Array) return true
    assert.is(outcome, 'SSH_SIGN')
    return false
  }
  const atFirst: readonly Binding[] = [[first, 'one', false]]
  assert.ok(await signs(atFirst, login()))
  assert.ok(await signs(atFirst, login({ hostKey: first.publicKey })))
  assert.not(await signs([], login()), 'unbound')
  assert.not(await signs(atFirst, utf8('a message')), 'no login')
  assert.not(await signs(atFirst, login({ signed: false })), 'a probe')
  assert.not(await signs(atFirst, login({ sessionId: utf8('two') })), 'another connection')
  assert.not(await signs(atFirst, login({ hostKey: second.publicKey })), 'another host')
  assert.not(await signs(atFirst, login({ key: stranger.publicKey })), 'another key')
  assert.not(await signs([[first, 'one', true]], login()), 'bound for forwarding')
  assert.not(await signs([[stranger, 'one', false]], login()), 'no destination')
  const onward: readonly Binding[] = [
    [first, 'zero', true],
    [second, 'one', false],
  ]
  const there = { username: 'eve', hostKey: second.publicKey }
  assert.ok(await signs(onward, login(there)))
  assert.not(await signs(onward, login({ username: 'eve' })), 'without the name of the host key')
  assert.not(await signs(onward, login({ ...there, username: 'ada' })), 'another user')

  // A binding that failed leaves nobody on the spot.
  const agent = agentClient(ask())
  const forged = stranger.sign(utf8('one'), 'ssh-ed25519')
  const bind = { hostKey: first.publicKey.blob, sessionId: utf8('one'), signature: forged }
  const contents = sessionBind.encode({ ...bind, forwarding: 0 })
  await rejection(agent.extension('session-bind@openssh.com', contents))
  assert.is((await agent.list()).length, 0)
  assert.is(codeOf(await rejection(agent.remove(user.publicKey))), 'SSH_REQUEST_REFUSED')
  assert.is(codeOf(await rejection(agent.add(user))), 'SSH_REQUEST_REFUSED')
  await agent.close()
  assert.is(keyring.keys.length, 1)
})

it('an agent that is not there is told in the error, and other methods go on', async () => {
  const nowhere = (): Promise<Transport> => Promise.reject(new Error('no such socket'))
  const error = await rejection(logIn(nowhere, first))
  assert.match((error as Error).message, 'agent: no such socket')
})

// --- OpenSSH's own ---------------------------------------------------------------------------

const folder = mkdtempSync(join(tmpdir(), 'destinations-'))
const children: ChildProcess[] = []
test.after(() => {
  for (const child of children) child.kill()
  rmSync(folder, { recursive: true })
})

async function sshAdd(socket: string, ...args: readonly string[]): Promise<void> {
  const env = { ...process.env, SSH_AUTH_SOCK: socket }
  const child = spawn('ssh-add', args, { env, stdio: ['ignore', 'ignore', 'pipe'] })
  children.push(child)
  let said = ''
  child.stderr.on('data', (chunk) => {
    said += chunk
  })
  const [code] = await once(child, 'close')
  assert.is(code, 0, said)
}

testWith(['ssh-add'], 'ssh-add gives our agent a key with destinations', async () => {
  const keyring = new Keyring()
  const socket = join(folder, 'ours')
  const server = createServer((peer) => {
    serveAgent(nodeSocket(peer), keyring).catch(ignore)
  }).listen(socket)
  await once(server, 'listening')
  writeFileSync(join(folder, 'key'), user.toOpenSsh(), { mode: 0o600 })
  const known = [first, second].map((key, at) => `host${at} ${key.publicKey}\n`).join('')
  writeFileSync(join(folder, 'known'), known)
  const hops = ['-h', 'host0', '-h', 'host0>eve@host1']
  await within(LIMIT_MS, sshAdd(socket, '-H', join(folder, 'known'), ...hops, join(folder, 'key')))
  assert.is(keyring.keys.length, 1)
  const { client } = await logIn(opener(keyring), first)
  await client.close()
  assert.instance(await rejection(logIn(opener(keyring), second)), AuthenticationError)
  server.close()
})

testWith(['ssh-agent'], 'ssh-agent keeps the destinations that we give it', async () => {
  const socket = join(folder, 'theirs')
  children.push(spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' }))
  while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 10))
  const open = async (): Promise<Transport> => {
    const peer = createConnection(socket)
    await once(peer, 'connect')
    return nodeSocket(peer)
  }
  const agent = agentClient(await open())
  await agent.add(user, { destinations: [toFirst, onToSecond] })
  const { client } = await within(
    LIMIT_MS,
    logIn(open, first, 'ada', async (session) => {
      const next = await logIn(() => session.agent(), second, session.command).catch(ignore)
      await next?.client.close()
      return next === undefined ? 1 : 0
    }),
  )
  // Over the forwarded agent: bound twice, and the signature names its host.
  assert.is((await client.run('eve')).code, 0)
  assert.is((await client.run('mallory')).code, 1)
  await client.close()
  assert.instance(await rejection(logIn(open, stranger)), AuthenticationError)
  await agent.close()
})

test.run()
