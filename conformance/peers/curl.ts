// curl as a peer, whose SSH is libssh2: it copies files by SFTP and runs no commands.

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from './folder.ts'
import { forwardKinds, type PeerClient } from './peer.ts'
import { because, hostCertificates, peerRekeys, questions, userCertificates } from './reasons.ts'
import { run } from './run.ts'

function absent(): string | undefined {
  const { stdout } = spawnSync('curl', ['--version'], { encoding: 'utf8' })
  return / libssh2\//.test(stdout ?? '') ? undefined : 'no curl with libssh2 (apt install curl)'
}

const oneAnswer = 'it answers every question with the password'

/** curl with the URLs of one protocol. */
export function curl(scheme: 'sftp' | 'scp'): PeerClient {
  return {
    ...{ name: `libssh2 (curl, ${scheme})`, missing: absent(), rekeys: false },
    secrets: ['password', 'keyboard-interactive'],
    usesAgent: true,
    securityKeys: 'by agent',
    unable: {
      ...because(oneAnswer, questions),
      ...because('it knows no certificates', [...userCertificates, ...hostCertificates]),
      ...because('it copies files, and runs no commands', [
        ...['exit status 0', 'exit status 1', 'exit status 42', 'exit status 255'],
        ...['eight commands at once on one connection', 'forwarded to a command'],
      ]),
      ...because('it forwards nothing', forwardKinds),
      [peerRekeys]: 'it cannot be told to',
      'a password is changed on demand': 'it ends when that is asked of it',
      'sk-ssh-ed25519@openssh.com': 'it does not know such keys',
      'sk-ecdsa-sha2-nistp256@openssh.com': 'it does not know such keys',
    },
    copy: async ({ port, username, hostKey, proof, second = '', agent = '' }, data) => {
      const folder = temporaryFolder()
      const [up, down] = [join(folder, 'up'), join(folder, 'down')]
      writeFileSync(up, data)
      const trust = ['--hostpubsha256', hostKey.publicKey.fingerprint().replace('SHA256:', '')]
      const identity =
        'key' in proof && agent === ''
          ? [
              '--user',
              `${username}:${second}`,
              '--key',
              proof.path,
              '--pubkey',
              `${proof.path}.pub`,
            ]
          : ['--user', `${username}:${'secret' in proof ? proof.secret : ''}`]
      const common = ['--silent', '--show-error', '--compressed-ssh', ...trust, ...identity]
      // Without the tilde the path would begin at the root.
      const url = `${scheme}://127.0.0.1:${port}/~/file`
      const transfers = [...common, '--upload-file', up, url, '--next', ...common, '-o', down, url]
      const { code, stderr } = await run(['curl', '--disable', ...transfers], {
        // It would look for keys of the user.
        env: { HOME: folder, SSH_AUTH_SOCK: agent },
      })
      if (code !== 0) throw new Error(`curl ended with ${code}: ${stderr}`)
      return readFileSync(down)
    },
  }
}
