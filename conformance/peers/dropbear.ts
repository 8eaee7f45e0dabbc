// Dropbear as a peer: its server with a home folder of its own, and `dbclient`.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Daemon, startDaemon } from './daemon.ts'
import { temporaryFolder } from './folder.ts'
import { missing } from './installed.ts'
import { freePort } from './openssh.ts'
import type { KeyFile, Login, PeerClient, PeerServer, RunningPeer } from './peer.ts'
import { output, run } from './run.ts'
import { madeUpUser } from './user.ts'

/** Keys by path of the original, in the only format that Dropbear's programs read. */
const converted = new Map<string, Promise<string>>()

function convert({ path }: KeyFile): Promise<string> {
  const target = `${path}.dropbear`
  const promise =
    converted.get(path) ??
    output(['dropbearconvert', 'openssh', 'dropbear', path, target]).then(() => target)
  converted.set(path, promise)
  return promise
}

/** `dbclient`. */
export const dbclient: PeerClient = {
  name: 'dropbear',
  missing: missing('dropbear-bin', ['dbclient', 'dropbearconvert']),
  secrets: ['password', 'keyboard-interactive'],
  rekeys: false,
  exec: async ({ port, username, hostKey, proof }: Login, command, stdin) => {
    const home = temporaryFolder()
    mkdirSync(join(home, '.ssh'))
    // It knows hosts without their ports, and takes a comment for a part of the key.
    const [type, base64] = `${hostKey.publicKey}`.split(' ')
    writeFileSync(join(home, '.ssh/known_hosts'), `127.0.0.1 ${type} ${base64}\n`)
    const identity = 'key' in proof ? ['-i', await convert(proof)] : []
    const env = { HOME: home, ...('secret' in proof && { DROPBEAR_PASSWORD: proof.secret }) }
    const target = [`${username}@127.0.0.1`, command]
    const ran = await run(['dbclient', '-T', '-p', `${port}`, ...identity, ...target], {
      ...{ stdin, env },
    })
    return { code: ran.code, stdout: ran.stdout, problem: ran.stderr }
  },
}

/** `dropbear`. */
export const dropbear: PeerServer = {
  name: 'dropbear',
  missing:
    missing('dropbear-bin', ['dropbear', 'dropbearconvert']) ??
    missing('libnss-wrapper', ['libnss_wrapper.so']),
  secrets: ['password'],
  rekeys: false,
  hostKeysMax: 4,
  start: async (setup) => {
    const folder = temporaryFolder()
    const env = await madeUpUser(folder, setup)
    const hostKeys = await Promise.all(setup.hostKeys.map(convert))
    const options = ['-F', '-E', '-m', '-P', join(folder, 'pid')]
    const keys = hostKeys.flatMap((path) => ['-r', path])
    for (let attempt = 1; ; attempt++) {
      const port = await freePort()
      const command = ['/usr/sbin/dropbear', ...options, '-p', `127.0.0.1:${port}`, ...keys]
      try {
        const { daemon } = await startDaemon(command, /Not backgrounding/, env)
        return running(port, daemon)
      } catch (error) {
        if (attempt === 5 || !/Address already in use/.test(String(error))) throw error
      }
    }
  },
}

const running = (port: number, daemon: Daemon): RunningPeer => ({ port, stop: daemon.stop })
