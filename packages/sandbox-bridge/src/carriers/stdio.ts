/** A child process whose stdin and stdout carry the agent protocol. */
import { spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import { nodeStreams, type Transport } from '@sandbox-ssh/protocol'
import { reasonOf } from '../home/errors.ts'

/** Bytes of a child's stderr that are kept, the last ones, to explain its end. */
export const STDERR_TAIL_BYTES: number = 8192
/** Between asking a child to end and killing it. */
const TERMINATE_MS = 2000

/** How a child is started. */
export interface ChildCarrierOptions {
  /** The whole environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd?: string | undefined
}

/**
 * A running child and the transport over it.
 *
 * @example
 * import { spawnCarrier } from '@sandbox-ssh/sandbox-bridge'
 *
 * const child = spawnCarrier('/bin/sh', ['-c', 'echo ready; echo a warning >&2; cat'], { env: {} })
 * console.log(new TextDecoder().decode(await child.transport.read()).trim()) // ready
 * await child.end()
 * console.log(child.stderrTail().trim(), '/', await child.exited) // a warning / …
 * child.kill()
 */
export interface ChildCarrier {
  readonly transport: Transport
  /** Resolves once it is gone (or could not be started), with the reason in words. */
  readonly exited: Promise<string>
  /** What it last wrote to stderr. */
  stderrTail(): string
  /** Ends it at once, if it still runs. */
  kill(): void
  /** Closes its stdin, then SIGTERM, then SIGKILL; resolves once it is gone. */
  end(): Promise<void>
}

/**
 * Starts `command` with its stdin and stdout as a transport. It never rejects: see `exited`.
 *
 * @example
 * import { spawnCarrier } from '@sandbox-ssh/sandbox-bridge'
 *
 * const { transport, exited } = spawnCarrier('/bin/cat', [], { env: {} })
 * await transport.write(new TextEncoder().encode('and back'))
 * await transport.close()
 * console.log(new TextDecoder().decode(await transport.read())) // and back
 * console.log(await exited) // it exited with status 0
 */
export function spawnCarrier(
  command: string,
  args: readonly string[],
  options: ChildCarrierOptions,
): ChildCarrier {
  const child = spawn(command, args, {
    env: options.env,
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  const tail = keepTail(child.stderr)
  const exited = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(`${command}: ${reasonOf(error)}`))
    child.once('exit', (code, signal) => {
      resolve(signal === null ? `it exited with status ${code}` : `it was killed by ${signal}`)
    })
  })
  return {
    transport: nodeStreams(child.stdout, child.stdin),
    exited,
    stderrTail: () => tail().trim(),
    kill: () => void child.kill('SIGKILL'),
    end: async () => {
      child.stdin.end()
      const timers = [
        setTimeout(() => child.kill('SIGTERM'), TERMINATE_MS),
        setTimeout(() => child.kill('SIGKILL'), 2 * TERMINATE_MS),
      ]
      await exited
      timers.forEach(clearTimeout)
    },
  }
}

/** Reads a stream to its end, keeping its last bytes, as text. */
export function keepTail(stream: Readable): () => string {
  let tail = Buffer.alloc(0)
  stream.on('data', (chunk: Buffer) => {
    tail = Buffer.concat([tail, chunk]).subarray(-STDERR_TAIL_BYTES)
  })
  stream.on('error', () => undefined)
  return () => tail.toString('utf8')
}
