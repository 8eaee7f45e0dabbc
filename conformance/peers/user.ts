// A user that only one server knows.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { found } from './installed.ts'
import type { ServerSetup } from './peer.ts'
import { output } from './run.ts'

/**
 * Makes the user up, with `folder` for a home, and gives the environment for a server that is to
 * know them: one that reads keys from the home folder that the system knows of, and the password
 * from where it has those, is told about a system where these are ours.
 */
export async function madeUpUser(
  folder: string,
  setup: Pick<ServerSetup, 'username' | 'password' | 'userKeys' | 'securityKeys'>,
): Promise<Readonly<Record<string, string>>> {
  const { username, password, userKeys, securityKeys = [] } = setup
  mkdirSync(join(folder, '.ssh'), { mode: 0o700 })
  const allowed = [...userKeys.map(({ key }) => key.publicKey), ...securityKeys]
  const lines = allowed.map((key) => `${key}\n`)
  writeFileSync(join(folder, '.ssh/authorized_keys'), lines.join(''), { mode: 0o600 })
  const hash = (await output(['openssl', 'passwd', '-6', password])).trim()
  const [uid, gid] = [process.getuid?.() ?? 0, process.getgid?.() ?? 0]
  const passwd = join(folder, 'passwd')
  const users = [
    `${username}:${hash}:${uid}:${gid}::${folder}:/bin/sh`,
    // Whom sshd makes of its half that nobody has logged in to.
    'sshd:x:100:65534::/run/sshd:/usr/sbin/nologin',
  ]
  writeFileSync(passwd, `${users.join('\n')}\n`)
  const group = join(folder, 'group')
  writeFileSync(group, `${username}:x:${gid}:\n`)
  return {
    LD_PRELOAD: 'libnss_wrapper.so',
    NSS_WRAPPER_PASSWD: passwd,
    NSS_WRAPPER_GROUP: group,
  }
}

/**
 * Adds to such an environment a PAM that asks for these passwords, one after the other, each in a
 * round of its own. There is such a module in Debian's package libpam-wrapper.
 */
export function madeUpPam(
  folder: string,
  service: string,
  username: string,
  passwords: readonly string[],
  env: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const module = pamMatrix()
  if (module === undefined)
    throw new Error('pam_matrix.so not installed (apt install libpam-wrapper)')
  const services = join(folder, 'pam.d')
  mkdirSync(services)
  const databases = passwords.map((password, index) => {
    const database = join(folder, `passwords-${index}`)
    writeFileSync(database, `${username}:${password}:${service}\n`)
    return database
  })
  const lines = [
    ...databases.map((database) => `auth required ${module} passdb=${database}`),
    ...['account', 'password', 'session'].map(
      (kind) => `${kind} required ${module} passdb=${databases[0]}`,
    ),
  ]
  writeFileSync(join(services, service), `${lines.join('\n')}\n`)
  return {
    ...env,
    LD_PRELOAD: `${env['LD_PRELOAD']}:libpam_wrapper.so`,
    PAM_WRAPPER: '1',
    PAM_WRAPPER_SERVICE_DIR: services,
  }
}

/** The module, if it is installed. */
export function pamMatrix(): string | undefined {
  return found('pam_wrapper/pam_matrix.so')
}
