/** The sides of `msb ssh cp`: files here, or `SANDBOX:path`. */
import { CliError } from './failure.ts'

/** A path here or in a sandbox. */
export type CopySide =
  | { readonly kind: 'local'; readonly path: string }
  | { readonly kind: 'remote'; readonly sandbox: string; readonly path: string }

/** Kinds of endpoints: what follows the colon is still the sandbox. */
const ENDPOINT = /^(?:local|unix|virtio-serial|vsock-unix|vsock|stdio|wss?):/
/** Those among them that may have further colons before that of the path. */
const WITH_COLONS = /^(?:vsock|stdio|ws)/

/**
 * Reads one side. As with scp a colon makes it remote unless a slash comes before it, so `./a:b` is a
 * file here. An empty path is the user's home.
 * @throws CliError
 */
export function parseCopySide(text: string): CopySide {
  if (text === '') throw new CliError('a path cannot be empty')
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
  return side.kind === 'local' ? side.path : `${side.sandbox}:${side.path}`
}
