/** Following symbolic links by hand, where a file system has to be kept inside a directory. */
import { type FileAttributes, isSymlink } from './file-system.ts'
import { SYMLINKS_MAX } from './limits.ts'
import { asSftpError, errnoError, STATUS } from './status.ts'

/** What is needed to walk a path. */
export interface Walkable {
  lstat(path: string): Promise<FileAttributes>
  readlink(path: string): Promise<string>
}

/** How to walk a path. */
export interface ResolveOptions {
  /** Follow a link in the last component too. */
  readonly followLast: boolean
  /** Links and `..` stay below this absolute path, which is where absolute links start from. */
  readonly root?: string
}

/**
 * The path of `path` (absolute, seen from `root`) without links, `.` and `..`, as an absolute path
 * seen from `root` too. The last component need not exist. Rejects with ENOENT, ENOTDIR or ELOOP.
 *
 * @example
 * import { memoryFileSystem, resolvePath } from '@sandbox-ssh/sftp'
 *
 * const files = memoryFileSystem()
 * await files.mkdir('/var', 0o755)
 * await files.symlink('/var', '/link')
 * console.log(await resolvePath(files, '/link/log', { followLast: true })) // /var/log
 */
export async function resolvePath(
  files: Walkable,
  path: string,
  { followLast, root = '/' }: ResolveOptions,
): Promise<string> {
  // `link/` and `link/.` mean the directory behind the link.
  const follow = followLast || /\/\.?$/.test(path)
  const todo = components(path)
  const done: string[] = []
  let links = 0
  for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
    if (part === '..') {
      done.pop()
      continue
    }
    const last = todo.length === 0
    done.push(part)
    const inner = `/${done.join('/')}`
    if (last && !follow) return inner
    const outer = outerPath(root, inner)
    const found = await files.lstat(outer).catch((error: unknown) => {
      if (last && isMissing(error)) return undefined
      throw error
    })
    if (found === undefined) return inner
    if (!isSymlink(found)) continue
    links++
    if (links > SYMLINKS_MAX) throw errnoError('ELOOP')
    const target = await files.readlink(outer)
    if (target.startsWith('/')) done.length = 0
    else done.pop()
    todo.push(...components(target))
  }
  return `/${done.join('/')}`
}

/** Whether the file is not there, as opposed to out of reach. */
function isMissing(error: unknown): boolean {
  const known = asSftpError(error)
  if (known?.errno !== undefined) return known.errno === 'ENOENT'
  return known?.status === STATUS.NO_SUCH_FILE
}

/** The parts of a path, last one first, ready to be taken from the end. */
function components(path: string): string[] {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .reverse()
}

/** A path seen from `root` (absolute, no trailing slash) as the file system below knows it. */
export function outerPath(root: string, inner: string): string {
  if (root === '/') return inner
  return inner === '/' ? root : root + inner
}
