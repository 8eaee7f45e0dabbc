// Which peers there are on this machine.

import { existsSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * Why a peer cannot be tried, if so: it is made of these programs, or shared libraries, which the
 * package brings on Debian.
 */
export function missing(aptPackage: string, files: readonly string[]): string | undefined {
  const absent = files.filter((file) => found(file) === undefined)
  if (absent.length === 0) return undefined
  return `${absent.join(', ')} not installed (apt install ${aptPackage})`
}

/** Where a program or a shared library is, if it is installed. */
export function found(file: string): string | undefined {
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    '/usr/sbin',
    ...(existsSync('/usr/lib') ? readdirSync('/usr/lib') : [])
      .filter((name) => name.includes('-linux-'))
      .map((name) => join('/usr/lib', name)),
  ]
  return folders.map((folder) => join(folder, file)).find((path) => existsSync(path))
}
