// A security key in software: OpenSSH's sk-dummy, which comes with its regress tests.

import { existsSync } from 'node:fs'
import { join } from 'node:path'

const folders = [process.env['OPENSSH_REGRESS'] ?? '', '/usr/lib/openssh/regress']

/** The middleware library, if it is there: `OPENSSH_REGRESS` names where the tests are. */
export const skDummy: string | undefined = folders
  .filter((folder) => folder !== '')
  .map((folder) => join(folder, 'misc/sk-dummy/sk-dummy.so'))
  .find((path) => existsSync(path))

/** Why there is none, if so. */
export const skDummyMissing: string | undefined =
  skDummy === undefined ? 'sk-dummy.so not installed (package openssh-tests)' : undefined
