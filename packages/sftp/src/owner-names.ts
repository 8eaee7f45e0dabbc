/** Names of users and groups for `ls -l` lines, asked for once. */
import type { OwnerNames } from './attributes.ts'
import type { DirectoryEntry, FileAttributes, SftpFileSystem } from './file-system.ts'
import { OWNER_NAMES_MAX } from './limits.ts'

/** The names one session has asked for. */
export class OwnerNameCache {
  readonly #fileSystem: SftpFileSystem
  readonly #users = new Map<number, string | undefined>()
  readonly #groups = new Map<number, string | undefined>()

  constructor(fileSystem: SftpFileSystem) {
    this.#fileSystem = fileSystem
  }

  /** Learns the names the entries need. Ids whose names cannot be had are shown as numbers. */
  async learn(entries: readonly DirectoryEntry[]): Promise<void> {
    if (this.#fileSystem.usersGroupsById === undefined) return
    const uids = missing(this.#users, entries, (attributes) => attributes.uid)
    const gids = missing(this.#groups, entries, (attributes) => attributes.gid)
    if (uids.length === 0 && gids.length === 0) return
    try {
      const { users, groups } = await this.#fileSystem.usersGroupsById(uids, gids)
      remember(this.#users, uids, users)
      remember(this.#groups, gids, groups)
    } catch {
      // A list without names is better than no list; and asking again would fail again.
      remember(this.#users, uids, [])
      remember(this.#groups, gids, [])
    }
  }

  names(attributes: FileAttributes): OwnerNames {
    return {
      user: attributes.uid === undefined ? undefined : this.#users.get(attributes.uid),
      group: attributes.gid === undefined ? undefined : this.#groups.get(attributes.gid),
    }
  }
}

function missing(
  known: ReadonlyMap<number, unknown>,
  entries: readonly DirectoryEntry[],
  idOf: (attributes: FileAttributes) => number | undefined,
): number[] {
  const ids = new Set<number>()
  for (const { attributes } of entries) {
    const id = idOf(attributes)
    if (id !== undefined && !known.has(id)) ids.add(id)
  }
  return [...ids]
}

function remember(
  known: Map<number, string | undefined>,
  ids: readonly number[],
  names: readonly (string | undefined)[],
): void {
  if (known.size + ids.length > OWNER_NAMES_MAX) known.clear()
  ids.forEach((id, index) => {
    known.set(id, names[index])
  })
}
