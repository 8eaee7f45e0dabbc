/** Listening inside the guest for an SSH client, `ssh -R`: connections there become channels to it. */
import type { IncomingConnection, Listener, Transport } from '@sandbox-ssh/protocol'
import type { AgentClient } from './agent/client.ts'
import type { AgentProcess } from './agent/process.ts'
import type { GuestConnection } from './guest-connection.ts'
import { complaint, findProgram } from './guest-programs.ts'
import { LISTENERS } from './listen-programs.ts'

/** How long the program may take until it listens. */
const LISTEN_MS = 15_000
/** `sun_path` of Linux without its zero. */
const PATH_BYTES_MAX = 107
/** Longer lines are none of the program's. */
const LINE_BYTES_MAX = 200

/** A port of the guest's loopback, 0 for a free one, or the path of a Unix socket. */
export type ListenPlace = { readonly port: number } | { readonly path: string }

/**
 * Listens with the rights of the guest user `login`, on loopback alone whatever the client asked
 * for: what is in the sandbox may get out here, others may not get through. Ends with the guest
 * connection at the latest.
 * @throws Error that says why not
 */
export async function openGuestListener(
  guest: GuestConnection,
  place: ListenPlace,
  login: string,
): Promise<Listener> {
  const where = 'path' in place ? ['unix', checkPath(place.path)] : ['tcp', String(place.port)]
  const agent = await guest.agent()
  const { agentUser } = await guest.user(login)
  const { command, args } = await findProgram(agent, LISTENERS, 'listening')
  const env = new Map([['LC_ALL', 'C']])
  const program = await agent.exec({
    command,
    args: [...args, ...where],
    env,
    cwd: '/',
    user: agentUser,
  })
  const secret = unguessable()
  const listener = new GuestListener(agent, program, secret)
  await listener.begin()
  return listener
}

/** 128 random bits as 32 hexadecimal digits. */
export function unguessable(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

function checkPath(path: string): string {
  if (!path.startsWith('/') || path.includes('\0')) {
    throw new Error('the path of a socket begins with /')
  }
  if (new TextEncoder().encode(path).length > PATH_BYTES_MAX)
    throw new Error('the path is too long')
  return path
}

class GuestListener implements Listener {
  readonly #agent: AgentClient
  readonly #program: AgentProcess
  readonly #secret: string
  readonly #lines: Lines
  port = 0
  #innerPort = 0
  #closed = false

  constructor(agent: AgentClient, program: AgentProcess, secret: string) {
    this.#agent = agent
    this.#program = program
    this.#secret = secret
    this.#lines = new Lines(program)
  }

  async begin(): Promise<void> {
    const program = this.#program
    const said = complaint(program, 'its program ended')
    said.catch(() => undefined)
    const timer = setTimeout(() => program.signal('KILL'), LISTEN_MS)
    try {
      await program.write(new TextEncoder().encode(`${this.#secret}\n`)).catch(() => undefined)
      const ports = (await this.#lines.next())?.split(' ').map(Number) ?? []
      const [port, inner] = ports
      if (port === undefined || !inner) throw new Error(`cannot listen inside: ${await said}`)
      this.port = port
      this.#innerPort = inner
    } catch (error) {
      program.signal('KILL')
      program.discardOutput()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  async accept(): Promise<IncomingConnection | undefined> {
    for (;;) {
      const line = await this.#lines.next()
      if (line === undefined || this.#closed) return undefined
      const [id = '', host = '', port = ''] = line.split(' ')
      if (!/^\d+$/.test(id)) continue
      // One that cannot be fetched, as its client has gone, is no matter for the others.
      const transport = await this.#fetch(id).catch(() => undefined)
      if (transport === undefined) continue
      const originatorHost = host === '-' ? '' : host
      return { transport, originatorHost, originatorPort: Number(port) || 0 }
    }
  }

  async #fetch(id: string): Promise<Transport> {
    const inner = await this.#agent.tcpConnect('127.0.0.1', this.#innerPort)
    await inner.write(new TextEncoder().encode(`${this.#secret} ${id}\n`))
    return inner
  }

  /** The program stops listening, and ends when the last of its connections has. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#program.end().catch(() => undefined)
    this.#program.discardOutput()
  }
}

/** What a program writes, line by line. */
class Lines {
  readonly #program: AgentProcess
  readonly #decoder = new TextDecoder()
  #text = ''

  constructor(program: AgentProcess) {
    this.#program = program
  }

  /** Undefined at the end, or after a line that is none. */
  async next(): Promise<string | undefined> {
    for (;;) {
      const end = this.#text.indexOf('\n')
      if (end >= 0) {
        const line = this.#text.slice(0, end)
        this.#text = this.#text.slice(end + 1)
        return line
      }
      if (this.#text.length > LINE_BYTES_MAX) return undefined
      const chunk = await this.#program.read().catch(() => undefined)
      if (chunk === undefined) return undefined
      this.#text += this.#decoder.decode(chunk, { stream: true })
    }
  }
}
