/** Running a command to its end and collecting what it wrote. */
import type { ExecOptions } from './client-options.ts'
import { ignore } from './deferred.ts'
import { SshError } from './errors.ts'
import type { RemoteProcess } from './process.ts'
import { optionalInteger } from './validate.ts'

/** How `Client.run` starts a command and what it keeps. */
export interface RunOptions extends ExecOptions {
  /** Input of the program; without it stdin ends at once. */
  readonly stdin?: Uint8Array | string | ReadableStream<Uint8Array>
  /** Most that is kept of each stream, in bytes. Default 64 MiB. */
  readonly maxBytes?: number
}

/** How a command ended and what it wrote. */
export interface RunResult {
  /** Undefined if a signal ended the program. */
  readonly code: number | undefined
  /** Without SIG. */
  readonly signal: string | undefined
  readonly stdout: Uint8Array
  readonly stderr: Uint8Array
  /** `stdout` as UTF-8. */
  text(): string
}

const MAX_BYTES = 64 * 1024 * 1024

/** Throws TypeError naming the option that makes no sense. */
export function validateRun({ stdin, maxBytes }: RunOptions): void {
  const isInput =
    stdin === undefined ||
    typeof stdin === 'string' ||
    stdin instanceof Uint8Array ||
    stdin instanceof ReadableStream
  if (!isInput) throw new TypeError('stdin must be text, bytes or a ReadableStream')
  optionalInteger(maxBytes, 'maxBytes', 0, Number.MAX_SAFE_INTEGER)
}

/** Feeds `stdin`, drains both streams and waits for the end. Closes the process if it fails. */
export async function collect(
  process: RemoteProcess,
  { stdin, maxBytes = MAX_BYTES, signal }: RunOptions,
): Promise<RunResult> {
  try {
    const feeding = feed(process, stdin)
    feeding.catch(ignore)
    const [stdout, stderr, status] = await Promise.all([
      gather('stdout', maxBytes, () => process.read()),
      gather('stderr', maxBytes, () => process.readStderr()),
      process.exit,
      feeding,
    ])
    return {
      code: status.code,
      signal: status.signal,
      stdout,
      stderr,
      text: () => new TextDecoder().decode(stdout),
    }
  } catch (error) {
    // One that was aborted is being terminated in its own time.
    if (!signal?.aborted) process.close(error)
    throw error
  }
}

/** A program need not read its input to the end: that it closed is no error. */
async function feed(process: RemoteProcess, stdin: RunOptions['stdin']): Promise<void> {
  try {
    if (stdin instanceof ReadableStream) {
      await pour(process, stdin)
    } else if (stdin !== undefined) {
      await process.write(typeof stdin === 'string' ? new TextEncoder().encode(stdin) : stdin)
    }
  } catch (error) {
    if (!(error instanceof SshError && error.code === 'SSH_CHANNEL_CLOSED')) throw error
  }
  await process.end()
}

async function pour(process: RemoteProcess, stream: ReadableStream<Uint8Array>): Promise<void> {
  const reader = stream.getReader()
  // A source that has nothing to give must not outlive the program.
  void process.channel.closed.then(() => reader.cancel().catch(ignore))
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    await process.write(value)
  }
}

async function gather(
  name: string,
  maxBytes: number,
  read: () => Promise<Uint8Array | undefined>,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  for (let chunk = await read(); chunk !== undefined; chunk = await read()) {
    length += chunk.length
    if (length > maxBytes) {
      throw new SshError('SSH_LIMIT', `the command wrote more than ${maxBytes} bytes to ${name}`)
    }
    chunks.push(chunk)
  }
  const all = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}
