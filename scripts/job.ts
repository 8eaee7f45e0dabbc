// A program that is run to see whether it succeeds: one test file, or one check.

import { type ChildProcess, spawn } from 'node:child_process'
import { root } from './bundle.mjs'

/** Something to run and to judge by its exit code and output. */
export interface Job {
  readonly name: string
  /** Program and arguments. */
  readonly command: readonly string[]
  readonly limitMs: number
  /** `uvu`: the program prints uvu's totals. `one`: the whole program is one test. */
  readonly counts: 'uvu' | 'one'
}

/** What came of a job. */
export interface Outcome {
  readonly name: string
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly ms: number
  /** stdout and stderr as they came, with a last line saying what went wrong, if anything did. */
  readonly output: string
}

/** Past this many characters the middle of a job's output is dropped. */
const outputMax = 1 << 20

const running = new Set<ChildProcess>()

/** Runs a job to its end or its limit. Never rejects. */
export async function run(job: Job): Promise<Outcome> {
  const started = performance.now()
  const { status, output } = await execute(job)
  const ms = performance.now() - started
  const judged = job.counts === 'one' ? judgeOne(status) : judgeUvu(status, output)
  const complaint = judged.complaint === undefined ? '' : `\n${job.name}: ${judged.complaint}\n`
  return { name: job.name, ...judged.counts, ms, output: output + complaint }
}

/** Kills all that is running, for a run that is interrupted. */
export function killAll(): void {
  for (const child of running) killGroup(child)
}

interface Judged {
  readonly counts: { readonly passed: number; readonly failed: number; readonly skipped: number }
  readonly complaint?: string
}

function judgeOne(status: string | number): Judged {
  if (status === 0) return { counts: { passed: 1, failed: 0, skipped: 0 } }
  return { counts: { passed: 0, failed: 1, skipped: 0 }, complaint: describe(status) }
}

function judgeUvu(status: string | number, output: string): Judged {
  const total = lastNumber(output, 'Total')
  const passed = lastNumber(output, 'Passed')
  const skipped = lastNumber(output, 'Skipped')
  if (total === undefined || passed === undefined || skipped === undefined) {
    const complaint = `${describe(status)} before all tests had run`
    return { counts: { passed: 0, failed: 1, skipped: 0 }, complaint }
  }
  if (total + skipped === 0) {
    return { counts: { passed: 0, failed: 1, skipped: 0 }, complaint: 'contains no test' }
  }
  const failed = total - passed
  if (failed === 0 && status !== 0) {
    const complaint = `all tests passed, but then: ${describe(status)}`
    return { counts: { passed, failed: 1, skipped }, complaint }
  }
  return { counts: { passed, failed, skipped } }
}

function describe(status: string | number): string {
  return typeof status === 'string' ? status : `exited with ${status}`
}

/** The number in uvu's last line `  LABEL:  N`. */
function lastNumber(output: string, label: string): number | undefined {
  const found = [...output.matchAll(new RegExp(`^ {2}${label}: +(\\d+)$`, 'gm'))].at(-1)?.[1]
  return found === undefined ? undefined : Number(found)
}

function execute(job: Job): Promise<{ status: string | number; output: string }> {
  return new Promise((resolve) => {
    const [program = '', ...args] = job.command
    // A process group of its own, so that what the job started can be ended with it.
    const child = spawn(program, args, {
      cwd: root,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0' },
    })
    running.add(child)
    let output = ''
    const keep = (chunk: string): void => {
      output += chunk
      if (output.length <= outputMax) return
      const half = outputMax >> 1
      output = `${output.slice(0, half - 6)}\n[…]\n${output.slice(-half)}`
    }
    child.stdout.setEncoding('utf8').on('data', keep)
    child.stderr.setEncoding('utf8').on('data', keep)
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      killGroup(child)
    }, job.limitMs)
    const finish = (status: string | number): void => {
      clearTimeout(timer)
      running.delete(child)
      resolve({ status: timedOut ? `still running after ${job.limitMs / 1000} s` : status, output })
    }
    child.once('error', (error) => finish(`could not be started: ${error.message}`))
    child.once('exit', (code, signal) => {
      const status = signal === null ? (code ?? 'ended') : `killed by ${signal}`
      // Left-over children may hold the pipes open; end them and do not wait long.
      killGroup(child)
      const patience = setTimeout(() => finish(status), 2000)
      child.once('close', () => {
        clearTimeout(patience)
        finish(status)
      })
    })
  })
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // The whole group is gone already.
  }
}
