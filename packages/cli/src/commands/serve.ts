/** `msb ssh serve NAME`: SSH for clients from outside, on a TCP port or on stdin and stdout. */
import { createServer, type Server, type Socket } from 'node:net'
import { nodeSocket, nodeStreams } from '@sandbox-ssh/protocol'
import { type Sandbox, type SshServer, sandbox } from '@sandbox-ssh/sandbox-bridge'
import type { ServeCommand } from '../args.ts'
import type { CommandContext } from '../context.ts'
import { CliError, explain } from '../failure.ts'
import { addressOf, formatAddress, listen, warnUnlessLoopback } from '../listen.ts'
import { whileRunning } from '../running.ts'
import { handleSignals } from '../signals.ts'

/**
 * Connections on which nobody has logged in yet, at once: further ones are refused, so that
 * strangers cannot take all the places. OpenSSH's MaxStartups begins to refuse at 10.
 */
const UNAUTHENTICATED_MAX = 32
/** Time for connections to end by themselves when the server does. */
const CLOSE_MS = 5000

/** Serves until a signal, or with `--stdio` until the client leaves; returns the exit code. */
export async function serve(command: ServeCommand, context: CommandContext): Promise<number> {
  const { output } = context
  const warned = new Set<string>()
  const warn = (message: string): void => {
    // The same line of authorized_keys is met at each login.
    if (!warned.has(message)) output.warn(message)
    warned.add(message)
  }
  const box = sandbox(command.sandbox, { home: context.home(), onWarning: warn })
  const quiet = command.listen === undefined
  // A server on stdin and stdout ends with one client of perhaps many.
  const whenUnsure = quiet ? 'leave' : 'stop'
  return whileRunning(box, context, { quiet, whenUnsure }, () =>
    serveRunning(box, command, context, warn),
  )
}

async function serveRunning(
  box: Sandbox,
  command: ServeCommand,
  context: CommandContext,
  warn: (message: string) => void,
): Promise<number> {
  const { output } = context
  const release = await holdSandbox(box, context)
  try {
    const server = await box.ssh().prepareServer({
      ...(command.inactivityMs === undefined
        ? {}
        : { inactivityTimeoutSecs: Math.ceil(command.inactivityMs / 1000) }),
      // Over stdio stderr is the terminal of whoever runs ssh, who cannot mend the file.
      onWarning: command.listen === undefined ? (message) => output.debug(message) : warn,
      onError: (error) => output.debug(explain(error)),
      ...(context.logLevel === 'trace' ? { trace: (line: string) => output.trace(line) } : {}),
    })
    return command.listen === undefined
      ? await serveStdio(server)
      : await serveTcp(server, { ...command.listen, most: command.connectionsMax }, context)
  } finally {
    release()
  }
}

async function serveStdio(server: SshServer): Promise<number> {
  const stop = handleSignals(['SIGINT', 'SIGTERM', 'SIGHUP'], () => void server.close())
  try {
    await server.serveConnection(nodeStreams(process.stdin, process.stdout))
    return 0
  } catch (error) {
    throw new CliError(`SSH session failed: ${explain(error)}`, { cause: error })
  } finally {
    stop()
  }
}

interface Listening {
  readonly host: string
  readonly port: number
  /** Connections at once. */
  readonly most: number
}

async function serveTcp(
  server: SshServer,
  listening: Listening,
  context: CommandContext,
): Promise<number> {
  const { output } = context
  const listener = createServer({ allowHalfOpen: true, noDelay: true })
  listener.maxConnections = listening.most
  listener.on('drop', (peer) => {
    output.warn(`refused ${peer?.remoteAddress ?? 'a client'}: ${listening.most} connections open`)
  })
  const accept = acceptor(server, context)
  listener.on('connection', accept)
  await listen(listener, listening)
  const address = addressOf(listener)
  output.success('SSH listening', formatAddress(address))
  warnUnlessLoopback(output, address, 'whoever holds an authorized key can log in from there')
  await stopped(listener, output)
  listener.close()
  await withLimit(server.close())
  return 0
}

/** Serves each connection on its own; what goes wrong on one is no matter for the others. */
function acceptor(server: SshServer, { output }: CommandContext): (socket: Socket) => void {
  let unauthenticated = 0
  return (socket) => {
    const peer = {
      clientHost: socket.remoteAddress ?? '',
      clientPort: socket.remotePort ?? 0,
      serverHost: socket.localAddress ?? '',
      serverPort: socket.localPort ?? 0,
    }
    const from = formatAddress({ address: peer.clientHost, port: peer.clientPort })
    // Without a listener a reset before the first read would end the program.
    socket.on('error', (error) => output.debug(`${from}: ${error.message}`))
    if (unauthenticated >= UNAUTHENTICATED_MAX) {
      output.debug(`${from}: refused, ${unauthenticated} connections are still logging in`)
      socket.destroy()
      return
    }
    unauthenticated++
    let loggedIn = false
    const onLogin = ({ username }: { readonly username: string }): void => {
      loggedIn = true
      unauthenticated--
      output.debug(`${from}: logged in as ${username}`)
    }
    server
      .serveConnection(nodeSocket(socket), { peer, onLogin })
      .then(
        () => output.debug(`${from}: ended`),
        (error: unknown) => output.debug(`${from}: ${explain(error)}`),
      )
      .finally(() => {
        if (!loggedIn) unauthenticated--
        socket.destroy()
      })
  }
}

/** Resolves at the first signal; the second ends the process the hard way. */
function stopped(listener: Server, output: CommandContext['output']): Promise<void> {
  // A failing accept (too many files open, say) may pass; connections that are open go on.
  listener.on('error', (error) => output.warn(`accepting a connection failed: ${error.message}`))
  return new Promise((resolve) => {
    const stop = handleSignals(['SIGINT', 'SIGTERM', 'SIGHUP'], () => {
      stop()
      resolve()
    })
  })
}

/**
 * Makes sure the sandbox is there before anybody is told so, and keeps an embedded one running
 * between connections: it ends with the last of its users, and this server is one.
 */
async function holdSandbox(box: Sandbox, { output }: CommandContext): Promise<() => void> {
  let agent = await box.connectAgent()
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

async function withLimit(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, CLOSE_MS)
  })
  await Promise.race([work, limit])
  clearTimeout(timer)
}
