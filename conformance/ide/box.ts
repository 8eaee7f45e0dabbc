// A sandbox as an editor meets it: unmodified ssh and sftp, and the block that `msb ssh config`
// wrote for them. Nothing else is set up.

import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { msbPath } from '../../scripts/programs.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { output, type Ran, run } from '../peers/run.ts'

/** A sandbox and the names under which the block makes it known. */
export interface Box {
  readonly what: string
  /** Host names for ssh: one logs in as root, one as an ordinary user, if it has one. */
  readonly root: string
  readonly user: string | undefined
  /** Where that user may write, and the path of Node inside. */
  readonly folder: string
  readonly node: string
  /** ssh and its kin with that block. */
  command(program: 'ssh' | 'sftp', args: readonly string[]): readonly string[]
  run(program: 'ssh' | 'sftp', args: readonly string[], stdin?: string): Promise<Ran>
  stop(): Promise<void>
}

const NAME = 'ide'

/** microsandbox's kind: an agent that goes on when nobody is connected. */
export async function agentBox(): Promise<Box> {
  const home = temporaryFolder()
  const folder = temporaryFolder()
  chmodSync(folder, 0o777)
  const hash = createHash('sha256').update(NAME).digest('hex').slice(0, 24)
  const socket = join(home, 'run', 'sandboxes', hash, 'agent.sock')
  mkdirSync(dirname(socket), { recursive: true })
  mkdirSync(join(home, 'sandboxes', NAME), { recursive: true })
  const guest = join(dirname(msbPath), 'msb-guest.mjs')
  const child = spawn(process.execPath, [guest, '--relay', socket, '--exit-with-stdin'], {
    env: { PATH: process.env['PATH'] ?? '', HOME: folder },
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  for (let left = 200; left > 0 && !existsSync(socket); left--) await sleep(50)
  return box('the agent of a name', NAME, home, folder, child)
}

/** The embedded one, kept by a session: it ends with its last user. */
export async function localBox(): Promise<Box> {
  const home = temporaryFolder()
  const sandbox = `local:${NAME}`
  const child = spawn(process.execPath, [msbPath, 'ssh', sandbox, '--', 'echo up; cat'], {
    env: environment(home),
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await new Promise((resolve) => child.stdout.once('data', resolve))
  return box('local:', sandbox, home, '/tmp', child)
}

async function box(
  what: string,
  sandbox: string,
  home: string,
  folder: string,
  keeper: ChildProcess,
): Promise<Box> {
  const config = join(home, 'ssh_config')
  const env = environment(home)
  const isEmbedded = sandbox.startsWith('local:')
  const names = { root: 'ide-root', user: isEmbedded ? undefined : 'ide-user' }
  const write = (alias: string, user: string): Promise<string> => {
    const args = ['--write', '--file', config, '--alias', alias, '--user', user]
    return output([process.execPath, msbPath, 'ssh', 'config', sandbox, ...args], { env })
  }
  await write(names.root, 'root')
  if (names.user !== undefined) await write(names.user, 'nobody')
  const command = (program: 'ssh' | 'sftp', args: readonly string[]): readonly string[] => [
    program,
    '-F',
    config,
    ...args,
  ]
  return {
    what,
    ...names,
    folder,
    node: process.execPath,
    command,
    run: (program, args, stdin = '') => run(command(program, args), { env, stdin }),
    stop: async () => {
      keeper.stdin?.end()
      if (keeper.exitCode === null) await new Promise((resolve) => keeper.once('close', resolve))
    },
  }
}

function environment(home: string): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', HOME: home, MSB_HOME: home }
}
