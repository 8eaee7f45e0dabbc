// OpenSSH's ssh and sshd as peers that are tried with all they have.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { askpass } from './askpass.ts'
import { startDaemon } from './daemon.ts'
import { temporaryFolder } from './folder.ts'
import { byOptions } from './forwarder.ts'
import { missing } from './installed.ts'
import { startSshdWith } from './openssh.ts'
import type { Executed, ForwardKind, Login, PeerClient, PeerServer } from './peer.ts'
import { quoted } from './quoted.ts'
import { because } from './reasons.ts'
import { type Ran, run } from './run.ts'
import { skDummy } from './security-key.ts'
import { madeUpPam, madeUpUser, pamMatrix } from './user.ts'

const forwards: readonly ForwardKind[] = [
  '-J',
  '-L to a TCP port',
  '-L to a Unix socket',
  '-R of a TCP port',
  '-R of a Unix socket',
]

/** Where security keys are, in either role. */
const security = skDummy === undefined ? [] : [`SecurityKeyProvider ${skDummy}`]

/** The command line of ssh, without command. */
function commandFor(
  login: Login,
  options: readonly string[],
  logLevel = 'ERROR',
): readonly string[] {
  const { port, username, proof, second, through, agent, forwardedAgent, rekeyBytes } = login
  const jump = through && commandFor(through, ['-W', `127.0.0.1:${port}`])
  const configuration = [
    ...(jump === undefined ? [] : [`ProxyCommand ${quoted(jump)}`]),
    ...trusting(login),
    `LogLevel ${logLevel}`,
    ...('key' in proof
      ? [
          `PreferredAuthentications publickey${second === undefined ? '' : ',password'}`,
          `IdentityFile ${identityOf(login)}`,
        ]
      : [`PreferredAuthentications ${proof.method}`, 'NumberOfPasswordPrompts 1']),
    'IdentitiesOnly yes',
    // It lends only an agent that it has itself.
    `IdentityAgent ${agent ?? forwardedAgent ?? 'none'}`,
    `ForwardAgent ${forwardedAgent === undefined ? 'no' : 'yes'}`,
    'ExitOnForwardFailure yes',
    // Offers it; whether it is used is for the server to say.
    'Compression yes',
    ...security,
    ...(rekeyBytes === undefined ? [] : [`RekeyLimit ${rekeyBytes}`]),
  ]
  const settings = configuration.flatMap((option) => ['-o', option])
  return ['ssh', '-F', 'none', ...settings, ...options, '-p', `${port}`, `${username}@127.0.0.1`]
}

/** Runs commands over a connection that the first of them opens. */
async function together(
  login: Login,
  commands: readonly string[],
  stdin: Uint8Array,
): Promise<readonly Executed[]> {
  const control = ['-o', `ControlPath ${join(temporaryFolder(), 'control')}`]
  const master = commandFor(login, [...control, '-M', '-N'], 'DEBUG1')
  const { daemon } = await startDaemon(master, /Entering interactive session/)
  try {
    const shared = (one: string): Promise<Ran> =>
      run([...commandFor(login, [...control, '-T']), one], { stdin })
    return (await Promise.all(commands.map(shared))).map(executed)
  } finally {
    await daemon.stop()
  }
}

const executed = ({ code, stdout, stderr }: Ran): Executed => ({ code, stdout, problem: stderr })

/** What it asks for, in order: the old password twice and the new one twice to change one. */
function answersOf({ proof, second }: Login): readonly string[] {
  if ('key' in proof) return second === undefined ? [] : [second]
  const { secret, answers = [secret], newPassword } = proof
  return newPassword === undefined ? answers : [secret, secret, newPassword, newPassword]
}

/** The file of the private key; of the public half if an agent is to sign. */
function identityOf({ proof, agent }: Login): string {
  if (!('key' in proof)) return ''
  if (agent === undefined) return proof.path
  const path = join(temporaryFolder(), 'id.pub')
  writeFileSync(path, `${proof.certificate ?? proof.key.publicKey}\n`)
  return path
}

/** `ssh`. */
export const ssh: PeerClient = {
  name: 'OpenSSH',
  missing: missing('openssh-client', ['ssh']),
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  certificates: true,
  forwards: [...forwards, '-D'],
  usesAgent: true,
  forwardsAgent: true,
  securityKeys: 'by file',
  exec: async (login, command, stdin) => {
    const { env } = askpass(answersOf(login))
    return executed(await run([...commandFor(login, ['-T']), command], { stdin, env }))
  },
  together,
  ...byOptions(async (login, options) => ({ command: commandFor(login, ['-N', ...options]) })),
}

/** Options of a client that insists on the host key, or on a certificate of the authority. */
function trusting({ port, hostKey, hostAuthority }: Login): readonly string[] {
  const knownHosts = join(temporaryFolder(), 'known_hosts')
  const line =
    hostAuthority === undefined
      ? `[127.0.0.1]:${port} ${hostKey.publicKey}`
      : `@cert-authority [127.0.0.1]:${port} ${hostAuthority}`
  writeFileSync(knownHosts, `${line}\n`)
  return [
    `UserKnownHostsFile ${knownHosts}`,
    'GlobalKnownHostsFile none',
    'StrictHostKeyChecking yes',
    'UpdateHostKeys no',
  ]
}

const hasQuestions = pamMatrix() !== undefined || process.env['CI'] !== undefined
const secretsOfPam = ['keyboard-interactive', 'a wrong keyboard-interactive is refused']
const oneAtATime = 'it asks for one thing a round, as its own section shows'

/** `sshd`, with users, passwords and PAM of its own. */
export const sshd: PeerServer = {
  name: 'OpenSSH',
  missing: missing('openssh-server', ['sshd']) ?? missing('libnss-wrapper', ['libnss_wrapper.so']),
  // Without PAM it has no questions to ask.
  secrets: hasQuestions ? ['password', 'keyboard-interactive'] : ['password'],
  rekeys: true,
  certificates: true,
  forwards,
  forwardsAgent: true,
  securityKeys: 'of users and hosts',
  unable: {
    'several questions in several rounds': oneAtATime,
    'a wrong answer in the last round is refused': oneAtATime,
    ...(hasQuestions ? {} : because('libpam-wrapper is not installed', secretsOfPam)),
    'a password is changed on demand': 'it never asks for it by the message that there is',
  },
  start: async (setup) => {
    const folder = temporaryFolder()
    const { username, password, hostKeys, userAuthority, rekeyBytes, bothProofs } = setup
    const user = await madeUpUser(folder, setup)
    const usesPam = sshd.secrets.includes('keyboard-interactive')
    const env = usesPam ? madeUpPam(folder, 'sshd', username, [password], user) : user
    const authorities = join(folder, 'authorities')
    writeFileSync(authorities, `${userAuthority}\n`)
    const { daemon, port } = await startSshdWith(
      [
        ...hostKeys.map(({ path, certificate }) =>
          certificate === undefined ? `HostKey ${path}` : `HostCertificate ${path}-cert.pub`,
        ),
        `TrustedUserCAKeys ${authorities}`,
        `UsePAM ${usesPam ? 'yes' : 'no'}`,
        'PasswordAuthentication yes',
        `KbdInteractiveAuthentication ${usesPam ? 'yes' : 'no'}`,
        // The user that was made up has the rights of the one who runs this.
        'PermitRootLogin yes',
        ...security,
        'AllowStreamLocalForwarding yes',
        ...(rekeyBytes === undefined ? [] : [`RekeyLimit ${rekeyBytes}`]),
        ...(bothProofs === true ? ['AuthenticationMethods publickey,password'] : []),
      ],
      env,
    )
    return { port, stop: daemon.stop }
  },
}
