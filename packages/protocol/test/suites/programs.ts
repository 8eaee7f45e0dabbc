/** Real programs that tests compare with. */
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'

/** Where a program is, if it is installed. */
export function programPath(program: string): string | undefined {
  const paths = (process.env['PATH'] ?? '').split(':').map((folder) => join(folder, program))
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/**
 * Registers a test that runs programs. Without them it is skipped, and says so; in CI, which
 * installs them, it then fails instead of testing nothing.
 */
export function testWith(
  programs: readonly string[],
  name: string,
  run: () => void | Promise<void>,
): void {
  const missing = programs.filter((program) => programPath(program) === undefined)
  if (missing.length === 0 || process.env['CI'] !== undefined) test(name, run)
  else test.skip(`${name} (${missing.join(' and ')} not installed)`, run)
}
