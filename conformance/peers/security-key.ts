// A security key in software: OpenSSH's sk-dummy, which comes with its regress tests.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PublicKey, type Signer } from '@sandbox-ssh/protocol'
import { withAgent } from './agent.ts'
import { temporaryFolder } from './folder.ts'
import type { KeyFile } from './peer.ts'
import { output } from './run.ts'

const folders = [process.env['OPENSSH_REGRESS'] ?? '', '/usr/lib/openssh/regress']

/** The middleware library, if it is there: `OPENSSH_REGRESS` names where the tests are. */
export const skDummy: string | undefined = folders
  .filter((folder) => folder !== '')
  .map((folder) => join(folder, 'misc/sk-dummy/sk-dummy.so'))
  .find((path) => existsSync(path))

/** Why there is none, if so. */
export const skDummyMissing: string | undefined =
  skDummy === undefined ? 'sk-dummy.so not installed (package openssh-tests)' : undefined

/** How ssh-keygen calls the kinds of key, by the name of their signatures. */
const kinds = {
  'sk-ssh-ed25519@openssh.com': 'ed25519-sk',
  'sk-ecdsa-sha2-nistp256@openssh.com': 'ecdsa-sk',
} as const

/** Name of the signatures of a security key. */
export type SecurityKeyName = keyof typeof kinds

/** All of them. */
export const securityKeyNames = Object.keys(kinds) as readonly SecurityKeyName[]

/** Gives an ssh-agent the key in a file, and the certificate beside it. */
export async function addSecurityKey(path: string, socket: string): Promise<void> {
  await output(['ssh-add', '-q', '-S', skDummy ?? '', path], { env: { SSH_AUTH_SOCK: socket } })
}

/** Runs with a new key, in a file and in an ssh-agent on that socket, through which it signs. */
export async function withSecurityKey(
  name: SecurityKeyName,
  body: (key: KeyFile<Signer>, socket: string) => Promise<void>,
): Promise<void> {
  const provider = skDummy ?? ''
  const path = join(temporaryFolder(), 'id')
  const make = ['ssh-keygen', '-q', '-t', kinds[name], '-w', provider, '-N', '', '-f', path]
  await output([...make, '-C', name])
  const key = PublicKey.parse(readFileSync(`${path}.pub`, 'utf8'))
  await withAgent(
    async (agent, socket) => {
      await addSecurityKey(path, socket)
      const held = (await agent.list()).find(({ publicKey }) => publicKey.equals(key))
      if (held === undefined) throw new Error('ssh-agent does not hold the key')
      await body({ key: held, path }, socket)
    },
    ['-P', provider],
  )
}
