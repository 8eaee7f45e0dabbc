// Programs in our guest: streams that do not hold each other up, terminals, users, ends.
// Also on: bun

import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { AgentError } from '../../src/agent/error.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'
import { bytesOf, clientOf, connectGuest, readUntil, textOf } from './connect.ts'

const isRoot = process.getuid?.() === 0
const sh = (script: string) => ({ command: 'sh', args: ['-c', script] })

/** Resolves when the process is gone. */
async function gone(pid: number): Promise<void> {
  // Not our child: there is nothing to wait for but its absence.
  for (;;) {
    const state = existsSync(`/proc/${pid}/stat`)
      ? readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /s, '')[0]
      : undefined
    if (state === undefined || state === 'Z') return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

test('a program has its own session, no terminal, and only its three streams', async () => {
  const { client } = await connectGuest()
  const program = await client.exec(
    sh('cat /proc/self/stat; ls /proc/self/fd; readlink /proc/$$/fd/0'),
  )
  await program.end()
  const [stat = '', ...rest] = (await textOf(program)).split('\n')
  const [, , group, session, terminal] = stat.replace(/^.*\) /, '').split(' ')
  assert.is(Number(group), program.pid)
  assert.is(Number(session), program.pid)
  assert.is(Number(terminal), 0)
  // `ls` has one more, the directory it reads; a test runner may have left us others.
  assert.equal(rest.slice(0, 3), ['0', '1', '2'])
  await client.close()
})

test('a program can open its own streams by name', async () => {
  const { client } = await connectGuest()
  const script =
    'cat /dev/stdin; echo out >/dev/stdout; echo err >/dev/stderr; cat </proc/self/fd/0'
  const program = await client.exec(sh(script))
  await program.write(bytesOf('in\n'))
  await program.end()
  assert.is(await textOf(program), 'in\nout\n')
  assert.is(await textOf(() => program.readStderr()), 'err\n')
  assert.equal(await program.exited, { code: 0 })
  await client.close()
})

test('megabytes pass both ways unharmed', async () => {
  const { client } = await connectGuest()
  const data = new Uint8Array(8 * 1024 * 1024)
  for (let index = 0; index < data.length; index++) data[index] = (index * 31) ^ (index >> 9)
  const program = await client.exec({ command: 'cat' })
  const writing = program.write(data).then(() => program.end())
  const hash = createHash('sha256')
  for (let chunk = await program.read(); chunk !== undefined; chunk = await program.read()) {
    hash.update(chunk)
  }
  await writing
  assert.is(hash.digest('hex'), createHash('sha256').update(data).digest('hex'))
  assert.equal(await program.exited, { code: 0 })
  await client.close()
})

test('a program that does not read its stdin holds up nothing but its own writer', async () => {
  const { client } = await connectGuest()
  const stuck = await client.exec({ command: 'sleep', args: ['60'] })
  let written = false
  const writing = stuck.write(new Uint8Array(4 * 1024 * 1024)).then(() => {
    written = true
  })
  const other = await within(5000, () => client.exec({ command: 'cat' }))
  for (let index = 0; index < 100; index++) await within(5000, () => other.write(bytesOf('line\n')))
  await other.end()
  assert.is((await within(5000, () => textOf(other))).length, 500)
  await within(1000, () => client.ping())
  assert.is(written, false)
  stuck.signal('KILL')
  assert.equal(await within(5000, () => stuck.exited), { code: -1, signal: 'KILL' })
  await within(1000, () => writing)
  await client.close()
})

test('output nobody reads makes its program wait, and no other', async () => {
  const { client } = await connectGuest()
  const unread = await client.exec({ command: 'yes' })
  const other = await client.exec(sh('head -c 3000000 /dev/zero'))
  assert.is((await within(10_000, () => textOf(other))).length, 3_000_000)
  // The window that was granted, and not a byte more.
  assert.ok(unread.bufferedBytes <= 256 * 1024, `${unread.bufferedBytes} bytes held`)
  let read = 0
  while (read < 2_000_000) read += (await within(5000, () => unread.read()))?.length ?? 0
  unread.signal('PIPE')
  unread.discardOutput()
  assert.equal(await within(5000, () => unread.exited), { code: -1, signal: 'PIPE' })
  await client.close()
})

test('signals reach the whole group, and which one ended a program is told', async () => {
  const { client } = await connectGuest()
  const program = await client.exec(sh('sleep 61 & echo $!; wait'))
  const child = Number(await readUntil(program, '\n'))
  program.signal(15)
  assert.equal(await within(5000, () => program.exited), { code: -1, signal: 'TERM' })
  await within(5000, () => gone(child))
  const itself = await client.exec(sh('kill -SEGV $$'))
  assert.equal(await within(5000, () => itself.exited), { code: -1, signal: 'SEGV' })
  const trapped = await client.exec({
    command: 'bash',
    args: ['-c', 'trap "echo got; exit 17" TERM; echo up; while :; do read -t 0.05 <> <(:); done'],
  })
  await readUntil(trapped, 'up')
  trapped.signal('TERM')
  assert.match(await within(5000, () => textOf(trapped)), /got/)
  assert.equal(await trapped.exited, { code: 17 })
  assert.is(program.signal('NOSUCH'), false)
  await client.close()
})

test('a client that leaves takes its programs with it, and no one else', async () => {
  const { guest, client } = await connectGuest()
  const other = await clientOf(guest)
  const [mine, stubborn] = await Promise.all([
    client.exec({ command: 'sleep', args: ['62'] }),
    client.exec(sh('trap "" TERM HUP; echo up; sleep 62; sleep 62')),
  ])
  const terminal = await client.exec({ command: 'cat', pty: { columns: 80, rows: 24 } })
  await readUntil(stubborn, 'up')
  const theirs = await other.exec({ command: 'sleep', args: ['62'] })
  await client.close()
  for (const { pid } of [mine, stubborn, terminal]) await within(5000, () => gone(pid))
  assert.ok(existsSync(`/proc/${theirs.pid}`))
  assert.is(guest.clientCount, 1)
  await other.close()
  await within(5000, () => gone(theirs.pid))
})

test('an argument too long, a bad limit and a limit that holds', async () => {
  const { client } = await connectGuest()
  const args = ['x'.repeat(200_000)]
  for (const pty of [undefined, { columns: 80, rows: 24 }]) {
    const error = (await rejection(client.exec({ command: 'true', args, pty }))) as AgentError
    assert.equal([error.kind, error.errno], ['bad_args', 7])
  }
  await client.close()
})

test('a terminal has its size, its modes, and is the controlling one', async () => {
  const { client } = await connectGuest()
  const program = await client.exec({
    ...sh('tty; : </dev/tty; stty size; stty -a; ps -o pgid=,sid=,tpgid= -p $$; ls -l /proc/$$/fd'),
    pty: {
      columns: 132,
      rows: 50,
      modes: {
        ECHO: 0,
        ICANON: 0,
        VINTR: 3,
        VSUSP: 255,
        VERASE: 8,
        IXON: 0,
        TTY_OP_OSPEED: 9600,
        TTY_OP_ISPEED: 9600,
        OP77: 1,
      },
    },
  })
  const text = await within(10_000, () => textOf(program))
  assert.match(text, /^\/dev\/pts\/\d+\r\n50 132\r\nspeed 9600 baud/)
  for (const mode of ['-echo ', '-icanon ', '-ixon ', 'susp = <undef>', 'erase = ^H', 'icrnl']) {
    assert.ok(text.includes(mode), `${mode} in ${text}`)
  }
  assert.match(text, new RegExp(`${program.pid} +${program.pid} +${program.pid}`))
  assert.not.match(text, /ptmx/)
  assert.equal(await program.exited, { code: 0 })
  await client.close()
})

test('a terminal is resized, interrupted, and ended by its own end-of-file character', async () => {
  const { client } = await connectGuest()
  const sized = await client.exec({
    command: 'bash',
    args: ['-c', 'trap "stty size" WINCH; echo up; while :; do read -t 0.05; done'],
    pty: { columns: 80, rows: 24 },
  })
  await readUntil(sized, 'up')
  sized.resize(100, 40)
  assert.match(await within(5000, () => readUntil(sized, '40 100')), /40 100/)
  sized.signal('KILL')
  const interrupted = await client.exec({
    ...sh('echo up; exec sleep 63'),
    pty: { columns: 1, rows: 1 },
  })
  await readUntil(interrupted, 'up')
  await interrupted.write(new Uint8Array([3]))
  assert.equal(await within(5000, () => interrupted.exited), { code: -1, signal: 'INT' })
  for (const modes of [{}, { VEOF: 5 }]) {
    const ended = await client.exec({ command: 'cat', pty: { columns: 80, rows: 24, modes } })
    await ended.write(bytesOf('typed\n'))
    await ended.end()
    assert.is(await within(5000, () => textOf(ended)), 'typed\r\ntyped\r\n')
    assert.equal(await ended.exited, { code: 0 })
  }
  await client.close()
})

test('all a program wrote to its terminal arrives, however slowly it is read', async () => {
  const { client } = await connectGuest()
  const program = await client.exec({
    ...sh('stty raw; head -c 1500000 /dev/zero; printf end'),
    pty: { columns: 80, rows: 24 },
  })
  let total = 0
  let last = ''
  for (let chunk = await program.read(); chunk !== undefined; chunk = await program.read()) {
    total += chunk.length
    last = new TextDecoder().decode(chunk.subarray(-3))
    // Long enough that the program has ended with its output still in the terminal.
    if (total % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  assert.is(total, 1_500_003)
  assert.is(last, 'end')
  await client.close()
})

test('a job left on a terminal does not keep its session open', async () => {
  const { client } = await connectGuest()
  const program = await client.exec({
    ...sh('(trap "" HUP; sleep 64) & echo $!; exit 3'),
    pty: { columns: 80, rows: 24 },
  })
  const job = Number(/\d+/.exec(await within(5000, () => textOf(program)))?.[0])
  assert.equal(await within(5000, () => program.exited), { code: 3 })
  process.kill(job, 'SIGKILL')
  await client.close()
})

test('a terminal that is not read does not take what others type', async () => {
  const { client } = await connectGuest()
  const deaf = await client.exec({
    ...sh('stty raw -echo; echo up; sleep 65'),
    pty: { columns: 80, rows: 24 },
  })
  await readUntil(deaf, 'up')
  const writing = deaf.write(new Uint8Array(1024 * 1024).fill(97))
  const other = await within(5000, () => client.exec({ command: 'cat' }))
  await within(5000, () => other.write(bytesOf('x')))
  await other.end()
  assert.is(await within(5000, () => textOf(other)), 'x')
  deaf.signal('KILL')
  await within(5000, () => deaf.exited)
  await within(5000, () => writing)
  await client.close()
})

test('a switched user has his groups, his home and no others', async () => {
  if (!isRoot) return
  const { client } = await connectGuest()
  const identity = async (
    user: string,
    pty?: { columns: number; rows: number },
  ): Promise<string> => {
    const program = await client.exec({ ...sh('id -u; id -g; id -G; echo $HOME'), user, pty })
    return (await within(5000, () => textOf(program))).replaceAll('\r', '').trim()
  }
  assert.is(await identity('4242'), '4242\n0\n0\n/')
  assert.is(await identity('daemon'), '1\n1\n1\n/usr/sbin')
  assert.is(await identity('daemon:2', { columns: 80, rows: 24 }), '1\n2\n2\n/usr/sbin')
  const own = await client.exec({
    ...sh('touch $(tty) && id -u'),
    user: '4242',
    pty: { columns: 1, rows: 1 },
  })
  assert.match(await within(5000, () => textOf(own)), /^4242/)
  await client.close()
})

test('many programs at once all come to their own end', async () => {
  const { client } = await connectGuest()
  const run = async (index: number): Promise<void> => {
    const program = await client.exec(sh(`cat; exit ${index}`))
    await program.write(bytesOf(`${index}`))
    await program.end()
    assert.is(await textOf(program), `${index}`)
    assert.equal(await program.exited, { code: index })
  }
  await within(60_000, () => Promise.all(Array.from({ length: 40 }, (_, index) => run(index))))
  assert.is(client.openSessions, 0)
  await client.close()
})

test.run()
