// What VS Code's Remote-SSH does: `ssh -v -T -D PORT -o ConnectTimeout=15 HOST bash` with a script on
// its stdin, which starts a server in the background or finds the one of an earlier window, and tells
// where it listens; then everything goes through the SOCKS proxy, or, where the server listens on a
// socket, through an `ssh -N -L` to it. The window closes, the server stays, the next one finds it.
// All of it as an ordinary user where the sandbox has one.
// Time limit: 300 s

import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { temporaryFolder } from '../peers/folder.ts'
import { missing } from '../peers/installed.ts'
import { freePort } from '../peers/openssh.ts'
import { output } from '../peers/run.ts'
import { agentBox, type Box, localBox } from './box.ts'

const absent = missing('openssh-client curl', ['ssh', 'curl'])
const add = absent === undefined ? test : test.skip
if (absent !== undefined) console.log(`skipped: ${absent}`)

const boxes = absent === undefined ? [await localBox(), await agentBox()] : []
const windows: ChildProcess[] = []
test.after(async () => {
  for (const window of windows) window.kill('SIGKILL')
  for (const box of boxes) await box.stop()
})

/** A server that answers with its process id, and keeps a log of what it was asked. */
const SERVER = `
const server = require('node:http').createServer((request, response) => {
  console.log(request.method + ' ' + request.url)
  let length = 0
  request.on('data', (chunk) => { length += chunk.length })
  request.on('end', () => response.end(process.pid + ' ' + length + '\\n'))
})
const told = () => console.log('listening on ' + (server.address().port ?? server.address()))
if (process.argv[2] === undefined) server.listen(0, '127.0.0.1', told)
else server.listen(process.argv[2], told)
`

/** The script: markers around what is told, a lock of its own, one server for all windows. */
function script(box: Box, marker: string, socket: string): string {
  return `
uname -rsv
dir=~/.ide-server
mkdir -p "$dir"
echo "${marker}: running"
if [ -s "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null; then
  echo "${marker}: found"
else
  cat > "$dir/server.cjs" <<'END_OF_SERVER'
${SERVER}
END_OF_SERVER
  # A former server's port must not be taken for this one's.
  : > "$dir/log"
  ${box.node} "$dir/server.cjs" ${socket} &> "$dir/log" < /dev/null &
  echo $! > "$dir/pid"
fi
for try in $(seq 200); do
  port=$(sed -n 's/^listening on //p' "$dir/log")
  [ -n "$port" ] && break
  sleep 0.1
done
echo "${marker}: start"
echo "listeningOn==$port=="
echo "user==$(id -un)=="
echo "${marker}: end"
`
}

/** Who an editor is in a box. */
function loginOf(box: Box): string {
  return box.user ?? box.root
}

interface Server {
  readonly child: ChildProcess
  /** Its port, or the path of its socket. */
  readonly place: string
  readonly said: string
}

/** Runs the script in a shell; its stdin stays open as long as the window does. */
async function startServer(
  box: Box,
  shell: readonly string[],
  args: readonly string[],
  socket = '',
): Promise<Server> {
  const marker = `w${windows.length}`
  const [program = '', ...rest] = box.command('ssh', ['-v', '-T', ...args, loginOf(box), ...shell])
  const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'] })
  windows.push(child)
  let said = ''
  let complained = ''
  child.stderr.on('data', (chunk: Buffer) => {
    complained += chunk
  })
  const place = new Promise<string>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk
      const told = /: start\r?\nlisteningOn==(\S+)==\r?\nuser==(\w+)==\r?\n\w+: end/.exec(said)
      if (told?.[2] === (box.user === undefined ? 'root' : 'dev')) resolve(told[1] ?? '')
    })
    child.once('close', () => reject(new Error(`${said}${complained}`)))
  })
  child.stdin.write(script(box, marker, socket))
  return { child, place: await place, said }
}

interface Window extends Server {
  /** Asks the server through the proxy. */
  ask(path: string, args?: readonly string[]): Promise<string>
}

/** Opens a window that reaches its server through a SOCKS proxy. */
async function openWindow(
  box: Box,
  shell: readonly string[],
  args: readonly string[],
): Promise<Window> {
  const socks = String(await freePort())
  const options = ['-D', socks, '-o', 'ConnectTimeout=15', ...args]
  const server = await startServer(box, shell, options)
  const proxy = ['--socks5-hostname', `127.0.0.1:${socks}`]
  const ask = (path: string, more: readonly string[] = []): Promise<string> =>
    output([...CURL, ...proxy, ...more, `http://127.0.0.1:${server.place}${path}`])
  return { ...server, ask }
}

const CURL = ['curl', '-sS', '-m', '30']

async function closed(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    await new Promise((resolve) => child.once('close', resolve))
  }
}

/** Ends the server. A dead process that nobody waits for would still be found by its number. */
async function stopServer(box: Box, pid: string | undefined): Promise<void> {
  const command = `kill ${pid} && rm ~/.ide-server/pid`
  assert.is((await box.run('ssh', [loginOf(box), command])).code, 0)
}

for (const box of boxes) {
  add(`${box.what}: a server is started, asked through the proxy, and found again`, async () => {
    const first = await openWindow(box, ['bash'], [])
    const answers = await Promise.all(['/a', '/b', '/c', '/d'].map((path) => first.ask(path)))
    const [pid = ''] = (answers[0] ?? '').split(' ')
    assert.match(pid, /^\d+$/)
    assert.ok(
      answers.every((answer) => answer === `${pid} 0\n`),
      answers.join(),
    )
    // Half a megabyte up, as extensions are installed.
    const data = 'x'.repeat(512 * 1024)
    const sent = await first.ask('/upload', ['--data-binary', data.slice(0, 100_000)])
    assert.is(sent, `${pid} 100000\n`)

    // The laptop is closed: ssh has no time to say goodbye.
    first.child.kill('SIGKILL')
    await closed(first.child)
    // More than a session without a client is given to end by itself.
    await sleep(5000)
    const second = await openWindow(box, ['bash', '--login'], [])
    assert.match(second.said, /: found\r?\n/)
    assert.is(second.place, first.place)
    assert.is(await second.ask('/again'), `${pid} 0\n`)
    // The window is closed in good order: the end of the script's input ends its shell.
    second.child.stdin?.end()
    await closed(second.child)

    const third = await openWindow(box, ['bash', '--login', '-c', 'bash'], [])
    assert.is(await third.ask('/third'), `${pid} 0\n`)
    const log = await box.run('ssh', [loginOf(box), 'cat ~/.ide-server/log'])
    assert.match(
      log.stdout.toString(),
      /GET \/a\n(.*\n)*POST \/upload\n(.*\n)*GET \/again\nGET \/third\n/,
    )
    third.child.kill('SIGTERM')
    await closed(third.child)
    await stopServer(box, pid)
  })

  add(`${box.what}: windows share one connection and do without it`, async () => {
    const control = join(temporaryFolder(), 'c')
    const shared = ['-o', 'ControlMaster=auto', '-o', `ControlPath=${control}`]
    const first = await openWindow(box, ['bash'], [...shared, '-o', 'ControlPersist=yes'])
    const second = await openWindow(box, ['bash'], shared)
    const pid = (await first.ask('/one')).split(' ')[0]
    // A client of a master listens through it, so that this port is the master's as well.
    assert.is((await second.ask('/two')).split(' ')[0], pid)
    const more = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        box.run('ssh', [...shared, loginOf(box), `echo ${index}; exit ${index}`]),
      ),
    )
    assert.equal(
      more.map(({ code, stdout }) => `${code} ${stdout.toString().trim()}`),
      more.map((_, index) => `${index} ${index}`),
    )
    // One window goes; the connection and the other one go on.
    second.child.kill('SIGKILL')
    await closed(second.child)
    assert.is((await first.ask('/three')).split(' ')[0], pid)
    const exit = await box.run('ssh', [...shared, '-O', 'exit', loginOf(box)])
    assert.is(exit.code, 0, exit.stderr)
    await closed(first.child)
    await sleep(5000)
    const after = await openWindow(box, ['bash'], [])
    assert.match(after.said, /: found\r?\n/)
    assert.is((await after.ask('/four')).split(' ')[0], pid)
    await stopServer(box, pid)
    after.child.kill('SIGKILL')
    await closed(after.child)
  })

  add(`${box.what}: a server on a socket, through a connection of its own`, async () => {
    const options = ['-o', 'ClearAllForwardings=true']
    const server = await startServer(box, ['bash'], options, '"$dir/server.sock"')
    assert.match(server.place, /^\/.*\/server\.sock$/)
    const port = String(await freePort())
    const to = ['-o', 'ExitOnForwardFailure=yes', '-L', `127.0.0.1:${port}:${server.place}`]
    const [program = '', ...rest] = box.command('ssh', ['-T', '-N', ...to, loginOf(box)])
    const tunnel = spawn(program, rest, { stdio: 'ignore' })
    windows.push(tunnel)
    const retry = ['--retry', '20', '--retry-connrefused', '--retry-delay', '1']
    const ask = (path: string): Promise<string> =>
      output([...CURL, ...retry, `http://127.0.0.1:${port}${path}`])
    const [pid = ''] = (await ask('/a')).split(' ')
    const answers = await Promise.all(['/b', '/c', '/d'].map(ask))
    assert.equal(
      answers,
      answers.map(() => `${pid} 0\n`),
    )
    tunnel.kill('SIGTERM')
    await closed(tunnel)
    await stopServer(box, pid)
    server.child.kill('SIGKILL')
    await closed(server.child)
  })
}

test.run()
