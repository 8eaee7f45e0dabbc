/** Real programs that tests compare with. */
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'

function isInstalled(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
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
  const missing = programs.filter((program) => !isInstalled(program))
  if (missing.length === 0 || process.env['CI'] !== undefined) test(name, run)
  else test.skip(`${name} (${missing.join(' and ')} not installed)`, run)
}
