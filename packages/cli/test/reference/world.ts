/**
 * What the tables of the reference are run against: the embedded sandbox, and an agent behind a
 * relay in a home as microsandbox makes it. Rows say what is typed and what must come of it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { type Finished, finished, msb, start, temporaryDirectory } from '../msb.ts'

/** One line of a table. */
export interface Row {
  /** The words after `msb`. */
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string | Uint8Array
  readonly exit: number
  /** Whole text, or what must be in it; nothing by default. */
  readonly stdout?: string | RegExp
  readonly stderr?: string | RegExp
}

/** A sandbox by its name, and the home in which it is found. */
export interface World {
  readonly what: string
  readonly sandbox: string
  readonly home: string
  /** A directory inside that tests may write in. */
  readonly directory: string
  /** Ends what keeps it running. */
  stop(): Promise<void>
}

const guest = fileURLToPath(new URL('../../dist/msb-guest.mjs', import.meta.url))

/** `local:NAME`, kept running by a session. */
export async function localWorld(): Promise<World> {
  const home = temporaryDirectory()
  const keeper = start(['ssh', 'local:ref', '--', 'echo up; cat'], home)
  await new Promise((resolve) => keeper.stdout?.once('data', resolve))
  const stop = async (): Promise<void> => {
    keeper.stdin?.end()
    await finished(keeper)
  }
  return { what: 'local:', sandbox: 'local:ref', home, directory: '/tmp', stop }
}

/** A sandbox of that name whose agent listens where microsandbox's relay would. */
export async function agentWorld(name = 'ref'): Promise<World> {
  const home = temporaryDirectory()
  const socket = relaySocket(home, name)
  mkdirSync(dirname(socket), { recursive: true, mode: 0o700 })
  mkdirSync(join(home, 'sandboxes', name), { recursive: true })
  const directory = temporaryDirectory()
  const child = startGuest(socket, directory)
  for (let left = 200; !existsSync(socket); left--) {
    if (left === 0) throw new Error('the agent did not start')
    await sleep(50)
  }
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    await finished(child)
  }
  return { what: 'the agent of a name', sandbox: name, home, directory, stop }
}

/** Where the relay of a sandbox listens. */
export function relaySocket(home: string, name: string): string {
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 24)
  return join(home, 'run', 'sandboxes', hash, 'agent.sock')
}

function startGuest(socket: string, directory: string): ChildProcess {
  // Not the home of whoever runs the tests: what is in there would be the sandbox's.
  const env = { PATH: process.env['PATH'] ?? '', HOME: directory }
  return spawn(process.execPath, [guest, '--relay', socket, '--exit-with-stdin'], {
    env,
    stdio: ['pipe', 'ignore', 'inherit'],
  })
}

/** Runs a row, with `BOX` in its words standing for the sandbox, and compares all of it. */
export async function check(row: Row, home: string, sandbox = ''): Promise<Finished> {
  const args = row.args.map((word) => word.replaceAll('BOX', sandbox))
  const options = {
    home,
    ...(row.input === undefined ? {} : { input: row.input }),
    ...(row.env === undefined ? {} : { env: row.env }),
  }
  const result = await msb(args, options)
  const form = `msb ${args.join(' ')}`
  const told = `${form}: ${result.code} ${JSON.stringify(result.stdout.toString())} ${result.stderr}`
  assert.is(result.code, row.exit, told)
  compare(result.stdout.toString(), row.stdout ?? '', `stdout of ${told}`)
  compare(result.stderr, row.stderr ?? '', `stderr of ${told}`)
  return result
}

/** Runs rows, a few at a time, and tells all that differ. */
export async function checkAll(
  rows: readonly Row[],
  world: Pick<World, 'home' | 'sandbox'>,
): Promise<void> {
  const waiting = [...rows]
  const wrong: string[] = []
  const worker = async (): Promise<void> => {
    for (let row = waiting.shift(); row !== undefined; row = waiting.shift()) {
      await check(row, world.home, world.sandbox).catch((error: Error) => wrong.push(error.message))
    }
  }
  await Promise.all([worker(), worker(), worker()])
  assert.is(wrong.length, 0, wrong.join('\n'))
}

/** The mode of a file, as `ls` would number it. */
export function modeOf(path: string): string {
  return (statSync(path).mode & 0o7777).toString(8)
}

function compare(actual: string, wanted: string | RegExp, told: string): void {
  if (typeof wanted === 'string') assert.is(actual, wanted, told)
  else assert.match(actual, wanted, told)
}
