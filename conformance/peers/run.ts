// Runs programs to their end, with their output collected as bytes.

import { spawn } from 'node:child_process'
import type { Readable } from 'node:stream'

/** What a program did. */
export interface Ran {
  /** Exit code, or undefined if a signal ended it. */
  readonly code: number | undefined
  readonly signal: string | undefined
  readonly stdout: Buffer
  readonly stderr: string
}

/** How to run a program. */
export interface RunOptions {
  /** What it reads; nothing by default. */
  readonly stdin?: string | Uint8Array | Readable
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** After this time it is killed, and the promise rejects. 60 s by default. */
  readonly limitMs?: number
  /** Called with each chunk of stdout, which is then not collected. */
  readonly onStdout?: (chunk: Buffer) => void
  /** Called with what comes on stderr, which is collected all the same. */
  readonly onStderr?: (text: string) => void
}

/** Runs `command` and waits for it. Rejects if it cannot be started or takes too long. */
export function run(command: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const [program = '', ...args] = command
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
    })
    const stdout: Buffer[] = []
    let stderr = ''
    child.stdout.on('data', options.onStdout ?? ((chunk: Buffer) => stdout.push(chunk)))
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
      options.onStderr?.(text)
    })
    // A program may well end without reading all of its input.
    child.stdin.on('error', () => undefined)
    const { stdin } = options
    if (typeof stdin === 'object' && 'pipe' in stdin) stdin.pipe(child.stdin)
    else child.stdin.end(stdin)
    const limitMs = options.limitMs ?? 60_000
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      child.kill('SIGKILL')
    }, limitMs)
    child.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      if (isLate) {
        reject(new Error(`${program} still ran after ${limitMs / 1000} s; its stderr: ${stderr}`))
        return
      }
      resolve({
        code: code ?? undefined,
        signal: signal ?? undefined,
        stdout: Buffer.concat(stdout),
        stderr,
      })
    })
  })
}

/** Runs `command`, which must succeed, and gives its stdout as text. */
export async function output(command: readonly string[], options?: RunOptions): Promise<string> {
  const { code, signal, stdout, stderr } = await run(command, options)
  if (code !== 0)
    throw new Error(`${command.join(' ')}: ${signal ?? `exit code ${code}`}: ${stderr}`)
  return stdout.toString()
}
