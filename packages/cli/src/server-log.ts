/** What happens on a server: for people with `--debug`, for machines with `--audit-log`. */
import { closeSync, openSync, writeSync } from 'node:fs'
import type { Identity, ServerEvent } from '@sandbox-ssh/sandbox-bridge'
import { CliError, explain } from './failure.ts'
import type { Output } from './output.ts'

/** Between two warnings that clients are turned away, of which there may be thousands. */
const TURNED_AWAY_MS = 60_000

/**
 * Opens a file to append to, made at 0600: it tells what commands were run.
 * @throws CliError
 */
export function openAuditLog(path: string | undefined): number | undefined {
  if (path === undefined) return undefined
  try {
    return openSync(path, 'a', 0o600)
  } catch (cause) {
    throw new CliError(`cannot open the audit log ${path}: ${explain(cause)}`, { cause })
  }
}

/** Writes events as they come. */
export class ServerLog {
  readonly #output: Output
  #file: number | undefined
  #warnedMs = Number.NEGATIVE_INFINITY

  constructor(output: Output, file: number | undefined) {
    this.#output = output
    this.#file = file
  }

  add(event: ServerEvent): void {
    const text = `#${event.connection} ${event.from ?? 'stdio'}: ${describe(event)}`
    this.#output.debug(text)
    if (event.type === 'turned-away' && performance.now() - this.#warnedMs > TURNED_AWAY_MS) {
      this.#warnedMs = performance.now()
      this.#output.warn(`refused ${event.from ?? 'a client'}: ${event.reason}`)
    }
    this.#audit(event)
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }

  /** One line each, written at once: several servers may share the file, and none may lose any. */
  #audit({ type, ...details }: ServerEvent): void {
    if (this.#file === undefined) return
    const time = new Date().toISOString()
    const line = JSON.stringify({ time, event: type, ...details })
    try {
      writeSync(this.#file, `${line}\n`)
    } catch (error) {
      this.#output.error(`cannot write the audit log: ${explain(error)}`)
    }
  }
}

function describe(event: ServerEvent): string {
  switch (event.type) {
    case 'connected':
      return 'connected'
    case 'turned-away':
      return `turned away: ${event.reason}`
    case 'key-refused':
      return `refused ${who(event)}: ${event.reason}`
    case 'logged-in':
      return `logged in as ${who(event)}, ${event.client}`
    case 'session-started':
      return `session ${event.session} of ${event.user} started: ${what(event)}`
    case 'session-ended': {
      const { session, status, signal, ms, bytesIn, bytesOut } = event
      const how = signal === undefined ? `status ${status ?? 'unknown'}` : `signal ${signal}`
      return `session ${session} ended: ${how}, ${ms} ms, ${bytesIn} bytes in, ${bytesOut} out`
    }
    case 'forward-refused':
      return `no connection to ${event.host}:${event.port}: ${event.reason}`
    case 'listen-refused':
      return `refused to listen on ${event.host}:${event.port} inside: ${event.reason}`
    case 'listen-started':
      return `listening on ${event.host}:${event.port} inside`
    case 'listen-ended': {
      const { host, port, ms, accepted, bytesIn, bytesOut } = event
      const bytes = `${bytesIn} bytes in, ${bytesOut} out`
      return `no longer listening on ${host}:${port} inside: ${ms} ms, ${accepted} came in, ${bytes}`
    }
    case 'forward-started':
      return `connected to ${event.host}:${event.port}`
    case 'forward-ended': {
      const { host, port, ms, bytesIn, bytesOut, reason } = event
      const bytes = `${bytesIn} bytes in, ${bytesOut} out`
      const why = reason === undefined ? '' : `, ${reason}`
      return `connection to ${host}:${port} ended: ${ms} ms, ${bytes}${why}`
    }
    case 'disconnected':
      return `disconnected after ${event.ms} ms${event.reason === undefined ? '' : `: ${event.reason}`}`
  }
}

function who({ user, keyType, key }: Identity): string {
  return `${user} with ${keyType} ${key}`
}

function what(event: Extract<ServerEvent, { readonly type: 'session-started' }>): string {
  const asked = event.kind === 'shell' ? 'a shell' : `${event.kind} ${event.command}`
  return event.forced === undefined ? asked : `${event.forced} (forced; asked for: ${asked})`
}
