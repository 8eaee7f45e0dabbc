/**
 * Patterns in what `scp -f` is asked for: a shell would have expanded them, and there may be none.
 * `*` and `?` are known; everything else needs a shell.
 */
import { SshError } from '@sandbox-ssh/protocol'
import type { SftpFileSystem } from './file-system.ts'
import { SCP_MATCHES_MAX } from './limits.ts'
import { joinPath } from './path.ts'
import { asSftpError } from './status.ts'
import { entries } from './tree.ts'

/** A path as it was written: which of its characters were not quoted and mean more than themselves. */
export interface ScpPath {
  readonly text: string
  /** Positions of unquoted `*` and `?`, in order. */
  readonly wildcards: readonly number[]
}

/**
 * The paths that match, sorted; the pattern itself if there are none, as a shell has it. Names that
 * begin with a dot want one in the pattern. Rejects with SshError `SSH_LIMIT` if there are too many.
 */
export async function expandScpPath(
  files: SftpFileSystem,
  { text, wildcards }: ScpPath,
): Promise<readonly string[]> {
  if (wildcards.length === 0) return [text]
  let found: string[] = [text.startsWith('/') ? '/' : '']
  let at = 0
  for (const part of text.split('/')) {
    const start = at
    at += part.length + 1
    if (part === '') continue
    const wild = new Set(
      wildcards.filter((each) => each >= start && each < at).map((each) => each - start),
    )
    const next: string[] = []
    for (const folder of found) {
      const names = wild.size === 0 ? [part] : await matching(files, folder || '.', part, wild)
      for (const name of names) next.push(folder === '' ? name : joinPath(folder, name))
      if (next.length > SCP_MATCHES_MAX) {
        throw new SshError('SSH_LIMIT', `more than ${SCP_MATCHES_MAX} names match`)
      }
    }
    found = next
  }
  return found.length === 0 ? [text] : found.sort()
}

/** Names in a folder that match; none if it cannot be listed. */
async function matching(
  files: SftpFileSystem,
  folder: string,
  pattern: string,
  wild: ReadonlySet<number>,
): Promise<readonly string[]> {
  const names: string[] = []
  try {
    for await (const { name } of entries(files, folder)) {
      if (name.startsWith('.') && !pattern.startsWith('.')) continue
      if (matches(name, pattern, wild)) names.push(name)
    }
  } catch (error) {
    if (asSftpError(error) === undefined) throw error
  }
  return names
}

/** Whether the whole name matches; only the last `*` is tried again, so never worse than a product. */
function matches(name: string, pattern: string, wild: ReadonlySet<number>): boolean {
  let [at, inPattern, star, resume] = [0, 0, -1, 0]
  const isWild = (character: string): boolean =>
    wild.has(inPattern) && pattern[inPattern] === character
  while (at < name.length) {
    if (isWild('*')) {
      star = inPattern++
      resume = at
    } else if (isWild('?') || (inPattern < pattern.length && name[at] === pattern[inPattern])) {
      at++
      inPattern++
    } else if (star !== -1) {
      inPattern = star + 1
      at = ++resume
    } else return false
  }
  while (isWild('*')) inPattern++
  return inPattern === pattern.length
}
