/** `msb ssh serve` as tests start it, and the real OpenSSH client in front of it. */
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import * as assert from 'uvu/assert'
import { type Finished, finished, start, temporaryDirectory } from './msb.ts'

/** Permission bits in octal. */
export const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8)

/** A key pair of ssh-keygen's; the path of the private half. */
export function makeKey(type = 'ed25519', more: readonly string[] = []): string {
  const path = join(temporaryDirectory(), `id_${type}`)
  const args = ['-q', '-t', type, '-N', '', '-f', path, ...more]
  const { status, stderr } = spawnSync('ssh-keygen', args)
  assert.is(status, 0, String(stderr))
  return path
}

/** `SHA256:…` of a key pair. */
export function fingerprint(path = ''): string {
  const { stdout } = spawnSync('ssh-keygen', ['-lf', `${path}.pub`])
  return stdout.toString().split(' ')[1] ?? ''
}

/** A server that listens. */
export interface Serving {
  readonly child: ChildProcess
  readonly port: number
  readonly ended: Promise<Finished>
  /** What it has said so far. */
  stderr(): string
  /** Resolves once it has said that. */
  says(text: string | RegExp): Promise<void>
  /** Stops it and resolves with what it said. */
  stop(signal?: NodeJS.Signals): Promise<Finished>
}

const servers: ChildProcess[] = []

/** Ends those that failed tests have left. */
export function endServers(): void {
  for (const child of servers) child.kill('SIGKILL')
}

/** Starts a server on a free port and waits until it says so. */
export async function serve(
  home: string,
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<Serving> {
  const wanted = args.includes('--port') ? [] : ['--port', '0']
  const child = start(['ssh', 'serve', ...wanted, ...args], home, options)
  servers.push(child)
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    said += chunk
  })
  const ended = finished(child)
  const says = async (text: string | RegExp): Promise<void> => {
    const found = (): boolean => (typeof text === 'string' ? said.includes(text) : text.test(said))
    while (!found()) {
      if (child.exitCode !== null) throw new Error(`it ended, having said: ${said}`)
      await Promise.race([once(child.stderr as Readable, 'data'), ended])
    }
  }
  await says(/SSH listening \S+:\d+\n/)
  const port = Number(/SSH listening \S+:(\d+)\n/.exec(said)?.[1])
  const stop = (signal: NodeJS.Signals = 'SIGINT'): Promise<Finished> => {
    child.kill(signal)
    return ended
  }
  return { child, port, ended, stderr: () => said, says, stop }
}

/** OpenSSH's options for tests: no configuration, no agent, no questions. */
export function options(identity: string): readonly string[] {
  return [
    ...['-F', '/dev/null', '-i', identity, '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
    ...['-o', 'LogLevel=ERROR'],
  ]
}

/** Runs a command through ssh, or none; `more` are options of its, of which the first one counts. */
export function ssh(
  port: number,
  command: string | undefined,
  identity: string,
  login = 'root',
  more: readonly string[] = [],
): Promise<Finished> {
  const to = ['-p', String(port), `${login}@127.0.0.1`]
  const args = [...more, ...options(identity), ...to, ...(command === undefined ? [] : [command])]
  return finished(spawn('ssh', args, { stdio: ['ignore', 'pipe', 'pipe'] }))
}
