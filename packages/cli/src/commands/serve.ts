/** `msb ssh serve NAME`: SSH for clients from outside, on a TCP port or on stdin and stdout. */
import { nodeStreams } from '@sandbox-ssh/protocol'
import {
  permits,
  prepareGateway,
  type Sandbox,
  type SshServer,
  type SshServerOptions,
  sandbox,
  sandboxDirectory,
} from '@sandbox-ssh/sandbox-bridge'
import type { GatewayCommand, ServeCommand } from '../command.ts'
import type { CommandContext } from '../context.ts'
import { CliError, explain } from '../failure.ts'
import type { ListenAddress } from '../forward-spec.ts'
import { formatAddress, openServerPort, warnUnlessLoopback } from '../listen.ts'
import { whileServed } from '../running.ts'
import { openAuditLog, ServerLog } from '../server-log.ts'
import { handleSignals } from '../signals.ts'

/** Time for connections to end by themselves once they were told to. */
const CLOSE_MS = 5000

/** Serves until a signal, or with `--stdio` until the client leaves; returns the exit code. */
export async function serve(command: ServeCommand, context: CommandContext): Promise<number> {
  const { output } = context
  const home = context.home()
  const warned = new Set<string>()
  const warn = (message: string): void => {
    // The same line of authorized_keys is met at each login.
    if (!warned.has(message)) output.warn(message)
    warned.add(message)
  }
  // Opened first: a server that is to be audited does not run without.
  const log = new ServerLog(output, openAuditLog(command.auditLog))
  const overStdio = command.listen === undefined
  // Over stdio stderr is the terminal of whoever runs ssh, who cannot mend the file.
  const onWarning = overStdio ? (message: string): void => output.debug(message) : warn
  const options = { ...serverOptions(command, context, log), onWarning }
  const listen = (server: SshServer, signal?: AbortSignal): Promise<number> =>
    command.listen === undefined
      ? serveStdio(server)
      : serveTcp(server, command.listen, command, context, signal)
  try {
    if (command.gateway !== undefined) {
      return await listen(await openGateway(command.gateway, options, context))
    }
    const box = sandbox(command.sandbox ?? '', { home, onWarning: warn })
    // Over stdio there may be others, each with a server of his own.
    const whenUnsure = overStdio ? 'leave' : 'stop'
    return await whileServed(box, context, { quiet: overStdio, whenUnsure }, async (signal) => {
      const release = await holdSandbox(box, context, signal)
      try {
        const server = await box.ssh().prepareServer(options)
        signal.throwIfAborted()
        return await listen(server, signal)
      } finally {
        release()
      }
    })
  } finally {
    log.close()
  }
}

function serverOptions(
  command: ServeCommand,
  { output, logLevel }: CommandContext,
  log: ServerLog,
): SshServerOptions {
  const { permitOpen } = command
  return {
    hostKeyPath: command.hostKeys,
    authorizedKeysPath: command.authorizedKeys,
    authoritiesPath: command.authorities,
    principals: command.principals,
    revokedKeysPath: command.revokedKeys,
    user: command.user,
    readOnlySftp: command.readOnlySftp,
    agentForwarding: command.agentForwarding,
    permitOpen:
      permitOpen === undefined ? undefined : (host, port) => permits(permitOpen, host, port),
    ...(command.inactivityMs === undefined
      ? {}
      : { inactivityTimeoutSecs: Math.ceil(command.inactivityMs / 1000) }),
    onError: (error) => output.debug(explain(error)),
    onEvent: (event) => log.add(event),
    ...(logLevel === 'trace' ? { trace: (line: string) => output.trace(line) } : {}),
  }
}

/** A server whose logins say which sandbox they want. */
function openGateway(
  { entries, patterns, start, lingerMs, connectionsPerSandbox }: GatewayCommand,
  options: SshServerOptions,
  context: CommandContext,
): Promise<SshServer> {
  const { output } = context
  const home = context.home()
  const { onWarning } = options
  return prepareGateway({
    ...options,
    ...{ home, start, lingerMs, connectionsPerSandbox },
    resolve: sandboxDirectory({ home, entries, patterns, onWarning }),
    names: [...entries.keys()],
    onStarting: (name) => output.debug(`starting ${name}`),
  })
}

async function serveStdio(server: SshServer): Promise<number> {
  let stopped = false
  const stop = handleSignals(['SIGINT', 'SIGTERM', 'SIGHUP'], () => {
    stopped = true
    void server.close()
  })
  try {
    await server.serveConnection(nodeStreams(process.stdin, process.stdout))
    return 0
  } catch (error) {
    if (stopped) return 0
    throw new CliError(`SSH session failed: ${explain(error)}`, { cause: error })
  } finally {
    stop()
  }
}

async function serveTcp(
  server: SshServer,
  where: ListenAddress,
  { connectionsMax, drainMs }: ServeCommand,
  { output }: CommandContext,
  signal?: AbortSignal,
): Promise<number> {
  // A failing accept (too many files open, say) may pass; connections that are open go on.
  const { listener, address } = await openServerPort(where, (error) =>
    output.warn(`accepting a connection failed: ${error.message}`),
  )
  const serving = server.serve(listener, { connectionsMax })
  const again = new AbortController()
  // Before it is told that it listens: whoever reads that may send the signal at once.
  const stopped = new Promise<void>((resolve) => {
    // The first signal stops it, the second one ends what is still going on, the third this.
    let signals = 0
    const stop = handleSignals(['SIGINT', 'SIGTERM', 'SIGHUP'], () => {
      signals++
      if (signals === 1) return resolve()
      stop()
      again.abort()
    })
    if (signal?.aborted) resolve()
  })
  output.success('SSH listening', formatAddress(address))
  warnUnlessLoopback(output, address, 'whoever holds an authorized key can log in from there')
  await stopped
  await listener.close()
  await serving
  const drained = server.drain(drainMs, again.signal)
  const { connectionCount } = server
  if (connectionCount > 0 && drainMs > 0) {
    output.success('Draining', `${connectionCount} open; another signal ends them at once`)
  }
  await withLimit(drained, drainMs + CLOSE_MS, again.signal)
  return 0
}

/**
 * Makes sure the sandbox is there before anybody is told so, and keeps an embedded one running
 * between connections: it ends with the last of its users, and this server is one.
 */
async function holdSandbox(
  box: Sandbox,
  { output }: CommandContext,
  signal: AbortSignal,
): Promise<() => void> {
  let agent = await box.connectAgent({ signal })
  if (!box.label.startsWith('local:')) {
    await agent.close()
    return () => undefined
  }
  let released = false
  const watch = async (): Promise<void> => {
    while (!released) {
      await agent.closed
      if (released) return
      output.debug(`${box.label} ended; starting it again`)
      agent = await box.connectAgent()
      if (released) await agent.close()
    }
  }
  watch().catch((error) => output.warn(explain(error)))
  return () => {
    released = true
    void agent.close()
  }
}

/** Does not let a client that hangs keep the server; after `again` even less. */
async function withLimit(work: Promise<void>, ms: number, again: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
    again.addEventListener('abort', () => {
      clearTimeout(timer)
      timer = setTimeout(resolve, CLOSE_MS)
    })
  })
  await Promise.race([work, limit])
  clearTimeout(timer)
}
