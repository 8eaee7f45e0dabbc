/** vsock: the hypervisor's Unix socket with its CONNECT line, and the host's own address family. */
import { denoConn, type Transport } from '@sandbox-ssh/protocol'
import { reasonOf, SandboxError } from '../home/errors.ts'
import { dialProgram } from './command.ts'
import { awaitGreeting, withPrefix } from './greeting.ts'
import { CONNECT_MS, type DialOptions, dialUnix } from './unix.ts'

/** `OK`, a port of ten digits and a line feed, with some room. */
const ANSWER_BYTES_MAX = 32
const LINE_FEED = 0x0a

/**
 * Connects to a port of the guest behind the socket of Firecracker or cloud-hypervisor: `CONNECT
 * PORT`, answered by `OK HOSTPORT`; whatever follows the line is the guest's. If nobody listens in
 * the guest the hypervisor hangs up without a word.
 * @throws SandboxError as `dialUnix`, `SANDBOX_NOT_RUNNING` if nobody listens, `SANDBOX_UNREACHABLE`
 * if it is no such socket; or the signal's reason
 *
 * @example
 * import { once } from 'node:events'
 * import { createServer } from 'node:net'
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { dialVsockUnix } from '@sandbox-ssh/sandbox-bridge'
 *
 * // What Firecracker's socket says of a port that somebody listens on.
 * const path = join(tmpdir(), `vsock-${process.pid}.sock`)
 * const vm = createServer((socket) => socket.once('data', () => socket.end('OK 1\nhello')))
 * vm.listen(path)
 * await once(vm, 'listening')
 * const transport = await dialVsockUnix(path, 1024)
 * console.log(new TextDecoder().decode(await transport.read())) // hello
 * await transport.close()
 * vm.close()
 */
export async function dialVsockUnix(
  path: string,
  port: number,
  options: DialOptions = {},
): Promise<Transport> {
  const transport = await dialUnix(path, options)
  const { signal, timeoutMs = CONNECT_MS } = options
  const late = new SandboxError('SANDBOX_UNREACHABLE', `${path}: no answer in ${timeoutMs} ms`)
  const timer = setTimeout(() => transport.abort(late), timeoutMs)
  const aborted = (): void => transport.abort(signal?.reason)
  signal?.addEventListener('abort', aborted, { once: true })
  try {
    signal?.throwIfAborted()
    await transport.write(new TextEncoder().encode(`CONNECT ${port}\n`))
    const rest = await readAnswer(transport, path, port)
    return rest.length === 0 ? transport : withPrefix(rest, transport)
  } catch (error) {
    transport.abort(error)
    if (signal?.aborted) throw signal.reason
    if (error instanceof SandboxError) throw error
    // A write to a hypervisor that has hung up already.
    throw nobodyListens(path, port, error)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', aborted)
  }
}

/** Reads the line; what came behind it is returned. */
async function readAnswer(transport: Transport, path: string, port: number): Promise<Uint8Array> {
  let line = ''
  for (;;) {
    const chunk = await transport.read()
    if (chunk === undefined) {
      if (line === '') throw nobodyListens(path, port)
      throw notVsock(path, line)
    }
    const end = chunk.indexOf(LINE_FEED)
    const part = end < 0 ? chunk : chunk.subarray(0, end)
    line += new TextDecoder('latin1').decode(part.subarray(0, ANSWER_BYTES_MAX + 1))
    if (line.length > ANSWER_BYTES_MAX) throw notVsock(path, line)
    if (end < 0) continue
    if (!/^OK \d{1,10}\r?$/.test(line)) throw notVsock(path, line)
    return chunk.subarray(end + 1)
  }
}

function nobodyListens(path: string, port: number, cause?: unknown): SandboxError {
  const message = `nothing in the guest of ${path} listens on vsock port ${port}`
  return new SandboxError('SANDBOX_NOT_RUNNING', message, { cause })
}

function notVsock(path: string, line: string): SandboxError {
  const shown = JSON.stringify(line.slice(0, ANSWER_BYTES_MAX))
  return new SandboxError(
    'SANDBOX_UNREACHABLE',
    `${path} is not the vsock socket of Firecracker or cloud-hypervisor: it answered ${shown}`,
  )
}

/** What Deno has and others have not. */
interface DenoConnect {
  connect?(options: {
    readonly transport: 'vsock'
    readonly cid: number
    readonly port: number
  }): Promise<Parameters<typeof denoConn>[0]>
}

/**
 * Connects to a port of a guest through the host's vsock: Deno's own, else through socat.
 * @throws SandboxError `SANDBOX_UNREACHABLE`, also where there is neither; or the signal's reason
 *
 * @example
 * import { dialVsock, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * // A virtual machine with the context id 42, whose agent listens on port 1024.
 * const client = await sandbox((options) => dialVsock(42, 1024, options)).ssh().openClient()
 * console.log((await client.exec('echo inside')).stdout.toString().trim()) // inside
 * await client.close()
 */
export async function dialVsock(
  cid: number,
  port: number,
  options: DialOptions = {},
): Promise<Transport> {
  options.signal?.throwIfAborted()
  const { Deno: deno } = globalThis as { Deno?: DenoConnect }
  if (deno?.connect !== undefined) {
    const { signal, timeoutMs = CONNECT_MS } = options
    try {
      const conn = await deno.connect({ transport: 'vsock', cid, port })
      return await awaitGreeting(denoConn(conn), { signal, timeoutMs })
    } catch (cause) {
      if (signal?.aborted) throw signal.reason
      const message = `vsock:${cid}:${port}: ${reasonOf(cause)} (Deno needs --unstable-vsock)`
      throw new SandboxError('SANDBOX_UNREACHABLE', message, { cause })
    }
  }
  return dialProgram('socat', ['-', `VSOCK-CONNECT:${cid}:${port}`], {
    ...options,
    label: `vsock:${cid}:${port}`,
    missing: 'this runtime has no vsock of its own, and socat is not installed',
  })
}
