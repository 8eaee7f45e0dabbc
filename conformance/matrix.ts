// Runs the same cases against several servers. Debian's sshd is always one of them: a case that
// it does not pass says something about the case, not about us.
//
// `CONFORMANCE_TARGETS=sshd` (or `msb`) limits the servers.

import { suite } from 'uvu'
import { type Msb, startMsb } from './peers/msb.ts'
import { OpenSsh, type Sshd, startSshd } from './peers/openssh.ts'
import { recorded } from './results.ts'
import { within } from './within.ts'

export { type Result, recorded } from './results.ts'

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
