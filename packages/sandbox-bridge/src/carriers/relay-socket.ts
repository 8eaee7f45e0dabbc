/** A Unix socket whose connections are relay clients: `msb ssh relay`. */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { nodeSocket, type Transport } from '@sandbox-ssh/protocol'
import { errnoOf, reasonOf, SandboxError } from '../home/errors.ts'
import type { Home } from '../home/home.ts'
import { formatSandboxTarget, parseSandboxTarget } from '../home/names.ts'
import { openConnector } from './connector.ts'
import { type ConsoleOptions, SharedConsole } from './shared-console.ts'
import { shortSocketPath } from './socket-path.ts'
import { dialUnix } from './unix.ts'

/** How a relay is run. */
export interface RelayOptions extends Pick<ConsoleOptions, 'bootMs' | 'budgetBytes'> {
  readonly home: Home
  /** Told, in a sentence, of what concerns one client. */
  readonly onClientFailure?: ((why: string) => void) | undefined
  readonly onWarning?: ((message: string) => void) | undefined
}

/** A relay that listens. */
export interface RelayServer {
  /** The endpoint as the user would write it. */
  readonly label: string
  /** Stops listening, removes the socket and ends all clients. */
  close(): Promise<void>
}

/**
 * Listens on `path`, for the owner alone, and gives each client a connection to the agent at
 * `endpoint`. An agent's raw console is shared, and met again when the guest has restarted; other
 * endpoints are dialled for each client. A socket that a dead relay left behind is replaced.
 * @throws SandboxError `SANDBOX_NAME_INVALID`, `HOME_UNUSABLE` if it cannot listen
 *
 * @example
 * import { tmpdir } from 'node:os'
 * import { join } from 'node:path'
 * import { dialUnix, listenRelay, openHome, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * // Shares the agent of a sandbox with other processes, on a socket for this user alone.
 * const path = join(tmpdir(), `relay-${process.pid}.sock`)
 * const relay = await listenRelay('local:devbox', path, { home: openHome() })
 * await using client = await sandbox(() => dialUnix(path)).ssh().openClient()
 * console.log((await client.exec('echo shared')).stdout.toString().trim()) // shared
 * await client.close()
 * await relay.close()
 */
export async function listenRelay(
  endpoint: string,
  path: string,
  options: RelayOptions,
): Promise<RelayServer> {
  const target = parseSandboxTarget(endpoint)
  const tell = options.onClientFailure ?? (() => {})
  const clients = new Set<Transport>()
  let serve: (client: Transport) => Promise<void>
  let shared: SharedConsole | undefined
  if (target.kind === 'virtio-serial') {
    const { bootMs, budgetBytes } = options
    const { path: console, booted } = target
    const how = { bootMs, budgetBytes, booted, keep: true, onDropped: tell }
    const opened = new SharedConsole(options.home, console, how)
    shared = opened
    serve = (client) => opened.serve(client)
  } else {
    const connector = openConnector(target, options)
    serve = async (client) => splice(client, await connector.dial())
  }
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const client = nodeSocket(socket)
    clients.add(client)
    serve(client)
      .catch((error: unknown) => {
        client.abort(error)
        tell(error instanceof Error ? error.message : String(error))
      })
      .finally(() => clients.delete(client))
  })
  await listen(server, path)
  server.on('error', (error) => tell(`accepting a client failed: ${reasonOf(error)}`))
  return {
    label: formatSandboxTarget(target),
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      await shared?.close()
      for (const client of clients) client.abort()
      await closed
    },
  }
}

/** Joins two transports until both directions have ended, or one of them breaks. */
async function splice(left: Transport, right: Transport): Promise<void> {
  const copy = async (from: Transport, to: Transport): Promise<void> => {
    for (let chunk = await from.read(); chunk !== undefined; chunk = await from.read()) {
      await to.write(chunk)
    }
    await to.close()
  }
  try {
    await Promise.all([copy(left, right), copy(right, left)])
  } catch {
    // Which side broke it makes no difference to the other.
  }
  left.abort()
  right.abort()
}

async function listen(server: Server, path: string): Promise<void> {
  try {
    await listenOnce(server, path)
  } catch (error) {
    if (errnoOf(error) !== 'EADDRINUSE' || !(await isLeftBehind(path))) throw failure(path, error)
    unlinkSync(path)
    await listenOnce(server, path).catch((again: unknown) => {
      throw failure(path, again)
    })
  }
}

async function listenOnce(server: Server, path: string): Promise<void> {
  const short = shortSocketPath(path)
  server.once('close', () => short.release())
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    // From its first moment on the socket is its owner's alone; it is made within this call.
    const umask = process.umask(0o177)
    server.listen(short.path, () => {
      server.off('error', reject)
      resolve()
    })
    process.umask(umask)
  })
  chmodSync(path, 0o600)
}

/** A socket that nobody listens on; anything else is somebody's. */
async function isLeftBehind(path: string): Promise<boolean> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return false
  try {
    const transport = await dialUnix(path)
    transport.abort()
    return false
  } catch (error) {
    return error instanceof SandboxError && error.code === 'SANDBOX_NOT_RUNNING'
  }
}

function failure(path: string, cause: unknown): SandboxError {
  const why = errnoOf(cause) === 'EADDRINUSE' ? 'it is in use' : reasonOf(cause)
  return new SandboxError('HOME_UNUSABLE', `cannot listen on ${path}: ${why}`, { cause })
}
