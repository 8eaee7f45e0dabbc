/**
 * Where node-pty's native half is. The folders are looked through here: a runtime's own `require`
 * may have rules of its own, and Bun's, where there is no `node_modules`, fetches what is missing
 * from the registry, which nobody asked for.
 */
import { existsSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * The path of `pty.node` for this system, of the installation that the module `from` (a file URL)
 * belongs to: in the nearest `node_modules` above it that has node-pty.
 */
export function findNodePty(from: string): string | undefined {
  const name = `node-pty-${process.platform}-${process.arch}`
  for (let folder = dirname(fileURLToPath(from)); ; folder = dirname(folder)) {
    const scope = join(folder, 'node_modules', '@lydell')
    const owner = realPath(join(scope, 'node-pty'))
    // Beside its owner, below it, or, where packages are links, beside the owner's real place.
    const places = [
      join(scope, name),
      ...(owner === undefined
        ? []
        : [join(owner, 'node_modules', '@lydell', name), join(dirname(owner), name)]),
    ]
    const found = places.map((place) => join(place, 'pty.node')).find((path) => existsSync(path))
    if (found !== undefined) return realPath(found)
    if (folder === dirname(folder)) return undefined
  }
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path)
  } catch {
    return undefined
  }
}
