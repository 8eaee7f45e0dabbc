/** A temporary directory per use, removed when the test process ends. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Home, openHome } from '../../src/home/home.ts'

const made: string[] = []
process.once('exit', () => {
  for (const path of made) rmSync(path, { recursive: true, force: true })
})

/** A fresh directory at 0700. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'msb-test-'))
  made.push(path)
  return path
}

/** A fresh, empty home. */
export function temporaryHome(): Home {
  return openHome({ path: temporaryDirectory(), env: {} })
}
