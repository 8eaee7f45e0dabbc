// OpenSSH's ssh and sshd as peers that are tried with all they have.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { askpass } from './askpass.ts'
import { temporaryFolder } from './folder.ts'
import { missing } from './installed.ts'
import { startSshdWith } from './openssh.ts'
import type { Login, PeerClient, PeerServer } from './peer.ts'
import { run } from './run.ts'
import { madeUpPam, madeUpUser, pamMatrix } from './user.ts'

/** `ssh`. */
export const ssh: PeerClient = {
  name: 'OpenSSH',
  missing: missing('openssh-client', ['ssh']),
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  certificates: true,
  exec: async (login, command, stdin) => {
    const { port, username, proof, rekeyBytes } = login
    const options = [
      ...trusting(login),
      ...('key' in proof
        ? ['PreferredAuthentications publickey', `IdentityFile ${proof.path}`]
        : [`PreferredAuthentications ${proof.method}`, 'NumberOfPasswordPrompts 1']),
      'IdentitiesOnly yes',
      'IdentityAgent none',
      // Offers it; whether it is used is for the server to say.
      'Compression yes',
      ...(rekeyBytes === undefined ? [] : [`RekeyLimit ${rekeyBytes}`]),
    ]
    const target = ['-T', '-p', `${port}`, `${username}@127.0.0.1`, command]
    const ran = await run(
      ['ssh', '-F', 'none', ...options.flatMap((option) => ['-o', option]), ...target],
      { stdin, ...('secret' in proof && { env: askpass([proof.secret]).env }) },
    )
    return { code: ran.code, stdout: ran.stdout, problem: ran.stderr }
  },
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
    'LogLevel ERROR',
  ]
}

/** `sshd`, with users, passwords and PAM of its own. */
export const sshd: PeerServer = {
  name: 'OpenSSH',
  missing: missing('openssh-server', ['sshd']) ?? missing('libnss-wrapper', ['libnss_wrapper.so']),
  // Without PAM it has no questions to ask.
  secrets:
    pamMatrix() !== undefined || process.env['CI'] !== undefined
      ? ['password', 'keyboard-interactive']
      : ['password'],
  rekeys: true,
  certificates: true,
  start: async (setup) => {
    const folder = temporaryFolder()
    const { username, password, hostKeys, userAuthority, rekeyBytes } = setup
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
        'AllowStreamLocalForwarding yes',
        ...(rekeyBytes === undefined ? [] : [`RekeyLimit ${rekeyBytes}`]),
      ],
      env,
    )
    return { port, stop: daemon.stop }
  },
}
