/** What a user may write where a sandbox is wanted: a name or an endpoint. */
import { SandboxError } from './errors.ts'

/** Longest sandbox name, in bytes; names are ASCII. */
export const SANDBOX_NAME_BYTES_MAX: number = 128

/** Which network an embedded sandbox sees: its own loopback only, or the host's. */
export type LocalNetwork = 'loopback' | 'host'

/** A sandbox argument, understood but not yet looked up. */
export type SandboxTarget =
  /** A microsandbox sandbox, found through MSB_HOME. */
  | { readonly kind: 'name'; readonly name: string }
  /** Anything that speaks the relay protocol on a Unix socket. */
  | { readonly kind: 'unix'; readonly path: string }
  /** The embedded sandbox, started on demand. */
  | { readonly kind: 'local'; readonly name: string; readonly network: LocalNetwork }

/** Endpoint kinds, for messages and completion. */
export const ENDPOINT_FORMS: readonly string[] = [
  'NAME',
  'unix:/path/agent.sock',
  'local:NAME',
  'local:NAME?net=host',
]

/**
 * Reads a sandbox argument. Nothing is looked up.
 * @throws SandboxError `SANDBOX_NAME_INVALID` saying what was seen and what is allowed
 */
export function parseSandboxTarget(text: string): SandboxTarget {
  const colon = text.indexOf(':')
  if (colon === -1) return { kind: 'name', name: parseSandboxName(text) }
  const kind = text.slice(0, colon)
  const rest = text.slice(colon + 1)
  switch (kind) {
    case 'unix':
      if (rest === '' || rest.includes('\0')) {
        throw invalid('unix: needs the path of a socket, as in unix:/run/agent.sock')
      }
      return { kind: 'unix', path: rest }
    case 'local':
      return parseLocal(rest)
    default:
      throw invalid(
        `unknown kind of sandbox: ${show(kind)}: (a sandbox is ${ENDPOINT_FORMS.join(', ')})`,
      )
  }
}

/**
 * Checks a sandbox name: 1 to 128 bytes, ASCII letters, digits, `.`, `-`, `_`, the first a letter
 * or digit. These rules also keep a name from walking out of its directory.
 * @throws SandboxError `SANDBOX_NAME_INVALID`
 */
export function parseSandboxName(text: string): string {
  if (text === '') throw invalid('a sandbox name cannot be empty')
  if (text.length > SANDBOX_NAME_BYTES_MAX) {
    throw invalid(
      `sandbox name too long: ${text.length} characters, at most ${SANDBOX_NAME_BYTES_MAX}`,
    )
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(text)) {
    throw invalid(
      `invalid sandbox name ${show(text)}: letters, digits, '.', '-' and '_' are allowed, ` +
        'beginning with a letter or digit',
    )
  }
  return text
}

/** A target as the user would write it. */
export function formatSandboxTarget(target: SandboxTarget): string {
  switch (target.kind) {
    case 'name':
      return target.name
    case 'unix':
      return `unix:${target.path}`
    case 'local':
      return `local:${target.name}${target.network === 'host' ? '?net=host' : ''}`
  }
}

function parseLocal(rest: string): SandboxTarget {
  const [name = '', ...queries] = rest.split('?')
  if (name === '') throw invalid('local: needs a name, as in local:devbox')
  let network: LocalNetwork = 'loopback'
  if (queries.length > 1) throw invalid(`more than one '?' in ${show(`local:${rest}`)}`)
  for (const option of (queries[0] ?? '').split('&').filter((part) => part !== '')) {
    if (option === 'net=host') network = 'host'
    else if (option === 'net=loopback') network = 'loopback'
    else throw invalid(`unknown option ${show(option)} of local: (net=host or net=loopback)`)
  }
  return { kind: 'local', name: parseSandboxName(name), network }
}

/** Quotes for a message; control characters of a pasted argument must not reach a terminal. */
function show(text: string): string {
  const short = text.length > 60 ? `${text.slice(0, 60)}…` : text
  return JSON.stringify(short)
}

function invalid(message: string): SandboxError {
  return new SandboxError('SANDBOX_NAME_INVALID', message)
}
