// Starts servers that say on stderr when they are ready, and ends them.

import { type ChildProcess, spawn } from 'node:child_process'

/** A server process of ours to end. */
export interface Daemon {
  readonly process: ChildProcess
  /** What it printed on stderr so far. */
  log(): string
  /** Ends it and waits until it is gone. */
  stop(): Promise<void>
}

/**
 * Starts `command` and waits until its stderr matches `ready`; resolves with the match. Rejects
 * with its output if it ends before, or is not ready within 30 s.
 */
export function startDaemon(
  command: readonly string[],
  ready: RegExp,
  env: Readonly<Record<string, string>> = {},
): Promise<{ daemon: Daemon; match: RegExpExecArray }> {
  return new Promise((resolve, reject) => {
    const [program = '', ...args] = command
    const child = spawn(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...env },
    })
    // Nothing must outlive the test program, however it ends.
    const kill = (): void => void child.kill('SIGKILL')
    process.on('exit', kill)
    child.once('exit', () => process.off('exit', kill))
    let stderr = ''
    const ended = new Promise<void>((done) => {
      child.once('exit', () => done())
      child.once('error', () => done())
    })
    const daemon: Daemon = {
      process: child,
      log: () => stderr,
      stop: async () => {
        child.kill('SIGTERM')
        const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
        await ended
        clearTimeout(timer)
      },
    }
    const fail = (why: string): void => {
      clearTimeout(timer)
      child.kill('SIGKILL')
      reject(new Error(`${command.join(' ')}: ${why}: ${stderr}`))
    }
    const timer = setTimeout(() => fail('not ready within 30 s'), 30_000)
    child.once('error', (error) => fail(error.message))
    const endedEarly = (code: number | null, signal: string | null): void =>
      fail(`ended with ${signal ?? code}`)
    child.once('exit', endedEarly)
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
      // Long-running servers may log a lot; the beginning and the end are what matters.
      if (stderr.length > 200_000) stderr = stderr.slice(0, 50_000) + stderr.slice(-50_000)
      const match = ready.exec(stderr)
      if (match === null) return
      clearTimeout(timer)
      child.off('exit', endedEarly)
      resolve({ daemon, match })
    })
  })
}
