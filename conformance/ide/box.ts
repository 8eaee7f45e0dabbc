// A sandbox as an editor meets it: unmodified ssh and sftp, and the block that `msb ssh config`
// wrote for them. Nothing else is set up.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { msbPath } from '../../scripts/programs.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { output, type Ran, run } from '../peers/run.ts'

export type Program = 'ssh' | 'sftp' | 'scp'

/** A sandbox and the names under which the block makes it known. */
export interface Box {
  readonly what: string
  /** Host names for ssh: one logs in as root, one as an ordinary user, if it has one. */
  readonly root: string
  readonly user: string | undefined
  /** The home of that user, else a folder to write in. */
  readonly folder: string
  /** The path of Node inside. */
  readonly node: string
  /** ssh and its kin with that block. */
  command(program: Program, args: readonly string[]): readonly string[]
  run(program: Program, args: readonly string[], stdin?: string): Promise<Ran>
  stop(): Promise<void>
}

/** Why a box has no ordinary user. */
export const NO_USER = 'only root, with a bubblewrap that works, can give a sandbox another user'

const NAME = 'ide'
const USER = 'dev'
const UID = 4242

/** What makes a program see one user more than there are here, with that home; undefined if nothing. */
function withUser(home: string): readonly string[] | undefined {
  const view = ['bwrap', '--cap-add', 'ALL', '--dev-bind', '/', '/']
  const [program = '', ...trial] = [...view, 'true']
  if (process.getuid?.() !== 0 || spawnSync(program, trial).status !== 0) return undefined
  const folder = temporaryFolder()
  chmodSync(folder, 0o755)
  const line = `${USER}:x:${UID}:${UID}::${home}:/bin/bash`
  for (const [file, more] of [
    ['passwd', line],
    ['group', `${USER}:x:${UID}:`],
  ] as const) {
    writeFileSync(join(folder, file), `${readFileSync(`/etc/${file}`, 'utf8')}${more}\n`)
    view.push('--ro-bind', join(folder, file), `/etc/${file}`)
  }
  chownSync(home, UID, UID)
  return view
}

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
  const view = withUser(folder)
  const command = [...(view ?? []), process.execPath, guest, '--relay', socket, '--exit-with-stdin']
  const child = spawn(command[0] ?? '', command.slice(1), {
    // Not the home of whoever runs this, nor root's: files of it would be the sandbox's.
    env: { PATH: process.env['PATH'] ?? '', HOME: temporaryFolder() },
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  for (let left = 200; left > 0 && !existsSync(socket); left--) await sleep(50)
  return box('the agent of a name', NAME, home, folder, child, view !== undefined)
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
  return box('local:', sandbox, home, '/tmp', child, false)
}

async function box(
  what: string,
  sandbox: string,
  home: string,
  folder: string,
  keeper: ChildProcess,
  hasUser: boolean,
): Promise<Box> {
  const config = join(home, 'ssh_config')
  const env = environment(home)
  const names = { root: 'ide-root', user: hasUser ? 'ide-user' : undefined }
  const write = (alias: string, user: string): Promise<string> => {
    const args = ['--write', '--file', config, '--alias', alias, '--user', user]
    return output([process.execPath, msbPath, 'ssh', 'config', sandbox, ...args], { env })
  }
  await write(names.root, 'root')
  if (names.user !== undefined) await write(names.user, USER)
  const command = (program: Program, args: readonly string[]): readonly string[] => [
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
