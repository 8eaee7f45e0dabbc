/** The commands that an installation has, under the names by which it links them. */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { msb, temporaryDirectory } from './msb.ts'

const packagePath = fileURLToPath(new URL('..', import.meta.url))
const { bin } = JSON.parse(readFileSync(join(packagePath, 'package.json'), 'utf8')) as {
  readonly bin: Readonly<Record<string, string>>
}

/** A folder for PATH, as `npm install --global` fills one. */
function installed(): string {
  const folder = temporaryDirectory()
  for (const [name, file] of Object.entries(bin)) {
    const program = join(packagePath, file)
    accessSync(program, constants.X_OK)
    symlinkSync(program, join(folder, name))
  }
  return folder
}

test('the guest program is a command, with terminals where node-pty is installed', async () => {
  assert.equal(Object.keys(bin).sort(), ['msb', 'msb-guest', 'sandbox-ssh-sftp-server'])
  const home = temporaryDirectory()
  const env = { PATH: `${installed()}:${process.env['PATH']}` }
  const run = (args: readonly string[]) =>
    msb(['ssh', ...args, 'stdio:msb-guest --stdio', '--', 'tty; exit 7'], { home, env })
  const [plain, terminal] = await Promise.all([run([]), run(['-t'])])
  assert.equal([plain.stdout.toString(), plain.code], ['not a tty\n', 7], plain.stderr)
  assert.match(terminal.stdout.toString(), /^\/dev\/pts\/\d+\r\n$/, terminal.stderr)
  assert.is(terminal.code, 7)
})

test('the guest program tells its usage, as an answer or as what was wrong', () => {
  const path = join(packagePath, bin['msb-guest'] ?? '')
  const run = (arg: string) => spawnSync(process.execPath, [path, arg], { encoding: 'utf8' })
  const asked = run('--help')
  assert.match(asked.stdout, /^usage: msb-guest /)
  assert.equal([asked.stderr, asked.status], ['', 0])
  const wrong = run('--nonsense')
  assert.match(wrong.stderr, /^error: .*--nonsense.*\nusage: msb-guest /)
  assert.equal([wrong.stdout, wrong.status], ['', 2])
})

test.run()
