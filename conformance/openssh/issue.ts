// Keys, authorities and certificates made by ssh-keygen.

import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from '../peers/folder.ts'
import { output } from '../peers/run.ts'

/** Makes a key pair and gives the path of its private half. */
export async function keygen(
  type: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const path = join(temporaryFolder(), 'id')
  await output(['ssh-keygen', '-q', '-t', type, '-N', '', '-C', type, '-f', path, ...args], { env })
  return path
}

/** Copies a key pair and puts a certificate beside it; `options` are those of ssh-keygen. */
export async function certify(
  authority: string,
  key: string,
  options: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const path = join(temporaryFolder(), 'id')
  copyFileSync(key, path)
  copyFileSync(`${key}.pub`, `${path}.pub`)
  const sign = ['ssh-keygen', '-q', '-s', authority, '-I', 'certified', ...options, `${path}.pub`]
  await output(sign, { env })
  return path
}
