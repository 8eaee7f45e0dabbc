/** microsandbox's own program, where it is installed: it starts and stops, we do not. */
import { spawn } from 'node:child_process'
import { accessSync, constants, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { keepTail } from '../carriers/stdio.ts'
import { reasonOf, SandboxError } from './errors.ts'
import type { Home } from './home.ts'

/** Set for the program, so that one that turns out to be ours is noticed. */
export const PASSED_ON = 'SANDBOX_SSH_PASSED_ON'
/** What to do without it. */
export const INSTALL_HINT: string =
  'install microsandbox (https://github.com/superradcompany/microsandbox)'

/** Starting may bring an image from far away. */
const START_MS = 15 * 60_000
const STOP_MS = 60_000

/**
 * Where the program is looked for.
 *
 * @example
 * import { microsandboxPath, openHome } from '@sandbox-ssh/sandbox-bridge'
 *
 * console.log(microsandboxPath(openHome({ path: '/srv/msb' }))) // /srv/msb/…
 */
export function microsandboxPath(home: Home): string {
  return join(home.path, 'bin', process.platform === 'win32' ? 'msb.exe' : 'msb')
}

/**
 * The program, or undefined if it is not installed or turns out to be this very program.
 *
 * @example
 * import { findMicrosandbox, microsandboxPath, openHome } from '@sandbox-ssh/sandbox-bridge'
 *
 * const home = openHome()
 * const program = findMicrosandbox(home)
 * console.log(program === undefined || program === microsandboxPath(home)) // true
 */
export function findMicrosandbox(home: Home): string | undefined {
  const path = microsandboxPath(home)
  try {
    accessSync(path, constants.X_OK)
    if (process.env[PASSED_ON] !== undefined) return undefined
    return realpathSync(path) === realpathSync(process.argv[1] ?? '') ? undefined : path
  } catch (error) {
    return error instanceof Error && 'path' in error && error.path !== path ? path : undefined
  }
}

/**
 * Runs `msb VERB NAME` to its end.
 * @throws SandboxError `SANDBOX_START_FAILED` with its last words; or the signal's reason
 */
export async function runMicrosandbox(
  home: Home,
  program: string,
  verb: 'start' | 'stop',
  name: string,
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted()
  const child = spawn(program, [verb, name], {
    env: { ...process.env, MSB_HOME: home.path, [PASSED_ON]: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: verb === 'start' ? START_MS : STOP_MS,
    ...(signal === undefined ? {} : { signal }),
  })
  child.stdout.resume()
  const lastWords = keepTail(child.stderr)
  const end = await new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(reasonOf(error)))
    // Not `close`: what was started may have inherited the pipes.
    child.once('exit', (code, killed) => {
      if (code === 0) resolve(undefined)
      else setTimeout(() => resolve(killed ?? `exit status ${code}`), LAST_WORDS_MS)
    })
  })
  child.stdout.destroy()
  child.stderr.destroy()
  signal?.throwIfAborted()
  if (end === undefined) return
  const said = lastWords().trim().split('\n').at(-1) ?? ''
  throw new SandboxError(
    'SANDBOX_START_FAILED',
    `msb ${verb} ${name} failed: ${said === '' ? end : said}`,
  )
}

/** For the last words of a program to arrive after its end. */
const LAST_WORDS_MS = 50
