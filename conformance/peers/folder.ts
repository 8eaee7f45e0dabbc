// Temporary folders for keys, configurations and files of one test program.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folders: string[] = []

process.once('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/**
 * A folder that only this user may enter, removed when the process ends. Its path is short, as
 * Unix sockets in it may have 107 bytes at most.
 */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sbx-'))
  folders.push(folder)
  return folder
}
