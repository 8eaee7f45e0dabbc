// Dropbear as a peer: its server with a home folder of its own, and `dbclient`.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Daemon, startDaemon } from './daemon.ts'
import { temporaryFolder } from './folder.ts'
import { byOptions, type Forwarding } from './forwarder.ts'
import { missing } from './installed.ts'
import { freePort } from './openssh.ts'
import type { ForwardKind, KeyFile, Login, PeerClient, PeerServer, RunningPeer } from './peer.ts'
import { quoted } from './quoted.ts'
import {
  because,
  hostCertificates,
  peerRekeys,
  questions,
  unixSockets,
  userCertificates,
} from './reasons.ts'
import { output, run } from './run.ts'
import { typedBefore } from './typing.ts'
import { madeUpUser } from './user.ts'

/** Keys by path of the original, in the only format that Dropbear's programs read. */
const converted = new Map<string, Promise<string>>()

function convert({ path }: Pick<KeyFile, 'path'>): Promise<string> {
  const target = `${path}.dropbear`
  const promise =
    converted.get(path) ??
    output(['dropbearconvert', 'openssh', 'dropbear', path, target]).then(() => target)
  converted.set(path, promise)
  return promise
}

/** What it forwards in both roles; its server alone also connects to Unix sockets. */
const forwards: readonly ForwardKind[] = ['-L to a TCP port', '-R of a TCP port', '-J']

/** The command line of `dbclient`, without command, and its environment. */
async function commandFor(
  { port, username, hostKey, proof, second, through, agent, forwardedAgent }: Login,
  options: readonly string[],
): ReturnType<Forwarding> {
  const home = temporaryFolder()
  mkdirSync(join(home, '.ssh'))
  // It knows hosts without their ports, and takes a comment for a part of the key.
  const [type, base64] = `${hostKey.publicKey}`.split(' ')
  writeFileSync(join(home, '.ssh/known_hosts'), `127.0.0.1 ${type} ${base64}\n`)
  const identity = 'key' in proof && agent === undefined ? ['-i', await convert(proof)] : []
  const forwarding = forwardedAgent === undefined ? [] : ['-A']
  const jump = through && (await commandFor(through, ['-B', `127.0.0.1:${port}`]))
  const proxy = jump === undefined ? [] : ['-J', quoted(jump.command, jump.env)]
  const target = ['-p', `${port}`, `${username}@127.0.0.1`]
  return {
    command: ['dbclient', ...identity, ...forwarding, ...proxy, ...options, ...target],
    env: {
      HOME: home,
      SSH_AUTH_SOCK: agent ?? forwardedAgent ?? '',
      ...(second !== undefined && { DROPBEAR_PASSWORD: second }),
      ...('secret' in proof && { DROPBEAR_PASSWORD: proof.answers?.[0] ?? proof.secret }),
    },
  }
}

const noCertificates = because('it knows no certificates', [
  ...userCertificates,
  ...hostCertificates,
])
const bothUnable = {
  ...noCertificates,
  [peerRekeys]: 'it does so after a gigabyte, and cannot be told otherwise',
}

const clientUnable = {
  ...bothUnable,
  ...because('its options name ports alone', unixSockets),
  '-D': 'it does not speak SOCKS',
  'eight commands at once on one connection': 'it runs one command on a connection',
  'a password is changed on demand': 'it ends when that is asked of it',
  'host keys: sk-ssh-ed25519@openssh.com': 'it hashes a part of the key alone',
  'host keys: sk-ecdsa-sha2-nistp256@openssh.com': 'it ends when it has to hash the key',
  'user keys: sk-ssh-ed25519@openssh.com': 'it asks its agent for no such key',
  'user keys: sk-ecdsa-sha2-nistp256@openssh.com': 'it ends when its agent has such a key',
}

/** `dbclient`. */
export const dbclient: PeerClient = {
  name: 'dropbear',
  missing: missing('dropbear-bin', ['dbclient', 'dropbearconvert']),
  secrets: ['password', 'keyboard-interactive'],
  rekeys: false,
  forwards,
  usesAgent: true,
  forwardsAgent: true,
  securityKeys: 'by agent',
  unable: clientUnable,
  exec: async (login, command, stdin) => {
    const { command: program, env = {} } = await commandFor(login, ['-T'])
    const { proof } = login
    if ('secret' in proof && proof.answers !== undefined) {
      // What may be seen it reads where its input comes from.
      const seen = proof.answers.slice(1).map((answer) => [/(Colour|Code): /, answer] as const)
      return typedBefore([...program, command], env, seen, stdin)
    }
    const ran = await run([...program, command], { stdin, env })
    return { code: ran.code, stdout: ran.stdout, problem: ran.stderr }
  },
  ...byOptions((login, options) => commandFor(login, ['-N', ...options])),
}

const noQuestions = 'it asks no questions: Debian builds it without PAM'

/** `dropbear`. */
export const dropbear: PeerServer = {
  name: 'dropbear',
  missing:
    missing('dropbear-bin', ['dropbear', 'dropbearconvert']) ??
    missing('libnss-wrapper', ['libnss_wrapper.so']),
  secrets: ['password'],
  rekeys: false,
  hostKeysMax: 4,
  keepsListening: true,
  forwards: [...forwards, '-L to a Unix socket'],
  forwardsAgent: true,
  securityKeys: 'of users',
  unable: {
    ...bothUnable,
    ...because(noQuestions, [
      ...questions,
      'keyboard-interactive',
      'a wrong keyboard-interactive is refused',
    ]),
    '-R of a Unix socket': 'it does not know such requests',
    'a password is changed on demand': 'it does not ask for it',
  },
  start: async (setup) => {
    const folder = temporaryFolder()
    const env = await madeUpUser(folder, setup)
    const hostKeys = await Promise.all(setup.hostKeys.map(convert))
    const both = setup.bothProofs === true ? ['-t'] : []
    const options = ['-F', '-E', '-m', ...both, '-P', join(folder, 'pid')]
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
