// What VS Code's Remote-SSH does: `ssh -T -D PORT HOST bash` with a script on its stdin, which
// starts a server in the background or finds the one of an earlier window, and tells its port; then
// everything goes through the SOCKS proxy. The window closes, the server stays, the next one finds
// it.
// Time limit: 180 s

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
server.listen(0, '127.0.0.1', () => console.log('listening on ' + server.address().port))
`

/** The script: markers around what is told, a lock of its own, one server for all windows. */
function script(box: Box, marker: string): string {
  return `
dir=${box.folder}/.ide-server
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
  ${box.node} "$dir/server.cjs" &> "$dir/log" < /dev/null &
  echo $! > "$dir/pid"
fi
for try in $(seq 200); do
  port=$(sed -n 's/^listening on //p' "$dir/log")
  [ -n "$port" ] && break
  sleep 0.1
done
echo "${marker}: start"
echo "listeningOn==$port=="
echo "${marker}: end"
`
}

interface Window {
  readonly child: ChildProcess
  readonly remotePort: string
  readonly said: string
  /** Asks the server through the proxy. */
  ask(path: string, args?: readonly string[]): Promise<string>
}

/** Opens a window; stdin stays open as long as it does. */
async function openWindow(
  box: Box,
  shell: readonly string[],
  args: readonly string[],
): Promise<Window> {
  const socks = await freePort()
  const marker = `w${socks}`
  const command = box.command('ssh', ['-T', '-D', String(socks), ...args, box.root, ...shell])
  const [program = '', ...rest] = command
  const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'] })
  windows.push(child)
  let said = ''
  let complained = ''
  child.stderr.on('data', (chunk: Buffer) => {
    complained += chunk
  })
  const port = new Promise<string>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk
      const told = /: start\r?\nlisteningOn==(\d+)==\r?\n\w+: end/.exec(said)
      if (told?.[1] !== undefined) resolve(told[1])
    })
    child.once('close', () => reject(new Error(`${said}${complained}`)))
  })
  child.stdin.write(script(box, marker))
  const remotePort = await port
  const proxy = `127.0.0.1:${socks}`
  const ask = (path: string, more: readonly string[] = []): Promise<string> =>
    output([
      'curl',
      '-sS',
      '-m',
      '30',
      '--socks5-hostname',
      proxy,
      ...more,
      `http://127.0.0.1:${remotePort}${path}`,
    ])
  return { child, remotePort, said, ask }
}

async function closed(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    await new Promise((resolve) => child.once('close', resolve))
  }
}

/** Ends the server. A dead process that nobody waits for would still be found by its number. */
async function stopServer(box: Box, pid: string | undefined): Promise<void> {
  const command = `kill ${pid} && rm ${box.folder}/.ide-server/pid`
  assert.is((await box.run('ssh', [box.root, command])).code, 0)
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
    assert.is(second.remotePort, first.remotePort)
    assert.is(await second.ask('/again'), `${pid} 0\n`)
    // The window is closed in good order: the end of the script's input ends its shell.
    second.child.stdin?.end()
    await closed(second.child)

    const third = await openWindow(box, ['bash', '--login', '-c', 'bash'], [])
    assert.is(await third.ask('/third'), `${pid} 0\n`)
    const log = await box.run('ssh', [box.root, `cat ${box.folder}/.ide-server/log`])
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
        box.run('ssh', [...shared, box.root, `echo ${index}; exit ${index}`]),
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
    const exit = await box.run('ssh', [...shared, '-O', 'exit', box.root])
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
}

test.run()
