/** The sides of `msb ssh cp`: files here, `SANDBOX:path`, or `ssh://LOGIN@HOST[:PORT]/path`. */
import { CliError, explain } from './failure.ts'
import { type Destination, parseGatewayAddress } from './forward-spec.ts'
import { formatAddress } from './listen.ts'

/** An SSH server, such as a gateway, and the login there. */
export interface ServerLogin extends Destination {
  readonly login: string
}

/** A path here, in a sandbox, or behind an SSH server. */
export type CopySide =
  | { readonly kind: 'local'; readonly path: string }
  | { readonly kind: 'remote'; readonly sandbox: string; readonly path: string }
  | { readonly kind: 'server'; readonly server: ServerLogin; readonly path: string }

/** Kinds of endpoints: what follows the colon is still the sandbox. */
const ENDPOINT = /^(?:local|unix|virtio-serial|vsock-unix|vsock|stdio|wss?):/
/** Those among them that may have further colons before that of the path. */
const WITH_COLONS = /^(?:vsock|stdio|ws)/

/**
 * Reads one side. As with scp a colon makes it remote unless a slash comes before it, so `./a:b` is a
 * file here. An empty path is the user's home. In a URI, as with scp, the path begins after the slash.
 * @throws CliError
 */
export function parseCopySide(text: string): CopySide {
  if (text === '') throw new CliError('a path cannot be empty')
  if (text.startsWith('ssh://')) return parseServer(text)
  const scheme = ENDPOINT.exec(text)?.[0] ?? ''
  const colon = WITH_COLONS.test(scheme) ? text.lastIndexOf(':') : text.indexOf(':', scheme.length)
  const slash = text.indexOf('/')
  if (scheme === '' && (colon <= 0 || (slash !== -1 && slash < colon))) {
    return { kind: 'local', path: text }
  }
  const sandbox = text.slice(0, colon)
  if (colon < scheme.length) {
    throw new CliError(`${text} names a sandbox but no path: add a colon, as in ${text}:/path`)
  }
  return { kind: 'remote', sandbox, path: text.slice(colon + 1) || '.' }
}

/** How a side is written, for messages. */
export function formatCopySide(side: CopySide): string {
  switch (side.kind) {
    case 'local':
      return side.path
    case 'remote':
      return `${side.sandbox}:${side.path}`
    case 'server':
      return `${formatServer(side.server)}/${side.path}`
  }
}

/** `ssh://red@gateway:2222` */
export function formatServer({ login, host, port }: ServerLogin): string {
  return `ssh://${login}@${formatAddress({ address: host, port })}`
}

function parseServer(text: string): CopySide {
  const [, login, address = '', path = ''] =
    /^ssh:\/\/([^@/]+)@([^/]*)(?:\/(.*))?$/s.exec(text) ?? []
  if (login === undefined) {
    throw new CliError(`${text} says no login: it is ssh://NAME@HOST[:PORT]/path`)
  }
  try {
    const server = { login: decodeURIComponent(login), ...parseGatewayAddress(address) }
    return { kind: 'server', server, path: path || '.' }
  } catch (cause) {
    throw new CliError(`${text}: ${explain(cause)}`, { cause })
  }
}
