// Runs the same cases against several servers. Debian's sshd is always one of them: a case that
// it does not pass says something about the case, not about us.
//
// `CONFORMANCE_TARGETS=sshd` (or `msb`) limits the servers; `CONFORMANCE_RESULTS=FOLDER` has each
// program write its results there, for the table in the README.

import { writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { suite } from 'uvu'
import { root } from '../scripts/bundle.mjs'
import { type Msb, startMsb } from './peers/msb.ts'
import { OpenSsh, type Sshd, startSshd } from './peers/openssh.ts'

/** A server under test, running. */
export type Server = ({ readonly name: 'sshd' } & Sshd) | ({ readonly name: 'msb' } & Msb)

/** What a case is given. */
export interface Subject {
  readonly server: Server
  /** OpenSSH's programs with their default configuration. */
  readonly openssh: OpenSsh
}

/** A case; `name` is a sentence that completes "with this server, …". */
export interface Case {
  readonly name: string
  readonly run: (subject: Subject) => Promise<void>
  /** When to give up; after 60 s by default. */
  readonly limitMs?: number
  /** The servers it applies to; all by default. */
  readonly only?: Server['name']
}

/** One line of the results. */
export interface Result {
  readonly area: string
  readonly name: string
  readonly target: string
  readonly passed: boolean
  readonly ms: number
}

/** The results of this program. */
const results: Result[] = []

process.once('exit', () => {
  const folder = process.env['CONFORMANCE_RESULTS']
  if (folder === undefined) return
  const program = relative(root, process.argv[1] ?? '').replaceAll(/\W+/g, '-')
  writeFileSync(join(folder, `${program}.json`), JSON.stringify(results))
})

/** What sshd accepts beyond its defaults, because the cases use it. */
const sshdConfiguration = ['AcceptEnv LANG LC_*', 'AllowTcpForwarding yes']

const start: Readonly<Record<Server['name'], () => Promise<Server>>> = {
  sshd: async () => ({ name: 'sshd', ...(await startSshd(sshdConfiguration)) }),
  msb: async () => ({ name: 'msb', ...(await startMsb()) }),
}

/** Makes a test suite per server out of `cases`, and runs them. */
export function againstServers(area: string, cases: readonly Case[]): void {
  const wanted = process.env['CONFORMANCE_TARGETS']?.split(',')
  for (const target of ['sshd', 'msb'] as const) {
    if (wanted !== undefined && !wanted.includes(target)) continue
    const test = suite(`${area}: ${target}`)
    // Started by the first case that needs it, so that a failure to start is a failed case.
    let starting: Promise<Server> | undefined
    test.after(async () => {
      await (await starting?.catch(() => undefined))?.daemon.stop()
    })
    for (const { name, run, only, limitMs } of cases) {
      if (only !== undefined && only !== target) continue
      const body = async (): Promise<void> => {
        starting ??= start[target]()
        const server = await starting
        await within(limitMs ?? 60_000, run({ server, openssh: new OpenSsh(server) }))
      }
      test(name, recorded(area, name, target, body))
    }
    test.run()
  }
}

/** `body` as a test whose outcome is among the results. */
export function recorded(
  area: string,
  name: string,
  target: string,
  body: () => Promise<void>,
): () => Promise<void> {
  return async () => {
    const result = { area, name, target, passed: false, ms: 0 }
    const started = performance.now()
    results.push(result)
    await body()
    const ms = Math.round(performance.now() - started)
    results[results.indexOf(result)] = { ...result, passed: true, ms }
  }
}

/** Rejects if `promise` takes longer than it may. */
function within<T>(limitMs: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${limitMs / 1000} s`)), limitMs)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
