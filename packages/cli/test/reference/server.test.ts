/** §2.8, 2.9 and 4 to 7 of the reference: what OpenSSH sees of a server, in every sandbox. */
// Time limit: 240 s
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finished, finished, msb, msbPath, start, temporaryDirectory } from '../msb.ts'
import { agentWorld, localWorld, type World } from './world.ts'

const worlds: readonly World[] = [await localWorld(), await agentWorld()]
const servers: ChildProcess[] = []
test.after(async () => {
  for (const server of servers) server.kill('SIGKILL')
  for (const world of worlds) await world.stop()
})

const keys = temporaryDirectory()
for (const name of ['mine', 'other']) {
  spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(keys, name)])
}

/** A server that listens; all it says is its `said`. */
async function serve(
  { home, sandbox }: World,
  args: readonly string[] = [],
): Promise<{ readonly child: ChildProcess; readonly port: string; readonly said: () => string }> {
  const child = start(['ssh', 'serve', sandbox, '--port', '0', ...args], home)
  servers.push(child)
  let said = ''
  const port = await new Promise<string>((resolve, reject) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk
      const match = /SSH listening \S+:(\d+)\n/.exec(said)
      if (match?.[1] !== undefined) resolve(match[1])
    })
    child.once('close', () => reject(new Error(said)))
  })
  return { child, port, said: () => said }
}

const common = [
  ...['-F', '/dev/null', '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes', '-o', 'LogLevel=ERROR'],
  ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
]

/** Runs ssh with its own environment and nothing of the user's. */
function ssh(args: readonly string[], env: Record<string, string> = {}): Promise<Finished> {
  const all = [...common, '-i', join(keys, 'mine'), ...args]
  const base = { PATH: process.env['PATH'] ?? '', HOME: keys }
  return finished(
    spawn('ssh', all, { env: { ...base, ...env }, stdio: ['ignore', 'pipe', 'pipe'] }),
  )
}

for (const world of worlds) {
  const { what, home, sandbox, directory } = world
  await msb(['ssh', 'authorize', '--file', join(keys, 'mine.pub')], { home })
  const { port, said } = await serve(world)

  /** A command in the sandbox: what it prints, its status, and what is said of it. */
  interface Session {
    readonly command: string
    readonly flags?: readonly string[]
    readonly env?: Record<string, string>
    readonly user?: string
    readonly code?: number
    readonly stdout?: RegExp
    readonly stderr?: RegExp
  }
  const sessions: Readonly<Record<string, Session>> = {
    'a status passes through': { command: 'exit 255', code: 255 },
    'a signal is told by name': { command: 'kill -USR2 $$', code: 255, stderr: /USR2|^$/ },
    'the login name is the user of the guest': {
      command: 'echo "$USER $LOGNAME $(id -un)"',
      stdout: /^root root root\n$/,
    },
    'a number is a user too': { command: 'id -u', user: '0', stdout: /^0\n$/ },
    'an unknown user is a status and a reason': {
      command: 'id',
      user: 'nobody-here',
      code: 127,
      stderr: /^error: no user "nobody-here" in the sandbox\n$/,
    },
    'a command is in the home of its user': {
      command: 'test "$PWD" = "$HOME" && echo home',
      stdout: /^home\n$/,
    },
    'languages may be set, and the path of programs may not': {
      command: 'echo "$LC_ALL,$PATH,$LD_PRELOAD"',
      flags: ['-o', 'SendEnv=LC_* PATH LD_PRELOAD'],
      env: { LC_ALL: 'de_DE.UTF-8', LD_PRELOAD: '' },
      stdout: /^de_DE\.UTF-8,(?!.*\.nvm).*\n$/,
    },
    'without a terminal there is no TERM of it': {
      command: 'tty; echo "$SSH_TTY"',
      stdout: /^not a tty\n\n$/,
    },
    'a terminal has its modes': {
      command: 'tty; stty -a',
      flags: ['-tt'],
      env: { TERM: 'xterm' },
      stdout: /^\/dev\/pts\/\d+\r\n(.*\n)*speed|speed/,
    },
    'a program that is not there': { command: 'no-such', code: 127, stderr: /no-such.*not found/ },
  }
  for (const [title, session] of Object.entries(sessions)) {
    test(`${what}: ${title}`, async () => {
      const { command, flags = [], env = {}, user = 'root', code = 0 } = session
      const args = ['-p', port, ...flags, `${user}@127.0.0.1`, command]
      const result = await ssh(args, env)
      assert.is(result.code, code, result.stderr)
      if (session.stdout !== undefined) assert.match(result.stdout.toString(), session.stdout)
      if (session.stderr !== undefined) assert.match(result.stderr, session.stderr)
    })
  }

  test(`${what}: the banner is one line on stderr`, () => {
    assert.match(said(), /^ {3}✓ SSH listening 127\.0\.0\.1:\d+\n$/)
  })

  test(`${what}: only keys are asked for, and a wrong one does not get in`, async () => {
    const refused = await ssh(['-p', port, '-i', join(keys, 'none'), 'root@127.0.0.1', 'true'])
    assert.is(refused.code, 0)
    const wrong = await finished(
      spawn('ssh', [...common, '-i', join(keys, 'other'), '-p', port, 'root@127.0.0.1', 'true'], {
        env: { PATH: process.env['PATH'] ?? '', HOME: keys },
        stdio: ['ignore', 'pipe', 'pipe'],
      }),
    )
    assert.is(wrong.code, 255)
    assert.match(wrong.stderr, /Permission denied \(publickey\)/)
  })

  test(`${what}: sftp has its extensions, and errors have their words`, async () => {
    const batch = join(keys, 'batch')
    const lines = [
      `cd ${directory}`,
      `-rm ref-a`,
      `put ${batch} ref-a`,
      '-mkdir ref-a',
      'rename ref-a ref-b',
      'ln ref-b ref-c',
      'df',
      'ls -l ref-b',
      'rm ref-b',
      'rm ref-c',
      '-get ref-none',
    ]
    writeFileSync(batch, `${lines.join('\n')}\n`)
    const { code, stdout, stderr } = await finished(
      spawn('sftp', [
        ...common,
        '-i',
        join(keys, 'mine'),
        '-P',
        port,
        '-b',
        batch,
        'root@127.0.0.1',
      ]),
    )
    assert.is(code, 0, stderr)
    assert.match(stdout.toString(), /-rw-r--r-- +(2|\?) +root +root/)
    assert.match(stderr, /ref-none.*not found/)
  })

  test(`${what}: a refused port and an unknown subsystem are told, and the connection goes on`, async () => {
    const control = join(keys, `c${worlds.indexOf(world)}`)
    const master = spawn('ssh', [
      ...[...common, '-i', join(keys, 'mine'), '-p', port, '-M', '-S', control, '-N'],
      'root@127.0.0.1',
    ])
    for (let left = 100; left > 0; left--) {
      if (spawnSync('ssh', ['-S', control, '-O', 'check', 'x']).status === 0) break
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const shared = ['-S', control, '-p', port, 'root@127.0.0.1']
    const forward = await ssh(['-W', '127.0.0.1:1', ...shared])
    assert.is(forward.code, 255)
    const subsystem = await ssh(['-s', ...shared, 'no-such'])
    assert.is.not(subsystem.code, 0)
    assert.is((await ssh([...shared, 'echo on'])).stdout.toString(), 'on\n')
    master.kill()
    await once(master, 'close')
  })

  test(`${what}: --stdio for ProxyCommand, and 0 when the client leaves`, async () => {
    const status = join(keys, `status${worlds.indexOf(world)}`)
    const program = `'${process.execPath}' '${msbPath}' ssh serve ${sandbox} --stdio`
    const script = join(keys, `proxy${worlds.indexOf(world)}`)
    writeFileSync(
      script,
      `#!/bin/sh\ntrap '' HUP\nMSB_HOME='${home}' ${program}\necho "$?" > '${status}'\n`,
      {
        mode: 0o700,
      },
    )
    const result = await ssh(['-o', `ProxyCommand=${script}`, 'root@any', 'echo in; exit 3'])
    assert.is(result.stdout.toString(), 'in\n')
    assert.is(result.stderr, '')
    assert.is(result.code, 3)
    const { stdout } = spawnSync('sh', [
      '-c',
      `for i in $(seq 100); do [ -s '${status}' ] && break; sleep 0.1; done; cat '${status}'`,
    ])
    assert.is(stdout.toString(), '0\n')
  })

  test(`${what}: what is not SSH on stdin is an error`, async () => {
    const args = ['ssh', 'serve', sandbox, '--stdio']
    const result = await msb(args, { home, input: 'GET / HTTP/1.0\r\n\r\n' })
    assert.is(result.code, 1)
    assert.match(result.stderr, /^error: SSH session failed: .*\n$/)
    assert.not.match(result.stdout.toString(), /error/)
  })

  test(`${what}: SIGINT and SIGTERM end a server with 0`, async () => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const { child } = await serve(world)
      child.kill(signal)
      assert.equal(await once(child, 'close'), [0, null])
    }
  })
}

test('nobody could enter: an error that says what to do', async () => {
  const { home, stop } = await agentWorld('empty')
  for (const args of [['--port', '0'], ['--stdio']]) {
    const result = await msb(['ssh', 'serve', 'empty', ...args], { home })
    assert.is(result.code, 1)
    assert.match(result.stderr, /^error: no authorized keys in .*msb ssh authorize --file.*\n$/)
    assert.is(result.stdout.length, 0)
  }
  await stop()
})

test.run()
