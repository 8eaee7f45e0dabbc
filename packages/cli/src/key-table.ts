/** Keys as a table for people, and for `awk`: one line each, fields apart by two blanks or more. */
import type { AuthorizedKeyOptions, PublicKey } from '@sandbox-ssh/protocol'
import {
  authorizedKeysPaths,
  type Home,
  listGrantFiles,
  readAuthorizedKeysFile,
} from '@sandbox-ssh/sandbox-bridge'

/**
 * Who may enter: fingerprint, type, sandbox, comment, and what the key may not. With `sandbox` only
 * what counts for that one. Throws SandboxError for files that cannot be read or trusted.
 */
export function describeGrants(
  home: Home,
  sandbox: string | undefined,
  onWarning: (message: string) => void,
): string {
  const counting = sandbox === undefined ? undefined : authorizedKeysPaths(home, sandbox)
  const rows: string[][] = []
  for (const file of listGrantFiles(home)) {
    if (counting !== undefined && !counting.includes(file.path)) continue
    const { keys, warnings } = readAuthorizedKeysFile(file.path)
    for (const warning of warnings) onWarning(warning)
    for (const { key, options } of keys) {
      const where = file.sandbox ?? 'all sandboxes'
      rows.push([...fieldsOf(key), where, describeOptions(options), key.comment])
    }
  }
  return table(rows)
}

/** Fingerprint and type. */
export function fieldsOf(key: PublicKey): readonly [string, string] {
  return [key.fingerprint(), key.type]
}

/** Columns as wide as they need to be; empty ones at the end of a line are left out. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => printable(row[column] ?? '').length)),
  )
  const lines = rows.map((row) =>
    row.map((field, column) => printable(field).padEnd(widths[column] ?? 0)).join('  '),
  )
  return lines.map((line) => `${line.trimEnd()}\n`).join('')
}

function describeOptions(options: AuthorizedKeyOptions): string {
  const { certAuthority, principals, expiryMs, from, command, permitOpen, pty } = options
  const { portForwarding, verifyRequired, touchRequired } = options
  const authority = principals === undefined ? 'authority' : `authority for ${principals.join(',')}`
  const parts = [
    ...(certAuthority ? [authority] : []),
    ...(expiryMs === undefined ? [] : [describeExpiry(expiryMs)]),
    ...(from === undefined ? [] : [`from ${from.join(',')}`]),
    ...(command === undefined ? [] : [`command ${JSON.stringify(command)}`]),
    ...(permitOpen === undefined ? [] : ['bounded forwards']),
    ...(portForwarding ? [] : ['no forwards']),
    ...(pty ? [] : ['no terminal']),
    ...(verifyRequired ? ['user verified'] : []),
    ...(touchRequired ? [] : ['no touch']),
  ]
  return parts.join('; ')
}

function describeExpiry(ms: number): string {
  const text = new Date(ms).toISOString().replace(/:\d\d\.\d+Z$/, 'Z')
  return ms <= Date.now() ? `expired ${text}` : `until ${text}`
}

/** Comments come from files. */
function printable(text: string): string {
  return text.replace(/\p{C}/gu, '?')
}
