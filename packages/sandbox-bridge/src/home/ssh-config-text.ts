/** What stands in a block of ssh_config(5), and how it is quoted there. */
import { SandboxError } from './errors.ts'

/** How one block is written. */
export interface BlockParts {
  readonly alias: string
  /** Lines between the `Host` line and those about keys, such as `User root`. */
  readonly way: readonly string[]
  readonly knownHostsPath: string
  readonly identityPath: string
}

/** The block. Only our known_hosts counts, and only that key is shown. */
export function formatBlock({ alias, way, knownHostsPath, identityPath }: BlockParts): string {
  const lines = [
    ...way,
    `UserKnownHostsFile ${quotedPath(knownHostsPath)}`,
    'GlobalKnownHostsFile none',
    'StrictHostKeyChecking yes',
    'UpdateHostKeys no',
    `IdentityFile ${quotedPath(identityPath)}`,
    'IdentitiesOnly yes',
  ]
  return `Host ${alias}\n${lines.map((line) => `  ${line}\n`).join('')}`
}

/** A name for ssh. @throws SandboxError `SANDBOX_NAME_INVALID` */
export function checkAlias(alias: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(alias)) return alias
  const message = 'an alias for ssh has letters, digits, dots, hyphens and underscores'
  throw new SandboxError('SANDBOX_NAME_INVALID', message)
}

/** Where `HostName` may lead. @throws SandboxError `SANDBOX_NAME_INVALID` */
export function checkHost(host: string): string {
  if (/^[A-Za-z0-9:][A-Za-z0-9.:_-]*$/.test(host)) return host
  throw new SandboxError('SANDBOX_NAME_INVALID', `${JSON.stringify(host)} is no name of a host`)
}

/** A login that may stand behind `User`. @throws SandboxError `SANDBOX_NAME_INVALID` */
export function checkUser(user: string): string {
  // An option would end at a blank, and a line at its end.
  if (/^[^\s"'#%$]+$/.test(user)) return user
  throw new SandboxError('SANDBOX_NAME_INVALID', 'that user cannot be named in ssh_config')
}

/** A word for the shell that ssh starts, after ssh has replaced its `%` sequences. */
export function proxyWord(word: string): string {
  if (/[\0\r\n]/.test(word)) throw unnameable(word)
  const quoted = /^[\w@+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
  return quoted.replaceAll('%', '%%')
}

/** Quotes cannot be escaped in every version of ssh, nor can `${`. */
function quotedPath(path: string): string {
  if (/["\0\r\n\\]|\$\{/.test(path)) throw unnameable(path)
  return `"${path.replaceAll('%', '%%')}"`
}

/** `Include` takes wildcards and no `%` sequences. */
export function includePath(path: string): string {
  if (/["\0\r\n\\*?[\]]|\$\{/.test(path)) throw unnameable(path)
  return `"${path}"`
}

function unnameable(path: string): SandboxError {
  const message = `${JSON.stringify(path)} cannot be written in ssh_config`
  return new SandboxError('HOME_UNUSABLE', message)
}
