/** Sessions that a client opens, and what is started on them. */
import type { Channel, ChannelOptions } from './channel.ts'
import type { IncomingChannels } from './client-channels.ts'
import type { ExecOptions } from './client-options.ts'
import { CHANNEL_TYPE } from './connection/forwarding.ts'
import {
  environment,
  GLOBAL_REQUEST,
  ptyRequest,
  REQUEST,
  x11Request,
} from './connection/requests.ts'
import { SshError } from './errors.ts'
import type { Link } from './link.ts'
import { killOnAbort, type PtyOptions, RemoteProcess } from './process.ts'
import { encodeTerminalModes } from './terminal-modes.ts'
import { optionalInteger, requireString } from './validate.ts'
import type { WaitOptions } from './wait.ts'

const SESSION: ChannelOptions = { stderr: 'pipe', closeWhenEnded: false }

/** A request with its data. */
type Request = readonly [name: string, data: Uint8Array]

/** Opens the sessions of one connection. */
export class ClientSessions {
  readonly #link: Link
  readonly #incoming: IncomingChannels
  /** Whether there is an agent to forward. */
  readonly #hasAgent: boolean
  #noMore = false

  constructor(link: Link, incoming: IncomingChannels, hasAgent: boolean) {
    this.#link = link
    this.#incoming = incoming
    this.#hasAgent = hasAgent
  }

  /** A session on which nothing was requested yet. */
  async open({ signal }: WaitOptions): Promise<Channel> {
    this.#needPermitted()
    return this.#link.openChannel(CHANNEL_TYPE.SESSION, undefined, { ...SESSION, signal })
  }

  /** Refuses further sessions, and lets the server know. */
  noMore(): void {
    if (this.#noMore) return
    this.#noMore = true
    this.#link.notifyGlobal(GLOBAL_REQUEST.NO_MORE_SESSIONS)
  }

  /** Opens a session and starts something on it; the requests go together, in one round trip. */
  async start(request: string, data: Uint8Array, options: ExecOptions): Promise<RemoteProcess> {
    const { env = {}, pty, stderr = 'pipe', signal, graceMs } = options
    const { agentForward = true, x11 } = options
    const forwardsAgent = agentForward && this.#hasAgent
    if (x11 !== undefined) {
      requireString(x11.authProtocol, 'x11.authProtocol')
      requireString(x11.authCookie, 'x11.authCookie')
      optionalInteger(x11.screen, 'x11.screen', 0, 2 ** 32 - 1)
    }
    const required: Request[] = [
      ...(x11
        ? [[REQUEST.X11, x11Request.encode({ singleConnection: false, ...x11 })] as const]
        : []),
      ...(pty ? [[REQUEST.PTY, encodePty(pty)] as const] : []),
    ]
    this.#needPermitted()
    let process: RemoteProcess | undefined
    const channel = await this.#link.openChannel(CHANNEL_TYPE.SESSION, undefined, {
      stderr,
      closeWhenEnded: false,
      signal,
      setUp: (opened) => {
        process = new RemoteProcess(opened, this.#link.machine.peerIdentification ?? '')
        if (signal !== undefined) killOnAbort(process, signal, graceMs)
        if (forwardsAgent) this.#incoming.permitAgent(opened)
        if (x11 !== undefined) this.#incoming.permitX11(opened, x11.singleConnection ?? false)
      },
    })
    try {
      if (forwardsAgent) channel.notify(REQUEST.AGENT)
      await this.#request(channel, required, env, [request, data], signal)
    } catch (error) {
      // One that was aborted may be running already, and is being terminated.
      if (!signal?.aborted) channel.abort()
      throw error
    }
    // It was made as soon as the channel was open, before any request could come on it.
    return process as RemoteProcess
  }

  async #request(
    channel: Channel,
    required: readonly Request[],
    env: Readonly<Record<string, string>>,
    start: Request,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    // In the order of OpenSSH. Env wants no reply: a refused name is no reason to fail.
    const replies = required.map(([name, data]) => ({
      name,
      ok: channel.request(name, data, { signal }),
    }))
    for (const [name, value] of Object.entries(env)) {
      channel.notify(REQUEST.ENV, environment.encode({ name, value }))
    }
    replies.push({ name: start[0], ok: channel.request(...start, { signal }) })
    for (const { name, ok } of replies) {
      if (!(await ok)) {
        throw new SshError('SSH_REQUEST_REFUSED', `the server refused the ${name} request`)
      }
    }
  }

  #needPermitted(): void {
    if (this.#noMore) {
      throw new SshError('SSH_REQUEST_REFUSED', 'no more sessions were announced')
    }
  }
}

function encodePty(pty: PtyOptions): Uint8Array {
  return ptyRequest.encode({
    term: pty.term ?? 'xterm-256color',
    columns: pty.columns ?? 80,
    rows: pty.rows ?? 24,
    widthPixels: pty.widthPixels ?? 0,
    heightPixels: pty.heightPixels ?? 0,
    modes: encodeTerminalModes(pty.modes ?? {}),
  })
}
