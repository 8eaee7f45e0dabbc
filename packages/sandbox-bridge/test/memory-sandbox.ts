/** A sandbox in this very process: the guest is real, only the carrier is memory. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { memoryPair } from '@sandbox-ssh/protocol'
import { type GuestAgentOptions, guestAgent } from '../src/guest/agent.ts'
import { type Sandbox, type SandboxOptions, sandbox } from '../src/sandbox.ts'

const temporary: string[] = []

/** False where the guest in this process has no terminals: Deno passes on no descriptors. */
export const hasTerminals: boolean = process.versions['deno'] === undefined

/** A temporary directory that goes with the process. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'sandbox-ssh-test-'))
  if (temporary.push(path) === 1) {
    process.once('exit', () => {
      for (const each of temporary) rmSync(each, { recursive: true, force: true })
    })
  }
  return path
}

/** The sandbox, and what its tests want to know of it. */
export interface MemorySandbox {
  readonly sandbox: Sandbox
  /** Home of root inside, and MSB_HOME beside it. */
  readonly directory: string
  /** Drops all connections, as a sandbox that dies; it can be dialled again. */
  readonly stop: () => void
  /** Connections to the agent that are open. */
  readonly clientCount: () => number
}

/**
 * Makes one whose root has a home of its own, and a shell that reads no start-up files: those of
 * this machine's users may do anything.
 */
export function memorySandbox(
  guest: GuestAgentOptions = {},
  options: SandboxOptions = {},
): MemorySandbox {
  const directory = temporaryDirectory()
  const env = { PATH: process.env['PATH'], HOME: directory }
  const agent = guestAgent({ env, cwd: directory, ...guest })
  const dial = async () => {
    const [ours, theirs] = memoryPair()
    void agent.serve(theirs)
    return ours
  }
  return {
    sandbox: sandbox(dial, { home: join(directory, 'msb'), shell: '/bin/sh', ...options }),
    directory,
    stop: () => agent.close(),
    clientCount: () => agent.clientCount,
  }
}
