/** `msb ssh doctor` and completion. */
// Time limit: 240 s
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finished, finished, msb, msbEnv, msbPath, temporaryDirectory } from './msb.ts'

const home = temporaryDirectory()
mkdirSync(join(home, 'sandboxes', 'devbox'), { recursive: true })
mkdirSync(join(home, 'local', 'box'), { recursive: true })

const ask = async (...words: string[]): Promise<readonly string[]> =>
  (await msb(['ssh', 'complete', '--', ...words], { home })).stdout
    .toString()
    .split('\n')
    .filter((word) => word !== '')

test('commands, sandboxes, options and choices are completed', async () => {
  assert.equal(await ask('ss'), ['ssh'])
  const first = await ask('ssh', '')
  for (const word of ['connect', 'serve', 'authorize', 'cp', 'devbox', 'local:box']) {
    assert.ok(first.includes(word), word)
  }
  assert.not.ok(first.includes('complete'))
  assert.equal(await ask('ssh', 'serve', 'd'), ['devbox'])
  assert.equal(await ask('ssh', 'serve', 'devbox', ''), ['devbox', 'local:box'])
  assert.equal(await ask('ssh', 'local:'), ['local:box'])
  assert.equal(await ask('ssh', 'serve', 'devbox', '--au'), ['--authorized-keys', '--audit-log'])
  assert.equal(await ask('ssh', 'devbox', '--det'), ['--detach-keys'])
  assert.equal(await ask('ssh', 'authorize', '--sandbox', 'dev'), ['devbox'])
  assert.equal(await ask('ssh', 'authorize', '--file', ''), [])
  assert.equal(await ask('ssh', 'completion', ''), ['bash', 'zsh', 'fish'])
  assert.equal(await ask('ssh', 'cp', '-r', 'dev'), ['devbox:'])
  assert.equal(await ask('ssh', 'devbox', '--', 'l'), [])
})

/** What bash would offer for a line. */
async function inBash(line: string): Promise<readonly string[]> {
  const bin = temporaryDirectory()
  chmodSync(msbPath, 0o755)
  symlinkSync(msbPath, join(bin, 'msb'))
  const { stdout } = await msb(['ssh', 'completion', 'bash'])
  const script = `${stdout}
    COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
    COMP_LINE=${JSON.stringify(line)} COMP_POINT=\${#COMP_LINE}
    _msb; printf '%s\\n' "\${COMPREPLY[@]}"; complete -p msb`
  const env = { ...msbEnv(home), PATH: `${bin}:${process.env['PATH']}` }
  const shell = await finished(spawn('bash', ['--norc', '-c', script], { env }))
  assert.is(shell.code, 0, shell.stderr)
  assert.match(shell.stdout.toString(), /complete -o default -F _msb msb/)
  return shell.stdout.toString().split('\n').slice(0, -2)
}

test('bash completes, colons included', async () => {
  assert.equal(await inBash('msb ssh serve dev'), ['devbox'])
  assert.equal(await inBash('msb ssh serve local:b'), ['box'])
  assert.equal(await inBash('msb ssh authorize --rev'), ['--revoke'])
})

test('the other scripts are printed, and other shells are wrong usage', async () => {
  assert.match((await msb(['ssh', 'completion', 'zsh'])).stdout.toString(), /^#compdef msb\n/)
  assert.match((await msb(['ssh', 'completion', 'fish'])).stdout.toString(), /^complete -c msb /m)
  assert.is((await msb(['ssh', 'completion', 'csh'])).code, 2)
})

const lineOf = ({ stdout }: Finished, about: string): string =>
  stdout
    .toString()
    .split('\n')
    .find((line) => line.slice(2).startsWith(about)) ?? ''

test('doctor finds a sound installation sound', async () => {
  const own = temporaryDirectory()
  const result = await msb(['ssh', 'doctor', 'local:box'], { home: own })
  assert.is(result.code, 0, result.stdout.toString())
  assert.match(lineOf(result, 'node'), /^✓ node {6}v\d+\./)
  assert.match(lineOf(result, 'home'), /^✓/)
  assert.match(lineOf(result, 'keys'), /^- keys {6}no keys may enter yet$/)
  assert.match(lineOf(result, 'ssh'), /^✓ ssh {7}OpenSSH/)
  assert.match(lineOf(result, 'sandbox'), /^[✓-] sandbox {3}answers; agent of generation \d/)
  assert.match(result.stdout.toString(), /msb ssh authorize --file/)
})

test('doctor says what is bad and how to mend it, with status 1', async () => {
  const missing = await msb(['ssh', 'doctor', 'nobody'], { home: temporaryDirectory() })
  assert.match(lineOf(missing, 'sandbox'), /^✗ sandbox {3}sandbox not found: nobody/)
  assert.is(missing.code, 1)
  const own = temporaryDirectory()
  mkdirSync(join(own, 'ssh'), { mode: 0o700 })
  writeFileSync(join(own, 'ssh', 'authorized_keys'), 'nonsense\n', { mode: 0o600 })
  const line = await msb(['ssh', 'doctor'], { home: own })
  assert.match(lineOf(line, 'keys'), /^✗ keys .*line 1: invalid public key$/)
  chmodSync(join(own, 'ssh', 'authorized_keys'), 0o666)
  const mode = await msb(['ssh', 'doctor'], { home: own })
  assert.match(lineOf(mode, 'keys'), /^✗ keys .*run: chmod go-w /)
  writeFileSync(join(own, 'config.json'), '{')
  const config = await msb(['ssh', 'doctor'], { home: own })
  assert.match(lineOf(config, 'home'), /^✗ home .*config\.json is not JSON/)
  assert.is(config.code, 1)
})

test.run()
