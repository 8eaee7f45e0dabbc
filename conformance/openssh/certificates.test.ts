// What certificates restrict, with ssh and our server, and with sshd and our client; they are made
// by ssh-keygen. That each kind of them works at all: others/openssh-client.test.ts.

import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import {
  certified,
  connect,
  HostKeyError,
  knownHosts,
  nodeSocket,
  PublicKey,
  parsePrivateKey,
  publickey,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { features } from '../feature.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { type Msb, startMsb } from '../peers/msb.ts'
import { OpenSsh, startSshd } from '../peers/openssh.ts'
import { startOwnServer } from '../peers/own-server.ts'
import { run } from '../peers/run.ts'
import { certify, keygen } from './issue.ts'

const publicHalf = (path: string): string => readFileSync(`${path}.pub`, 'utf8').trim()

const users = features('OpenSSH', 'client', 'user certificates')
const authority = keygen('ed25519')
const user = keygen('ed25519')
let starting: Promise<Msb> | undefined
const served = (): Promise<Msb> => {
  starting ??= (async () => {
    const msb = await startMsb()
    const lines = [
      `cert-authority ${publicHalf(await authority)}`,
      `cert-authority,principals="backup,root" ${publicHalf(await listed)}`,
      `cert-authority,command="echo the line" ${publicHalf(await commanding)}`,
    ]
    appendFileSync(join(msb.home, 'ssh/authorized_keys'), `${lines.join('\n')}\n`)
    return msb
  })()
  return starting
}
const listed = keygen('ed25519')
const commanding = keygen('ed25519')

let sources = 1
/** Comes from an address of its own each time: the server puts off one where logins fail. */
async function client(identity: string): Promise<OpenSsh> {
  sources++
  return new OpenSsh({ ...(await served()), identity }, [`BindAddress 127.0.1.${sources}`])
}

/** Logs in with a certificate and runs `echo asked`. */
async function enters(
  options: readonly string[],
  by: Promise<string> = authority,
  key: Promise<string> = user,
): Promise<{ readonly code: number | undefined; readonly said: string }> {
  const openssh = await client(await certify(await by, await key, options))
  const { code, stdout, stderr } = await openssh.ssh('echo asked')
  return { code, said: `${stdout}${stderr}` }
}

/** A row: the certificate lets in, or it does not. */
function lets(
  name: string,
  options: readonly string[],
  outcome: string | 'refused',
  by?: Promise<string>,
): void {
  users(name, async () => {
    const { code, said } = await enters(options, by)
    if (outcome === 'refused') {
      assert.is(code, 255, said)
      assert.match(said, /Permission denied/)
    } else {
      assert.is(said, `${outcome}\n`)
      assert.is(code, 0)
    }
  })
}

const forRoot = ['-n', 'root']
lets('the login among its principals enters', ['-n', 'ada,root'], 'asked')
lets('another principal does not', ['-n', 'ada'], 'refused')
lets('one without principals does not', [], 'refused')
lets('a principal that the line lists enters', ['-n', 'backup'], 'asked', listed)
lets('one that the line does not list does not', ['-n', 'ada'], 'refused', listed)
lets('one of an authority that is not trusted does not', forRoot, 'refused', keygen('ed25519'))
lets('one for a host does not', ['-h', ...forRoot], 'refused')
lets('a valid one enters', [...forRoot, '-V', '-5m:+5m'], 'asked')
lets('an expired one does not', [...forRoot, '-V', '-10m:-5m'], 'refused')
lets('one that is not valid yet does not', [...forRoot, '-V', '+5m:+10m'], 'refused')
lets(
  'source-address of the client enters',
  [...forRoot, '-O', 'source-address=127.0.0.0/8'],
  'asked',
)
lets(
  'another source-address does not',
  [...forRoot, '-O', 'source-address=192.0.2.0/24'],
  'refused',
)
lets('force-command is run instead', [...forRoot, '-O', 'force-command=echo forced'], 'forced')
lets("the line's command is run instead", forRoot, 'the line', commanding)
lets(
  'force-command and another command of the line do not enter',
  [...forRoot, '-O', 'force-command=echo forced'],
  'refused',
  commanding,
)
lets('an unknown critical option does not', [...forRoot, '-O', 'critical:odd@x.org=1'], 'refused')
lets('an unknown extension enters', [...forRoot, '-O', 'extension:odd@x.org=1'], 'asked')

users('without permit-pty there is no terminal', async () => {
  const identity = await certify(await authority, await user, [...forRoot, '-O', 'no-pty'])
  const openssh = await client(identity)
  const { stdout, stderr } = await openssh.ssh('tty', {
    args: ['-tt', '-o', 'LogLevel=INFO'],
  })
  assert.match(`${stdout}${stderr}`, /may not have a terminal/)
})

users('without permit-port-forwarding nothing is forwarded', async () => {
  const identity = await certify(await authority, await user, [
    ...[...forRoot, '-O', 'no-port-forwarding'],
  ])
  const openssh = await client(identity)
  const { code, stderr } = await run(openssh.command(['-o', 'LogLevel=INFO', '-W', '127.0.0.1:9']))
  assert.is(code, 255)
  assert.match(stderr, /administratively prohibited/)
})

for (const type of ['ecdsa', 'rsa']) {
  users(`an authority with a key of type ${type} signs`, async () => {
    const other = await keygen(type)
    const msb = await served()
    appendFileSync(join(msb.home, 'ssh/authorized_keys'), `cert-authority ${publicHalf(other)}\n`)
    const { code, said } = await enters(forRoot, Promise.resolve(other))
    assert.is(code, 0, said)
  })
}

users.after(async () => {
  await (await starting)?.daemon.stop()
})
users.run()

const forLoopback = ['-h', '-n', '127.0.0.1']
/** Host certificates and whether a client that trusts the authority takes them. */
const hostCases: readonly (readonly [string, readonly string[], boolean])[] = [
  ['for the host are taken', forLoopback, true],
  ['for another host are not', ['-h', '-n', 'elsewhere.example'], false],
  ['without principals are not', ['-h'], false],
  ['that have expired are not', [...forLoopback, '-V', '-10m:-5m'], false],
  ['of users are not', ['-n', '127.0.0.1'], false],
]

const hosts = features('OpenSSH', 'client', 'host certificates')
for (const [name, options, taken] of [
  // To ssh one without principals is good for every host, to us for none.
  ...hostCases.filter(([name]) => !name.startsWith('without')),
  ['of another authority are not', forLoopback, false] as const,
]) {
  hosts(`host certificates ${name}`, async () => {
    const trusted = await authority
    const signing = name.startsWith('of another') ? await keygen('ed25519') : trusted
    const path = await certify(signing, await user, options)
    const key = await parsePrivateKey(readFileSync(path, 'utf8'))
    const certificate = PublicKey.parse(readFileSync(`${path}-cert.pub`, 'utf8'))
    const own = await startOwnServer({ hostKeys: [certified(key, certificate)] })
    try {
      const known = join(temporaryFolder(), 'known')
      writeFileSync(known, `@cert-authority [127.0.0.1]:* ${publicHalf(trusted)}\n`)
      const trust = ['StrictHostKeyChecking yes', `UserKnownHostsFile ${known}`]
      const { code, stderr } = await new OpenSsh(own, trust).ssh('true')
      assert.is(code, taken ? 0 : 255, stderr)
      if (!taken) assert.match(stderr, /Host key verification failed|no hostkey alg/i)
    } finally {
      await own.stop()
    }
  })
}
hosts.run()

const servers = features('OpenSSH', 'server', 'host certificates')
for (const [name, options, taken] of [
  ...hostCases.filter(([, args]) => args.includes('-h')),
  ['of another authority are not', forLoopback, false] as const,
]) {
  servers(`host certificates ${name}`, async () => {
    const trusted = await authority
    const signing = name.startsWith('of another') ? await keygen('ed25519') : trusted
    const path = await certify(signing, await keygen('ecdsa'), options)
    const sshd = await startSshd([`HostKey ${path}`, `HostCertificate ${path}-cert.pub`])
    try {
      const text = `@cert-authority [127.0.0.1]:* ${publicHalf(trusted)}\n`
      const connecting = connect(nodeSocket(connectTcp(sshd.port, '127.0.0.1')), {
        username: sshd.username,
        hostKey: knownHosts(text, '127.0.0.1', sshd.port),
        auth: [publickey(await parsePrivateKey(readFileSync(sshd.identity, 'utf8')))],
      })
      const outcome = await connecting.catch((error: unknown) => error)
      if (taken) await (await connecting).close()
      else assert.instance(outcome, HostKeyError, String(outcome))
    } finally {
      await sshd.daemon.stop()
    }
  })
}
servers.run()
