// Time limit: 240 s
/** OpenSSH's programs against our server in front of a guest. */
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { generateKey } from '@sandbox-ssh/protocol'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { memorySandbox } from './memory-sandbox.ts'
import { type Listening, listen, run, ssh, start, user } from './openssh.ts'
import { within } from './within.ts'

interface Context extends Listening {
  readonly directory: string
}

const test = suite('OpenSSH')

function add(title: string, body: (context: Context) => Promise<void>): void {
  test(title, () =>
    within(60_000, async () => {
      const { sandbox, directory } = memorySandbox()
      const context = { ...(await listen(sandbox)), directory }
      try {
        await body(context)
      } finally {
        await context.close()
      }
    }),
  )
}

if (spawnSync('ssh', ['-V']).error !== undefined) {
  test.skip('OpenSSH is not installed', () => {})
} else {
  add('exit statuses', async (context) => {
    for (const code of [0, 3, 255]) assert.is((await ssh(context, [`exit ${code}`])).code, code)
  })

  add('death by a signal is 255', async (context) => {
    const result = await ssh(context, ['kill -TERM $$'])
    assert.is(result.code, 255)
  })

  add('stdin to stdout, 20 MiB, byte for byte', async (context) => {
    const data = randomBytes(20 * 1024 * 1024)
    const result = await ssh(context, ['cat'], data)
    assert.is(result.code, 0)
    assert.is(sha256(result.stdout), sha256(data))
  })

  add('a pipeline inside, stderr apart', async (context) => {
    const result = await ssh(context, ['tr a-z A-Z | (tee f; cat f >&2) | wc -c'], 'hello\n')
    assert.is(result.stdout.toString().trim(), '6')
    assert.is(result.stderr, 'HELLO\n')
  })

  add('`ssh HOST yes | head -1` ends', async (context) => {
    const { options, port } = context
    const line = ['ssh', ...options, '-p', String(port), `${user}@127.0.0.1`, 'yes']
    const quoted = line.map((word) => `'${word}'`).join(' ')
    const result = await run('sh', ['-c', `${quoted} | head -1`])
    assert.is(result.stdout.toString(), 'y\n')
  })

  add('SSH_CONNECTION and accepted variables', async (context) => {
    const args = ['-o', 'SetEnv=LC_TEST=ok FORBIDDEN=no', `${user}@127.0.0.1`]
    const result = await run('ssh', [
      ...[...context.options, '-p', String(context.port), ...args],
      'echo "$LC_TEST|$FORBIDDEN|$SSH_CONNECTION"',
    ])
    const expected = new RegExp(`^ok\\|\\|127\\.0\\.0\\.1 \\d+ 127\\.0\\.0\\.1 ${context.port}\n$`)
    assert.match(result.stdout.toString(), expected)
  })

  add('a terminal', async (context) => {
    const result = await ssh(context, ['-tt', 'tty; test -t 0 && echo yes; exit 4'])
    assert.match(result.stdout.toString(), /^\/dev\/pts\/\d+\r\nyes\r\n$/)
    assert.is(result.code, 4)
  })

  add('a shell on stdin', async (context) => {
    const result = await ssh(context, ['-T'], 'echo $((6*7))\nexit 6\n')
    assert.match(result.stdout.toString(), /^42$/m)
    assert.is(result.code, 6)
  })

  add('an unknown key is refused', async (context) => {
    const other = join(context.local, 'other')
    writeFileSync(other, generateKey('ed25519').toOpenSsh(), { mode: 0o600 })
    const options = context.options.map((option) =>
      option === join(context.local, 'id') ? other : option,
    )
    const result = await ssh({ ...context, options }, ['true'])
    assert.is(result.code, 255)
    assert.match(result.stderr, /Permission denied \(publickey\)/)
  })

  add('sftp both ways', async (context) => {
    const { options, port, local, directory } = context
    const data = randomBytes(3_000_000)
    writeFileSync(join(local, 'up'), data)
    const batch = [
      `put ${local}/up one`,
      'mkdir dir',
      'rename one dir/two',
      `get dir/two ${local}/down`,
      'ln -s two dir/link',
      'ln dir/two dir/hard',
      'chmod 600 dir/two',
      'ls -l dir',
      'df .',
      '-mkdir dir',
      'pwd',
    ]
    const result = await run(
      'sftp',
      [...options, '-P', String(port), '-b', '-', `${user}@127.0.0.1`],
      `${batch.join('\n')}\n`,
    )
    assert.is(result.code, 0, result.stderr)
    assert.is(sha256(readFileSync(join(local, 'down'))), sha256(data))
    assert.is(statSync(join(directory, 'dir/hard')).nlink, 2)
    assert.is(statSync(join(directory, 'dir/two')).mode & 0o777, 0o600)
    assert.match(result.stdout.toString(), new RegExp(`directory: ${directory}`))
  })

  for (const mode of [[], ['-O']]) {
    add(`scp ${mode.join(' ') || 'over sftp'}, both ways`, async (context) => {
      const { options, port, local, directory } = context
      const data = randomBytes(1_000_000)
      writeFileSync(join(local, 'up'), data)
      const args = [...mode, ...options, '-P', String(port)]
      const up = await run('scp', [...args, join(local, 'up'), `${user}@127.0.0.1:${directory}/x`])
      assert.is(up.code, 0, up.stderr)
      const from = `${user}@127.0.0.1:${directory}/x`
      const down = await run('scp', [...args, from, join(local, 'down')])
      assert.is(down.code, 0, down.stderr)
      assert.is(sha256(readFileSync(join(local, 'down'))), sha256(data))
    })
  }

  if (spawnSync('rsync', ['--version']).error === undefined) {
    add('rsync -a both ways', async (context) => {
      const { options, port, local, directory } = context
      const tree = join(local, 'tree')
      mkdirSync(join(tree, 'sub'), { recursive: true })
      for (let i = 0; i < 50; i++) writeFileSync(join(tree, 'sub', `f${i}`), randomBytes(i * 999))
      symlinkSync('sub/f1', join(tree, 'link'))
      const shell = ['ssh', ...options, '-p', String(port)].join(' ')
      const to = `${user}@127.0.0.1:${directory}/tree/`
      const up = await run('rsync', ['-a', '-e', shell, `${tree}/`, to])
      assert.is(up.code, 0, up.stderr)
      const down = await run('rsync', ['-a', '-e', shell, to, join(local, 'back/')])
      assert.is(down.code, 0, down.stderr)
      assert.is(spawnSync('diff', ['-r', tree, join(local, 'back')]).status, 0)
      assert.is(readdirSync(join(local, 'back/sub')).length, 50)
    })
  }

  add('-L to a server inside, and to a port nobody listens on', async (context) => {
    const { options, port } = context
    const http = createHttpServer((_, response) => response.end('from inside'))
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    const inside = (http.address() as AddressInfo).port
    const path = join(context.local, 's')
    const refused = join(context.local, 'r')
    const forwards = [`${path}:127.0.0.1:${inside}`, `${refused}:127.0.0.1:1`]
    const child = start('ssh', [
      ...[...options, '-p', String(port), ...forwards.flatMap((each) => ['-L', each])],
      ...[`${user}@127.0.0.1`, 'echo up; cat'],
    ])
    let stderr = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    await new Promise((resolve) => child.stdout?.once('data', resolve))
    assert.ok(existsSync(path))
    const ok = await run('curl', ['-s', '--unix-socket', path, 'http://x/'])
    assert.is(ok.stdout.toString(), 'from inside')
    const failed = await run('curl', ['-s', '--unix-socket', refused, 'http://x/'])
    assert.is.not(failed.code, 0)
    child.stdin?.end()
    const code = await new Promise((resolve) => child.once('close', resolve))
    assert.is(code, 0)
    http.closeAllConnections()
    await new Promise((resolve) => http.close(resolve))
    assert.is(stderr, '')
  })

  add('-W ends when both sides have', async (context) => {
    const inside = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('data', (chunk) => socket.write(chunk))
      socket.on('end', () => socket.end('bye'))
    })
    await new Promise<void>((resolve) => inside.listen(0, '127.0.0.1', resolve))
    const target = `127.0.0.1:${(inside.address() as AddressInfo).port}`
    const { options, port } = context
    // The first of two settings counts.
    const loud = ['-o', 'LogLevel=INFO', ...options, '-p', String(port)]
    const args = [...loud, '-W', target, `${user}@127.0.0.1`]
    const result = await run('ssh', args, 'hello ')
    assert.is(result.stdout.toString(), 'hello bye')
    assert.is(result.code, 0)
    const refused = await run(
      'ssh',
      args.map((arg) => (arg === target ? '127.0.0.1:1' : arg)),
    )
    assert.is(refused.code, 255)
    assert.match(refused.stderr, /open failed: connect failed: .*Connection refused/)
    await new Promise((resolve) => inside.close(resolve))
  })

  add('many sessions on one connection, many connections', async (context) => {
    const { options, port, local } = context
    const shared = ['-o', `ControlPath=${join(local, 'c')}`, '-p', String(port)]
    const master = start('ssh', [...options, ...shared, '-M', '-N', `${user}@127.0.0.1`])
    while (!existsSync(join(local, 'c'))) await new Promise((resolve) => setTimeout(resolve, 20))
    const runs = Array.from({ length: 10 }, (_, index) =>
      run('ssh', [...options, ...shared, `${user}@127.0.0.1`, `echo ${index}`]),
    )
    const apart = Array.from({ length: 5 }, (_, index) => ssh(context, [`echo ${index}`]))
    for (const results of [await Promise.all(runs), await Promise.all(apart)]) {
      for (const [index, { stdout }] of results.entries()) {
        assert.is(stdout.toString(), `${index}\n`)
      }
    }
    master.kill()
    await new Promise((resolve) => master.once('close', resolve))
  })
}

test.run()

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
