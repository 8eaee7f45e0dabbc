/** Ports here that lead into the sandbox, and stdin and stdout that do. */
import { connect as connectSocket } from 'node:net'
import { type Client, nodeSocket, nodeStreams, splice, type Transport } from '@sandbox-ssh/protocol'
import { type ForwardTarget, forwardSocks, forwardTo } from '@sandbox-ssh/sandbox-bridge'
import type { CommandContext } from '../context.ts'
import { CliError, explain } from '../failure.ts'
import type { Destination, ForwardSpec, RemoteForward } from '../forward-spec.ts'
import { formatAddress, type OpenPort, openPort, warnUnlessLoopback } from '../listen.ts'

/** Ports that are open and wait for a connection to the sandbox. */
export interface Forwards {
  /** Begins to pass connections on. `onError` hears, in a sentence, of those that cannot be. */
  start(client: Client, onError: (message: string) => void): void
  /** Stops listening. */
  close(): Promise<void>
}

/**
 * Opens all ports or none, before anything else is done: a port in use is said at once.
 * @throws CliError naming the address
 */
export async function openForwards(
  specs: readonly ForwardSpec[],
  { output }: CommandContext,
): Promise<Forwards> {
  const open: { port: OpenPort; to: Destination | undefined }[] = []
  const close = async (): Promise<void> => {
    await Promise.all(open.map(({ port }) => port.listener.close()))
  }
  try {
    for (const { listen, to } of specs) open.push({ port: await openPort(listen), to })
  } catch (error) {
    await close()
    throw error
  }
  return {
    start: (client, onError) => {
      for (const { port, to } of open) {
        const failed = (error: unknown, target: ForwardTarget | undefined): void =>
          onError(
            `${target === undefined ? 'forwarding' : formatTarget(target)}: ${explain(error)}`,
          )
        const { listener, address } = port
        const forwarding =
          to === undefined
            ? forwardSocks(client, listener, { onError: failed })
            : forwardTo(client, listener, to, { onError: failed })
        forwarding.catch((error: unknown) => failed(error, undefined))
        const where = formatAddress(address)
        output.success('Forwarding', `${where} → ${to === undefined ? 'SOCKS' : formatTarget(to)}`)
        warnUnlessLoopback(output, address, 'whoever can connect to it gets into the sandbox')
      }
    },
    close,
  }
}

/**
 * Has the sandbox listen, all of them or none, before anything runs in it. `onError` hears of
 * connections that nobody takes here. They end with the client.
 * @throws CliError naming the port
 */
export async function openRemoteForwards(
  client: Client,
  specs: readonly RemoteForward[],
  { output }: CommandContext,
  onError: (message: string) => void,
): Promise<void> {
  for (const { port, to } of specs) {
    const listener = await client.listen('localhost', port).catch((cause: unknown) => {
      const why = `cannot listen on port ${port} in the sandbox: ${explain(cause)}`
      const hint = 'it may be in use there, or the sandbox lacks perl, python3 and node'
      throw new CliError(`${why}; ${hint}`, { cause })
    })
    output.success('Forwarding', `${listener.port} in the sandbox → ${formatTarget(to)}`)
    const serving = (async () => {
      for await (const { transport } of listener) void joinHere(transport, to, onError)
    })()
    serving.catch((error: unknown) => onError(explain(error)))
  }
}

async function joinHere(
  transport: Transport,
  to: Destination,
  onError: (message: string) => void,
): Promise<void> {
  const socket = connectSocket({ ...to, allowHalfOpen: true, noDelay: true })
  try {
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    await splice(transport, nodeSocket(socket))
  } catch (error) {
    onError(`${formatTarget(to)}: ${explain(error)}`)
    transport.abort(error)
    socket.destroy()
  }
}

/**
 * Joins stdin and stdout to a destination until both directions have ended.
 * @throws CliError if it cannot be connected to, SshError if the connection was lost
 */
export async function joinStdio(client: Client, to: Destination): Promise<void> {
  const channel = await client.directTcpip(to.host, to.port).catch((cause: unknown) => {
    throw new CliError(`cannot connect to ${formatTarget(to)}: ${explain(cause)}`, { cause })
  })
  await splice(channel, nodeStreams(process.stdin, process.stdout), channel.closed)
  // Set if it was not closed but lost.
  if (channel.failure !== undefined) throw channel.failure
}

function formatTarget({ host, port }: ForwardTarget): string {
  return formatAddress({ address: host, port })
}
