/** Certificates shown to the real OpenSSH, and by it: users and hosts, client and server. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createConnection, createServer, type Server } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { publickey } from '../../src/auth-methods.ts'
import { connect } from '../../src/client.ts'
import { nodeSocket } from '../../src/io/node-socket.ts'
import { authorize } from '../../src/keys/authorization.ts'
import { parseAuthorizedKeys } from '../../src/keys/authorized-keys.ts'
import { certified, issueCertificate } from '../../src/keys/certificate.ts'
import { knownHosts } from '../../src/keys/known-hosts.ts'
import { generateKey, type KeyKind, type PrivateKey } from '../../src/keys/private-key.ts'
import type { PublicKey } from '../../src/keys/public-key.ts'
import { serve } from '../../src/server.ts'
import { testWith } from '../suites/programs.ts'
import { within } from '../within.ts'

const folder = mkdtempSync(join(tmpdir(), 'certificates-'))
const path = (name: string): string => join(folder, name)
/** sshd insists on being started by its whole path. */
const SSHD = '/usr/sbin/sshd'
const authority = generateKey('ed25519')
const kinds: readonly KeyKind[] = ['ed25519', 'ecdsa-nistp256', 'rsa-3072']
const keys = new Map(kinds.map((kind) => [kind, generateKey(kind)]))
const children: ChildProcess[] = []
const servers: Server[] = []
test.after(() => {
  for (const child of children) child.kill()
  for (const server of servers) server.close()
  rmSync(folder, { recursive: true })
})

function issued(key: PrivateKey, role: 'user' | 'host', principal: string): Promise<PublicKey> {
  return issueCertificate(authority, {
    key: key.publicKey,
    role,
    principals: [principal],
    keyId: 'test',
    validBeforeMs: Date.now() + 600_000,
  })
}

async function ssh(...args: readonly string[]): Promise<{ code: number | null; output: string }> {
  const options = ['IdentitiesOnly=yes', 'IdentityAgent=none', 'BatchMode=yes', 'LogLevel=ERROR']
  const child = spawn('ssh', ['-F', 'none', ...options.flatMap((one) => ['-o', one]), ...args])
  children.push(child)
  let output = ''
  child.stdout.on('data', (chunk) => {
    output += chunk
  })
  child.stderr.on('data', (chunk) => {
    output += chunk
  })
  const [code] = await once(child, 'close')
  return { code, output: output.trim() }
}

testWith(
  ['ssh'],
  'OpenSSH shows and takes certificates of every type with our server',
  async () => {
    const hostKeys = await Promise.all(
      [...keys.values()].map(async (key) => certified(key, await issued(key, 'host', '127.0.0.1'))),
    )
    const authorized = parseAuthorizedKeys(`cert-authority ${authority.publicKey}`, {
      honours: ['cert-authority'],
    }).keys
    const server = createServer((socket) => {
      serve(nodeSocket(socket), {
        hostKeys,
        auth: {
          publickey: ({ key, username }) => authorize(authorized, { key, username }) ?? false,
        },
        exec: async (session) => {
          await session.write(new TextEncoder().encode(`hello ${session.username}`))
          return 0
        },
        // A refused user ends the connection; what the client says of it is looked at below.
      }).catch(() => undefined)
    })
    servers.push(server.listen(0, '127.0.0.1'))
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const known = `@cert-authority [127.0.0.1]:${port} ${authority.publicKey}\n`
    writeFileSync(path('known_hosts'), known)
    const common = ['-p', String(port), '-o', 'StrictHostKeyChecking=yes']
    common.push('-o', `UserKnownHostsFile=${path('known_hosts')}`)

    for (const [kind, key] of keys) {
      const identity = path(`user-${kind}`)
      writeFileSync(identity, key.toOpenSsh(), { mode: 0o600 })
      writeFileSync(`${identity}-cert.pub`, `${await issued(key, 'user', 'ada')}\n`)
      const args = [...common, '-i', identity]
      const allowed = await within(30_000, ssh(...args, 'ada@127.0.0.1', 'x'))
      assert.equal(allowed, { code: 0, output: 'hello ada' }, kind)
      const refused = await within(30_000, ssh(...args, 'eve@127.0.0.1', 'x'))
      assert.is(refused.code, 255, kind)
      assert.match(refused.output, /Permission denied/, kind)
    }
    for (const algorithm of [
      'ssh-ed25519-cert-v01@openssh.com',
      'ecdsa-sha2-nistp256-cert-v01@openssh.com',
      'rsa-sha2-512-cert-v01@openssh.com',
      'rsa-sha2-256-cert-v01@openssh.com',
    ]) {
      const args = [...common, '-i', path('user-ed25519'), '-o', `HostKeyAlgorithms=${algorithm}`]
      const { code, output } = await within(30_000, ssh(...args, 'ada@127.0.0.1', 'x'))
      assert.equal({ code, output }, { code: 0, output: 'hello ada' }, algorithm)
    }
  },
)

testWith(
  ['sshd'],
  'our client shows certificates to sshd and takes those of its host',
  async () => {
    const [hostKey, username] = [generateKey('ed25519'), userInfo().username]
    const port = await freePort()
    writeFileSync(path('host'), hostKey.toOpenSsh(), { mode: 0o600 })
    writeFileSync(path('host-cert.pub'), `${await issued(hostKey, 'host', '127.0.0.1')}\n`)
    writeFileSync(path('ca.pub'), `${authority.publicKey}\n`)
    const config = [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${path('host')}`,
      `HostCertificate ${path('host-cert.pub')}`,
      `TrustedUserCAKeys ${path('ca.pub')}`,
      'AuthorizedKeysFile none',
      'PidFile none',
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin yes',
    ]
    writeFileSync(path('sshd_config'), `${config.join('\n')}\n`)
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true })
    const child = spawn(SSHD, ['-D', '-e', '-f', path('sshd_config')])
    children.push(child)
    await within(10_000, listening(child))

    const known = `@cert-authority [127.0.0.1]:${port} ${authority.publicKey}\n`
    for (const [kind, key] of keys) {
      const signer = certified(key, await issued(key, 'user', username))
      const client = await within(
        20_000,
        connect(nodeSocket(createConnection({ host: '127.0.0.1', port })), {
          username,
          hostKey: knownHosts(known, '127.0.0.1', port),
          auth: [publickey(signer)],
        }),
      )
      assert.is(client.negotiated.hostKey, 'ssh-ed25519-cert-v01@openssh.com', kind)
      assert.is((await within(10_000, client.run('echo hello'))).text(), 'hello\n', kind)
      await client.close()
    }
  },
)

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function listening(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    child.stderr?.on('data', (chunk) => {
      text += chunk
      if (text.includes('Server listening')) resolve()
    })
    child.once('exit', () => reject(new Error(`sshd ended: ${text}`)))
  })
}

test.run()
