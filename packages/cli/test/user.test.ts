/** The embedded sandbox of an ordinary user: root inside, nobody special outside. */
// Time limit: 180 s
import { type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  statSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finished, finished, msbEnv, msbPath, temporaryDirectory } from './msb.ts'

/** `nobody` exists everywhere; only root can become him. */
const NOBODY = 65534
const isRoot = process.getuid?.() === 0
const asUser = isRoot ? test : test.skip

/** Everything he needs at a place he may read: the repository may be in a private directory. */
function installed(): { readonly program: string; readonly home: string } {
  const folder = temporaryDirectory()
  chmodSync(folder, 0o755)
  const program = join(folder, 'msb.mjs')
  copyFileSync(msbPath, program)
  copyFileSync(join(dirname(msbPath), 'msb-guest.mjs'), join(folder, 'msb-guest.mjs'))
  const require = createRequire(import.meta.url)
  const scope = dirname(dirname(require.resolve('@lydell/node-pty')))
  for (const name of readdirSync(scope).filter((entry) => entry.startsWith('node-pty'))) {
    cpSync(join(scope, name), join(folder, 'node_modules/@lydell', name), { recursive: true })
  }
  const home = join(folder, 'home')
  mkdirSync(home, { mode: 0o700 })
  chownSync(home, NOBODY, NOBODY)
  return { program, home }
}

function run(program: string, home: string, path: string, command: string): Promise<Finished> {
  const args = [program, 'ssh', 'local:box', '--tty', '--', command]
  const env = { ...msbEnv(home), PATH: path }
  const options: SpawnOptions = {
    env,
    uid: NOBODY,
    gid: NOBODY,
    cwd: '/',
    stdio: ['ignore', 'pipe', 'pipe'],
  }
  return finished(spawn(process.execPath, args, options))
}

asUser('he is root inside an isolated sandbox, terminals included', async () => {
  const { program, home } = installed()
  const path = process.env['PATH'] ?? ''
  const works = spawnSync('bwrap', ['--ro-bind', '/', '/', '--unshare-user', 'true'], {
    uid: NOBODY,
    gid: NOBODY,
  })
  // Not every kernel lets him; the one of CI does.
  if (works.status !== 0 && process.env['CI'] === undefined) return
  const command =
    'id -u; pwd; echo kept > kept; touch /usr/x 2>/dev/null || echo read-only; tty; ls /proc/1/cwd | head -3'
  const result = await run(program, home, path, command)
  assert.match(result.stdout.toString(), /^0\r\n\/root\r\nread-only\r\n\/dev\/pts\/\d+\r\n/)
  assert.is(result.stderr, '')
  assert.is(statSync(join(home, 'local/box/home/kept')).uid, NOBODY)
})

asUser('without bubblewrap he is himself, with a warning, and the name root works', async () => {
  const { program, home } = installed()
  const bin = join(dirname(home), 'bin')
  mkdirSync(bin)
  // Only what the sandbox needs, without bwrap among it.
  spawnSync('ln', ['-s', '/usr/bin/flock', '/usr/bin/setsid', '/usr/bin/stty', bin])
  const result = await run(program, home, bin, 'PATH=/usr/bin:/bin; id -u; pwd')
  assert.is(result.stdout.toString(), `${NOBODY}\r\n${home}/local/box/home\r\n`, result.stderr)
  assert.match(
    result.stderr,
    /^warn: local:box runs without isolation: .*nobody can \(bubblewrap \(bwrap\) is not installed\)\n$/,
  )
  assert.is(result.code, 0)
})

test.run()
