// Time limit: 240 s
/** Sessions end to end: SSH client, SSH server, agent protocol, guest, real programs. */
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { RemoteProcess } from '@sandbox-ssh/protocol'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { GuestAgentOptions } from '../src/guest/agent.ts'
import { nativeSession } from '../src/native-session.ts'
import { type MemorySandbox, memorySandbox } from './memory-sandbox.ts'
import { within } from './within.ts'

const LIMIT_MS = 40_000

/** Each test gets a sandbox, a connection into it, and leaves nothing of either. */
function sessions(name: string, guest: GuestAgentOptions) {
  const test = suite(name)
  type Body = (context: MemorySandbox & Awaited<ReturnType<typeof nativeSession>>) => Promise<void>
  const add = (title: string, body: Body): void =>
    test(title, () =>
      within(LIMIT_MS, async () => {
        const sandbox = memorySandbox(guest)
        const session = await nativeSession(sandbox.sandbox)
        try {
          await body({ ...sandbox, ...session })
        } finally {
          await session.close()
        }
        assert.is(sandbox.clientCount(), 0)
      }),
    )
  return { test, add }
}

/** Reads stdout until `wanted` has come. */
async function readUntil(process: RemoteProcess, wanted: string | RegExp): Promise<string> {
  let text = ''
  const decoder = new TextDecoder()
  while (typeof wanted === 'string' ? !text.includes(wanted) : !wanted.test(text)) {
    const chunk = await process.read()
    if (chunk === undefined) throw new Error(`ended after ${JSON.stringify(text)}`)
    text += decoder.decode(chunk, { stream: true })
  }
  return text
}

async function readAll(process: RemoteProcess): Promise<string> {
  let text = ''
  for (let chunk = await process.read(); chunk !== undefined; chunk = await process.read()) {
    text += Buffer.from(chunk).toString()
  }
  return text
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

for (const [name, guest] of [
  ['sessions in our guest', {}],
  ["sessions in a guest like microsandbox's", { features: [] }],
] as const) {
  const ours = !('features' in guest)
  const { test, add } = sessions(name, guest)

  add('exit statuses pass through', async ({ client }) => {
    for (const code of [0, 3, 126, 255]) {
      assert.is((await client.run(`exit ${code}`)).code, code)
    }
  })

  add('stdout and stderr come apart', async ({ client }) => {
    const result = await client.run('echo out; echo err >&2')
    assert.is(result.text(), 'out\n')
    assert.is(Buffer.from(result.stderr).toString(), 'err\n')
  })

  add('death by a signal is an exit-signal', async ({ client }) => {
    const result = await client.run('kill -SEGV $$')
    assert.is(result.code, undefined)
    // Only our guest tells which; the other has at least the one the kernel would send.
    assert.is(result.signal, ours ? 'SEGV' : 'KILL')
  })

  add('a signal sent by the client is the one it hears of', async ({ client }) => {
    const process = await client.exec('echo ready; exec sleep 100')
    await readUntil(process, 'ready')
    process.kill('USR2')
    await readAll(process)
    assert.is((await process.exit).signal, 'USR2')
  })

  add('megabytes through stdin and stdout arrive as they were sent', async ({ client }) => {
    const data = randomBytes(8 * 1024 * 1024)
    const result = await client.run('cat', { stdin: data })
    assert.is(result.code, 0)
    assert.is(sha256(result.stdout), sha256(data))
  })

  add('a program that does not read its stdin ends all the same', async ({ client }) => {
    const result = await client.run('head -c 3', { stdin: new Uint8Array(4_000_000).fill(0x61) })
    assert.is(result.text(), 'aaa')
    assert.is(result.code, 0)
  })

  add('a session has the environment and directory of a login', async ({ client, directory }) => {
    const result = await client.run('echo "$HOME $USER $LOGNAME"; pwd; test -n "$PATH$SHELL"')
    assert.is(result.code, 0)
    const [line, cwd] = result.text().split('\n')
    // microsandbox's agent does not tell its home; the guest's table of users does.
    const home = ours ? directory : userInfo().homedir
    // Bun knows its user only by the environment.
    const username = spawnSync('id', ['-un']).stdout.toString().trim()
    assert.is(line, `${home} ${username} ${username}`)
    assert.is(cwd, home)
  })

  add('variables of the client are set', async ({ client }) => {
    const result = await client.run('echo "$ONE|$LC_X"', { env: { ONE: '1 =', LC_X: 'ü' } })
    assert.is(result.text(), '1 =|ü\n')
  })

  add('a command that is not UTF-8 keeps its bytes', async ({ client }) => {
    const command = Buffer.from([
      ...bytes("printf %s 'a\\"),
      0xff,
      0xe4,
      ...bytes("%s\n$x'; exit 7"),
    ])
    const result = await client.run(command)
    assert.equal(
      Buffer.from(result.stdout),
      Buffer.from([0x61, 0x5c, 0xff, 0xe4, 0x25, 0x73, 0x0a, 0x24, 0x78]),
    )
    assert.is(result.code, 7)
  })

  add('a NUL in a command is told, not cut at', async ({ client }) => {
    const result = await client.run(bytes('echo a\0b'))
    assert.is(result.code, 127)
    assert.match(Buffer.from(result.stderr).toString(), /NUL/)
    assert.is((await client.run('echo still here')).text(), 'still here\n')
  })

  add('a program that nobody reads ends as with a closed pipe', async ({ client }) => {
    const process = await client.exec('yes; echo not reached >&2')
    await process.read()
    await process.stdout.cancel()
    process.channel.discardStderr()
    assert.is((await process.exit).signal, 'PIPE')
  })

  add('one that ignores PIPE ends too if it goes on writing', async ({ client }) => {
    const process = await client.exec("trap '' PIPE HUP TERM; while :; do echo x; done")
    await process.read()
    await process.stdout.cancel()
    process.channel.discardStderr()
    assert.is((await process.exit).signal, 'KILL')
  })

  add('closing the channel hangs up, then terminates, then kills', async (context) => {
    const { client, directory } = context
    const log = join(directory, 'log')
    writeFileSync(log, '')
    const process = await client.exec(
      `trap 'echo HUP >> ${log}' HUP; trap 'echo TERM >> ${log}' TERM; echo $$; while :; do sleep 0.1; done`,
    )
    const pid = Number(await readUntil(process, '\n'))
    await process[Symbol.asyncDispose]()
    await gone(pid)
    assert.is(readFileSync(log, 'utf8'), 'HUP\nTERM\n')
  })

  add('so does the end of the connection', async ({ client, directory, close }) => {
    const log = join(directory, 'log')
    const command = `trap 'echo HUP > ${log}; exit' HUP; echo up; while :; do sleep 0.1; done`
    const process = await client.exec(command)
    await readUntil(process, 'up')
    await close()
    assert.is(readFileSync(log, 'utf8'), 'HUP\n')
  })

  add('a shell whose client is gone ends with its input, and leaves its servers', async (scene) => {
    const { client, directory, close } = scene
    const log = join(directory, 'log')
    const server = 'sleep 1000 >/dev/null 2>&1 </dev/null & echo $!'
    const shell = await client.exec(`${server}; cat >/dev/null; echo ended > ${log}`)
    const pid = Number(await readUntil(shell, '\n'))
    await close()
    assert.is(readFileSync(log, 'utf8'), 'ended\n')
    assert.ok(process.kill(pid, 0))
    process.kill(pid, 'SIGKILL')
  })

  add('an abort signal ends the program', async ({ client }) => {
    const ending = new AbortController()
    const process = await client.exec('echo $$; exec sleep 100', { signal: ending.signal })
    const pid = Number(await readUntil(process, '\n'))
    ending.abort()
    await process.exit.then(
      () => assert.unreachable(),
      () => {},
    )
    await gone(pid)
  })

  add('a session that nobody reads slows no other, and comes to no harm', async ({ client }) => {
    const stalled = await client.exec('head -c 20000000 /dev/zero | tee /dev/null; echo end >&2')
    const result = await client.run('head -c 4000000 /dev/zero')
    assert.is(result.stdout.length, 4_000_000)
    let length = 0
    for (let chunk = await stalled.read(); chunk !== undefined; chunk = await stalled.read()) {
      length += chunk.length
    }
    assert.is(length, 20_000_000)
    assert.is(Buffer.from((await stalled.readStderr()) ?? []).toString(), 'end\n')
    assert.is((await stalled.exit).code, 0)
  })

  add('twenty sessions at once', async ({ client }) => {
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) => client.run(`echo ${index}; exit ${index}`)),
    )
    results.forEach((result, index) => {
      assert.is(result.text(), `${index}\n`)
      assert.is(result.code, index)
    })
  })

  add('a terminal has its size, its new size, and Ctrl-C', async ({ client }) => {
    const process = await client.exec(
      // A loop, not a program that waits: bash runs its traps only between programs.
      `tty; stty size; trap 'stty size' WINCH; trap 'exit 5' INT; echo go
      while :; do sleep 0.05; done`,
      { pty: { term: 'vt220', columns: 101, rows: 37 } },
    )
    const first = await readUntil(process, 'go\r\n')
    assert.match(first, /^\/dev\/pts\/\d+\r\n37 101\r\n/)
    process.resize(90, 30)
    await readUntil(process, '30 90\r\n')
    await process.write(Uint8Array.of(3))
    await readAll(process)
    assert.is((await process.exit).code, 5)
  })

  add('the end of input reaches a program on a terminal', async ({ client }) => {
    const process = await client.exec('cat; echo done', { pty: {} })
    await process.write(bytes('line\n'))
    await process.end()
    const output = await readAll(process)
    assert.match(output, /^line\r\nline\r\n/)
    assert.match(output, /done\r\n$/)
    assert.is((await process.exit).code, 0)
  })

  add('TERM is that of the terminal', async ({ client }) => {
    const result = await client.run('echo $TERM', { pty: { term: 'vt220' }, env: { TERM: 'x' } })
    assert.is(result.text(), 'vt220\r\n')
  })

  test('without a terminal there is no TERM, whatever the agent has, unless the client sends one', () =>
    within(LIMIT_MS, async () => {
      const env = { PATH: process.env['PATH'], ...(ours ? {} : { TERM: 'linux' }) }
      const session = await nativeSession(memorySandbox({ ...guest, env }).sandbox)
      const { client } = session
      const command = 'echo "<$TERM>"'
      assert.is((await client.run(command)).text(), '<>\n')
      assert.is((await client.run(command, { env: { TERM: 'x' } })).text(), '<x>\n')
      assert.is((await client.run(command, { pty: { term: 'y' } })).text(), '<y>\r\n')
      await session.close()
    }))

  add('a second program on a channel is refused, and the first goes on', async ({ client }) => {
    const channel = await client.session()
    const command = (text: string): Uint8Array => {
      const data = new Uint8Array(4 + text.length)
      new DataView(data.buffer).setUint32(0, text.length)
      data.set(bytes(text), 4)
      return data
    }
    assert.ok(await channel.request('exec', command('cat; echo ended')))
    for (const name of ['exec', 'shell', 'subsystem']) {
      assert.not(await channel.request(name, name === 'shell' ? undefined : command('true')))
    }
    await channel.write(bytes('still here\n'))
    await channel.close()
    let text = ''
    for (let chunk = await channel.read(); chunk !== undefined; chunk = await channel.read()) {
      text += Buffer.from(chunk).toString()
    }
    assert.is(text, 'still here\nended\n')
    await channel.closed
  })

  add('a shell is a login shell that reads commands', async ({ client }) => {
    const process = await client.shell()
    await process.write(bytes('echo "$((6 * 7)) $0 $-"\nexit 9\n'))
    assert.match(await readAll(process), /^42 /m)
    assert.is((await process.exit).code, 9)
  })

  if (ours) {
    add('SSH_TTY is the terminal, and nothing without one', async ({ client }) => {
      const command = '[ "$SSH_TTY" = "$(tty)" ] && echo "same $SSH_TTY"'
      assert.match((await client.run(command, { pty: {} })).text(), /^same \/dev\/pts\/\d+\r\n$/)
      assert.is((await client.run('echo "$SSH_TTY"')).text(), '\n')
    })
  }

  add('terminal modes of the client are in force', async ({ client }) => {
    const modes = { ECHO: 0, VINTR: 0x18 }
    const result = await client.run('stty -a', { pty: { modes } })
    assert.match(result.text(), / -echo /)
    assert.match(result.text(), /intr = \^X;/)
  })

  test.run()
}

{
  const test = suite('sessions that cannot start')

  test('an unknown user is told, with status 127', () =>
    within(LIMIT_MS, async () => {
      const { sandbox } = memorySandbox()
      await using session = disposable(
        await nativeSession(sandbox, { user: 'nobody-of-that-name' }),
      )
      const result = await session.client.run('true')
      assert.is(result.code, 127)
      assert.match(
        Buffer.from(result.stderr).toString(),
        /^error: no user "nobody-of-that-name" in the s/,
      )
      const onTerminal = await session.client.run('true', { pty: {} })
      assert.is(onTerminal.code, 127)
      assert.match(onTerminal.text(), /in the sandbox\r\n$/)
    }))

  test('a shell that is not there is 127, one that cannot be run 126', () =>
    within(LIMIT_MS, async () => {
      for (const [shell, code] of [
        ['/no/such/shell', 127],
        ['/etc/passwd', 126],
      ] as const) {
        const { sandbox } = memorySandbox({}, { shell })
        await using session = disposable(await nativeSession(sandbox))
        const result = await session.client.run('true')
        assert.is(result.code, code)
        assert.match(Buffer.from(result.stderr).toString(), new RegExp(shell))
      }
    }))

  test('a sandbox that dies is told with status 255, and found again when it is back', () =>
    within(LIMIT_MS, async () => {
      const { sandbox, stop } = memorySandbox()
      await using session = disposable(await nativeSession(sandbox))
      const running = session.client.run('sleep 100')
      const ready = await session.client.exec('echo ready; sleep 100')
      await readUntil(ready, 'ready')
      stop()
      const result = await running
      assert.is(result.code, 255)
      assert.match(Buffer.from(result.stderr).toString(), /agent/)
      assert.is((await session.client.run('echo back')).text(), 'back\n')
    }))

  test.run()
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

function disposable<T extends { close(): Promise<void> }>(value: T): T & AsyncDisposable {
  return Object.assign(value, { [Symbol.asyncDispose]: () => value.close() })
}

/** Resolves when the process is no more. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0)
    } catch {
      return
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
