/** §2.10 and 3 of the reference: `authorize`, and the files and modes under MSB_HOME. */
// Time limit: 240 s
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { msb, start, temporaryDirectory } from '../msb.ts'
import { agentWorld, check, localWorld, modeOf, type Row } from './world.ts'

/** A public key of ssh-keygen's as it writes it, and the private half. */
function makeKey(...options: readonly string[]): { readonly path: string; readonly line: string } {
  const path = join(temporaryDirectory(), 'id')
  const args = ['-q', '-N', '', '-C', 'ada@laptop', '-f', path, ...options]
  assert.is(spawnSync('ssh-keygen', args).status, 0)
  return { path, line: readFileSync(`${path}.pub`, 'utf8').trim() }
}

const key = makeKey('-t', 'ed25519')
const other = makeKey('-t', 'ecdsa', '-b', '384')
const blob = key.line.split(' ')[1] ?? ''

/** What `authorize` is given, what was in the file, and what must be in it. */
interface Case extends Omit<Row, 'args' | 'exit'> {
  readonly what: string
  readonly args: readonly string[]
  readonly before?: string
  readonly after: string | undefined
  readonly exit?: number
}

const added = '   ✓ Authorized key PATH\n'
const there = '   ✓ Already authorized PATH\n'
const fails = (what: string, args: readonly string[], stderr: string, input?: string): Case => ({
  what,
  args,
  stderr: `error: ${stderr}\n`,
  exit: 1,
  after: undefined,
  ...(input === undefined ? {} : { input }),
})

const cases: readonly Case[] = [
  { what: 'a file', args: ['--file', `${key.path}.pub`], after: `${key.line}\n`, stderr: added },
  { what: 'a key', args: ['--key', key.line], after: `${key.line}\n`, stderr: added },
  {
    what: 'stdin',
    args: ['--stdin'],
    input: `\n  ${key.line}  \n\n`,
    after: `${key.line}\n`,
    stderr: added,
  },
  {
    what: 'a bare blob becomes a line with its type',
    args: ['--key', blob],
    after: `ssh-ed25519 ${blob}\n`,
    stderr: added,
  },
  {
    what: 'the same blob with another comment is there already',
    args: ['--key', `ssh-ed25519 ${blob} somebody else`],
    before: `${key.line}\n`,
    after: `${key.line}\n`,
    stderr: there,
  },
  {
    what: 'a file without a last newline gets one, lines that are no keys stay',
    args: ['--key', other.line],
    before: `# mine\nnonsense\n${key.line}`,
    after: `# mine\nnonsense\n${key.line}\n${other.line}\n`,
    stderr: added,
  },
  {
    what: 'several lines are each looked at',
    args: ['--stdin'],
    input: `# two\n${key.line}\n${other.line}\n`,
    before: `${other.line}\n`,
    after: `${other.line}\n${key.line}\n`,
    stderr: `${added}${there}`,
  },
  fails('nothing', ['--key', '  '], 'public key cannot be empty'),
  fails('a comment', ['--key', '# ssh-ed25519'], 'public key cannot be empty'),
  fails('a type alone', ['--key', 'ecdsa-sha2-nistp256'], 'public key is missing key data'),
  fails('no base64', ['--key', 'ssh-ed25519 !!!'], 'invalid public key'),
  fails('base64 of nothing', ['--key', 'AAAA'], 'invalid public key'),
  fails('one bad line', ['--stdin'], 'line 2: invalid public key', `${key.line}\nssh-rsa AAAA\n`),
  fails('no file', ['--file', '/no/key'], 'failed to read /no/key: no such file or directory'),
]

for (const { what, before, after, exit = 0, ...row } of cases) {
  test(`authorize: ${what}`, async () => {
    const home = temporaryDirectory()
    const path = join(home, 'ssh', 'authorized_keys')
    if (before !== undefined) {
      mkdirSync(join(home, 'ssh'), { mode: 0o755 })
      writeFileSync(path, before, { mode: 0o644 })
    }
    const args = ['ssh', 'authorize', ...row.args]
    const stderr = typeof row.stderr === 'string' ? row.stderr.replaceAll('PATH', path) : ''
    await check({ ...row, args, exit, stderr }, home)
    if (after === undefined) return assert.not(existsSync(path))
    assert.is(readFileSync(path, 'utf8'), after)
    // Who was already there does not make it safe; whoever is added does.
    assert.is(modeOf(path), stderr.includes('Authorized') ? '600' : '644')
    assert.is(modeOf(join(home, 'ssh')), '700')
  })
}

test('sixteen at once lose no key', async () => {
  const home = temporaryDirectory()
  const keys = Array.from({ length: 16 }, (_, index) => {
    const bytes = Buffer.concat([
      Buffer.from('\0\0\0\x0bssh-ed25519\0\0\0 '),
      Buffer.alloc(32, index),
    ])
    return bytes.toString('base64')
  })
  const codes = await Promise.all(
    keys.map(async (each) => (await msb(['ssh', 'authorize', '--key', each], { home })).code),
  )
  assert.equal(new Set(codes), new Set([0]))
  const text = readFileSync(join(home, 'ssh', 'authorized_keys'), 'utf8')
  for (const each of keys) assert.ok(text.includes(each))
})

test('the host key is made at the first serve, and kept', async () => {
  for (const [world, path] of [
    [await agentWorld('boxed'), 'sandboxes/boxed/ssh/host_ed25519'],
    [await localWorld(), 'local/ref/ssh/host_ed25519'],
  ] as const) {
    const { home, sandbox } = world
    await msb(['ssh', 'authorize', '--key', key.line], { home })
    const hostKey = join(home, path)
    const served = async (): Promise<string> => {
      const child = start(['ssh', 'serve', sandbox, '--port', '0'], home)
      await new Promise((resolve) => child.stderr?.once('data', resolve))
      child.kill('SIGINT')
      await new Promise((resolve) => child.once('close', resolve))
      return readFileSync(hostKey, 'utf8')
    }
    const first = await served()
    assert.match(first, /^-----BEGIN OPENSSH PRIVATE KEY-----\n/)
    assert.is(modeOf(hostKey), '600')
    assert.is(modeOf(join(hostKey, '..')), '700')
    const shown = spawnSync('ssh-keygen', ['-lf', hostKey]).stdout.toString()
    assert.match(shown, /^256 SHA256:\S+ .*\(ED25519\)\n$/)
    // Looser modes are mended.
    chmodSync(hostKey, 0o644)
    assert.is(await served(), first)
    assert.is(modeOf(hostKey), '600')
    await world.stop()
  }
})

test('two servers that start at once have one host key', async () => {
  const world = await agentWorld('race')
  const { home } = world
  await msb(['ssh', 'authorize', '--key', key.line], { home })
  const children = Array.from({ length: 4 }, () =>
    start(['ssh', 'serve', 'race', '--port', '0'], home),
  )
  const said = await Promise.all(
    children.map(
      (child) =>
        new Promise<string>((resolve) => {
          child.stderr?.once('data', (chunk: Buffer) => resolve(chunk.toString()))
        }),
    ),
  )
  for (const text of said) assert.match(text, /SSH listening/)
  const ports = said.map((text) => /:(\d+)\n/.exec(text)?.[1] ?? '')
  const scanned = ports.map((port) => {
    const { stdout } = spawnSync('ssh-keyscan', ['-t', 'ed25519', '-p', port, '127.0.0.1'])
    return /AAAA\S+/.exec(stdout.toString())?.[0]
  })
  assert.is(new Set(scanned).size, 1)
  assert.ok(scanned[0] !== undefined)
  for (const child of children) child.kill('SIGTERM')
  await world.stop()
})

test.run()
