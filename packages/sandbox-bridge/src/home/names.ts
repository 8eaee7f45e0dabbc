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
  /**
   * The agent's raw console: QEMU's socket for a virtio-serial port, or a character device.
   * `booted`: the agent has had its handshake already, from somebody who is gone.
   */
  | { readonly kind: 'virtio-serial'; readonly path: string; readonly booted: boolean }
  /** A port in the guest behind the vsock socket of Firecracker or cloud-hypervisor. */
  | { readonly kind: 'vsock-unix'; readonly path: string; readonly port: number }
  /** A port of the guest with this context id, through the host's vsock. */
  | { readonly kind: 'vsock'; readonly cid: number; readonly port: number; readonly force: boolean }
  /** A command line for sh whose stdin and stdout carry the agent protocol. */
  | { readonly kind: 'stdio'; readonly command: string }
  /** A WebSocket whose binary messages carry it; `ws:` or `wss:`. */
  | { readonly kind: 'ws'; readonly url: string }

/** Endpoint kinds, for messages and completion. */
export const ENDPOINT_FORMS: readonly string[] = [
  'NAME',
  'unix:/path/agent.sock',
  'local:NAME',
  'local:NAME?net=host',
  'virtio-serial:/path/console.sock',
  'vsock-unix:/path/v.sock:PORT',
  'vsock:CID:PORT',
  'stdio:COMMAND',
  'wss://host/path',
]

/** Context ids that are no guest of this host, and why. */
const NO_GUEST: ReadonlyMap<number, string> = new Map([
  [0, 'is the hypervisor'],
  [2, 'is the host itself'],
  [0xffff_ffff, 'is any'],
])

/**
 * Reads a sandbox argument. Nothing is looked up.
 * @throws SandboxError `SANDBOX_NAME_INVALID` saying what was seen and what is allowed
 *
 * @example
 * import { formatSandboxTarget, parseSandboxTarget } from '@sandbox-ssh/sandbox-bridge'
 *
 * const target = parseSandboxTarget('vsock:42:1024')
 * console.log(target.kind, formatSandboxTarget(target)) // vsock vsock:42:1024
 * console.log(parseSandboxTarget('devbox').kind) // name
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
    case 'virtio-serial':
      return parseVirtioSerial(rest)
    case 'vsock-unix':
      return parseVsockUnix(rest)
    case 'vsock':
      return parseVsock(rest)
    case 'stdio':
      if (rest.trim() === '' || rest.includes('\0')) {
        throw invalid('stdio: needs a command, as in "stdio:docker exec -i box msb-guest --stdio"')
      }
      return { kind: 'stdio', command: rest.trim() }
    case 'ws':
    case 'wss':
      if (!URL.canParse(text) || !rest.startsWith('//')) {
        throw invalid(`not the address of a WebSocket: ${show(text)}`)
      }
      return { kind: 'ws', url: text }
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

/**
 * A target as the user would write it.
 *
 * @example
 * import { formatSandboxTarget, parseSandboxTarget } from '@sandbox-ssh/sandbox-bridge'
 *
 * const targets = ['devbox', 'unix:/run/agent.sock'].map(parseSandboxTarget)
 * console.log(targets.map(formatSandboxTarget).join(', ')) // devbox, unix:/run/agent.sock
 */
export function formatSandboxTarget(target: SandboxTarget): string {
  switch (target.kind) {
    case 'name':
      return target.name
    case 'unix':
      return `unix:${target.path}`
    case 'local':
      return `local:${target.name}${target.network === 'host' ? '?net=host' : ''}`
    case 'virtio-serial':
      return `virtio-serial:${target.path}${target.booted ? '?booted' : ''}`
    case 'vsock-unix':
      return `vsock-unix:${target.path}:${target.port}`
    case 'vsock':
      return `vsock:${target.cid}:${target.port}${target.force ? '?force' : ''}`
    case 'stdio':
      return `stdio:${target.command}`
    case 'ws':
      return target.url
  }
}

function parseVirtioSerial(rest: string): SandboxTarget {
  const booted = rest.endsWith('?booted')
  const path = booted ? rest.slice(0, -'?booted'.length) : rest
  if (!path.startsWith('/') || path.includes('\0')) {
    throw invalid('virtio-serial: needs an absolute path, as in virtio-serial:/run/vm/console.sock')
  }
  return { kind: 'virtio-serial', path, booted }
}

function parseVsockUnix(rest: string): SandboxTarget {
  const colon = rest.lastIndexOf(':')
  const path = rest.slice(0, Math.max(colon, 0))
  const port = parsePort(rest.slice(colon + 1))
  if (!path.startsWith('/') || path.includes('\0') || port === undefined) {
    throw invalid('vsock-unix: needs a path and a port, as in vsock-unix:/run/vm/v.sock:1024')
  }
  return { kind: 'vsock-unix', path, port }
}

function parseVsock(rest: string): SandboxTarget {
  const force = rest.endsWith('?force')
  const [cidText = '', portText = '', more] = (force ? rest.slice(0, -6) : rest).split(':')
  const cid = parseNumber(cidText)
  const port = parsePort(portText)
  if (cid === undefined || port === undefined || more !== undefined) {
    throw invalid('vsock: needs a context id and a port, as in vsock:3:1024')
  }
  const what = NO_GUEST.get(cid)
  if (what !== undefined && !(force && cid === 2)) {
    const way = cid === 2 ? ` (to reach it nevertheless: vsock:2:${port}?force)` : ''
    throw invalid(`vsock context ${cid} ${what}, not a sandbox${way}`)
  }
  return { kind: 'vsock', cid, port, force }
}

/** A decimal number of 32 bits. */
function parseNumber(text: string): number | undefined {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN
  return number <= 0xffff_ffff ? number : undefined
}

/** A port that somebody may listen on: neither 0 nor the one that means any. */
function parsePort(text: string): number | undefined {
  const port = parseNumber(text)
  return port === 0 || port === 0xffff_ffff ? undefined : port
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
