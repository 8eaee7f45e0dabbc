/** Running the built `msb` as a user would, each time in a home of its own. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type IPty, spawn as spawnPty } from '@lydell/node-pty'

/** The single-file program. */
export const msbPath: string = fileURLToPath(new URL('../dist/msb.mjs', import.meta.url))

const made: string[] = []
process.once('exit', () => {
  for (const path of made) rmSync(path, { recursive: true, force: true })
})

/** A fresh directory at 0700, removed when the test process ends. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'msb-cli-'))
  made.push(path)
  return path
}

/** What a finished run left behind. */
export interface Finished {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** How to run. */
export interface RunOptions {
  readonly home?: string
  readonly input?: string | Uint8Array
  readonly env?: Readonly<Record<string, string>>
}

/** The environment of a run: nothing of ours but the search path. */
export function msbEnv(
  home: string,
  more: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: home,
    MSB_HOME: home,
    TERM: 'xterm-256color',
    ...more,
  }
}

/** Starts it with pipes; see to its end. */
export function start(
  args: readonly string[],
  home: string,
  options: SpawnOptions = {},
): ChildProcess {
  return spawn(process.execPath, [msbPath, ...args], { env: msbEnv(home), ...options })
}

/** Runs it to its end with `input` as stdin. */
export async function msb(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const home = options.home ?? temporaryDirectory()
  const child = start(args, home, { env: msbEnv(home, options.env) })
  // A program that ends early does not take its input.
  child.stdin?.on('error', () => undefined)
  child.stdin?.end(options.input ?? '')
  return finished(child)
}

/** Waits for the end of a child with pipes. */
export async function finished(child: ChildProcess): Promise<Finished> {
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk))
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() }
}

/** A run in a terminal of 100×30. */
export interface TerminalRun {
  /** All output so far. */
  text(): string
  /** Resolves once the output matches, from where the last match ended. */
  expect(pattern: RegExp): Promise<RegExpExecArray>
  type(keys: string): void
  resize(columns: number, rows: number): void
  readonly pid: number
  /** Rejects with all output if the end is long in coming. */
  readonly exit: Promise<{ readonly code: number; readonly signal: number | undefined }>
}

/** How long a terminal may keep a test waiting. */
const patienceMs = 30_000

const terminals: IPty[] = []

/** Ends those that failed tests have left, which would keep the test process alive. */
export function endTerminals(): void {
  for (const terminal of terminals) {
    try {
      terminal.kill('SIGKILL')
    } catch {
      // It has ended.
    }
  }
}

/** Starts a program in a pseudo-terminal. */
export function inTerminal(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): TerminalRun {
  const pty = spawnPty(file, [...args], { cols: 100, rows: 30, env: { ...env }, cwd: '/' })
  terminals.push(pty)
  let text = ''
  let from = 0
  let check: () => void = () => undefined
  pty.onData((data) => {
    text += data
    check()
  })
  const exit = new Promise<Awaited<TerminalRun['exit']>>((resolve) => {
    pty.onExit(({ exitCode, signal }) => resolve({ code: exitCode, signal }))
  })
  return {
    text: () => text,
    expect: (pattern) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          reject(new Error(`no ${pattern} in ${JSON.stringify(text.slice(from))}`))
        }, patienceMs)
        check = () => {
          const match = pattern.exec(text.slice(from))
          if (match === null) return
          from += match.index + match[0].length
          clearTimeout(timer)
          check = () => undefined
          resolve(match)
        }
        check()
      }),
    type: (keys) => pty.write(keys),
    resize: (columns, rows) => pty.resize(columns, rows),
    pid: pty.pid,
    get exit(): TerminalRun['exit'] {
      return new Promise((resolve, reject) => {
        const late = (): void => reject(new Error(`not ended after ${JSON.stringify(text)}`))
        const timer = setTimeout(late, patienceMs)
        void exit.then(resolve).finally(() => clearTimeout(timer))
      })
    },
  }
}
