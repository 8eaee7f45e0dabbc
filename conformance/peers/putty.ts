// PuTTY's `plink` as a peer.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startDaemon } from './daemon.ts'
import { temporaryFolder } from './folder.ts'
import { byOptions, type Forwarding } from './forwarder.ts'
import { found, missing } from './installed.ts'
import type { Executed, KeyFile, Login, PeerClient } from './peer.ts'
import { quoted } from './quoted.ts'
import { because, unixSockets } from './reasons.ts'
import { output, run } from './run.ts'
import { type Answer, typedInTerminal } from './typing.ts'

const program = (name: string): string => found(name) ?? name

/**
 * Where PuTTY's programs find neither `ps` nor `ls`, which they else run for noise and wait for: on
 * a busy machine that takes seconds. A seed of the user's is not touched either.
 */
const nowhere = temporaryFolder()
const noNoise = { PATH: nowhere, HOME: nowhere }

/** Keys by path of the original, in PuTTY's format. */
const converted = new Map<string, Promise<string>>()

function convert({ path }: Pick<KeyFile, 'path'>): Promise<string> {
  const target = `${path}.ppk`
  const command = [program('puttygen'), path, '-o', target]
  const promise = converted.get(path) ?? output(command, { env: noNoise }).then(() => target)
  converted.set(path, promise)
  return promise
}

/** The command line of `plink`, without command, with settings of its own in its environment. */
async function commandFor(
  {
    port,
    username,
    hostKey,
    hostAuthority,
    proof,
    second,
    through,
    agent,
    forwardedAgent,
    rekeyBytes,
  }: Login,
  options: readonly string[],
): ReturnType<Forwarding> {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'sessions'))
  // Only a saved session can ask for these.
  const settings = [
    ...['Protocol=ssh', 'Compression=1', `RekeyBytes=${rekeyBytes ?? '1G'}`],
    ...('key' in proof && proof.certificate !== undefined
      ? [`DetachedCertificate=${proof.path}-cert.pub`]
      : []),
  ]
  if (hostAuthority !== undefined) {
    mkdirSync(join(folder, 'sshhostcas'))
    const authority = [
      `PublicKey=${Buffer.from(hostAuthority.blob).toString('base64')}`,
      ...['Validity=*', 'PermitRSASHA1=0', 'PermitRSASHA256=1', 'PermitRSASHA512=1'],
    ]
    writeFileSync(join(folder, 'sshhostcas/authority'), `${authority.join('\n')}\n`)
  }
  writeFileSync(join(folder, 'sessions/peer'), `${settings.join('\n')}\n`)
  const asks = answersOf(proof).length > 0
  const identity = !('key' in proof)
    ? [...(asks ? [] : ['-pw', proof.secret]), '-no-antispoof']
    : agent === undefined
      ? ['-noagent', '-i', await convert(proof), ...(second === undefined ? [] : ['-pw', second])]
      : ['-agent']
  const expected = hostAuthority ? [] : ['-hostkey', hostKey.publicKey.fingerprint()]
  const trust = [...(asks ? [] : ['-batch']), ...expected]
  const forwarding = forwardedAgent === undefined ? [] : ['-A']
  const jump = through && (await commandFor(through, ['-nc', `127.0.0.1:${port}`]))
  const proxy = jump === undefined ? [] : ['-proxycmd', quoted(jump.command, jump.env)]
  const target = ['-P', `${port}`, `${username}@127.0.0.1`]
  const all = [...trust, ...identity, ...forwarding, ...proxy, ...options, ...target]
  return {
    command: [program('plink'), '-load', 'peer', ...all],
    env: { ...noNoise, PUTTYDIR: folder, SSH_AUTH_SOCK: agent ?? forwardedAgent ?? '' },
  }
}

/** Runs commands over a connection that the first of them opens. */
async function together(
  login: Login,
  commands: readonly string[],
  stdin: Uint8Array,
): Promise<readonly Executed[]> {
  const { command, env = {} } = await commandFor(login, ['-share', '-T'])
  const { daemon } = await startDaemon([...command, '-v', '-N'], /Access granted/, env)
  try {
    const ran = await Promise.all(commands.map((one) => run([...command, one], { stdin, env })))
    return ran.map(({ code, stdout, stderr }) => ({ code, stdout, problem: stderr }))
  } finally {
    await daemon.stop()
  }
}

/** What it asks for in its terminal, as it is given one secret only beforehand. */
function answersOf(proof: Login['proof']): readonly Answer[] {
  if ('key' in proof) return []
  const { secret, answers = [], newPassword } = proof
  if (newPassword === undefined)
    return answers.map((answer) => [/(Password|Colour|Code): /, answer])
  return [
    [/password: /, secret],
    [/Current password.*: /, ''],
    [/Enter new password: /, newPassword],
    [/Confirm new password: /, newPassword],
  ]
}

/** `plink`. */
export const plink: PeerClient = {
  name: 'PuTTY',
  missing: missing('putty-tools', ['plink', 'puttygen']),
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  certificates: true,
  proposesKnown: true,
  forwards: ['-L to a TCP port', '-R of a TCP port', '-D', '-J'],
  usesAgent: true,
  forwardsAgent: true,
  securityKeys: 'by agent',
  unable: {
    ...because('its options name ports alone', unixSockets),
  },
  exec: async (login, command, stdin) => {
    const { command: plinked, env = {} } = await commandFor(login, ['-T'])
    const answers = answersOf(login.proof)
    if (answers.length > 0) {
      return typedInTerminal([...plinked, command], env, answers, stdin)
    }
    const ran = await run([...plinked, command], { stdin, env })
    return { code: ran.code, stdout: ran.stdout, problem: ran.stderr }
  },
  together,
  ...byOptions((login, options) => commandFor(login, ['-N', ...options])),
}
