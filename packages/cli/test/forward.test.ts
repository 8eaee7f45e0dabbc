/** `msb ssh NAME -L, -D, -N, -W`, without any ssh program. */
// Time limit: 240 s
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  endTerminals,
  type Finished,
  finished,
  inTerminal,
  msb,
  msbEnv,
  msbPath,
  start,
  temporaryDirectory,
} from './msb.ts'

/** Forwards reach what listens on this host, so that the test can be its server. */
const BOX = 'local:box?net=host'
const home = temporaryDirectory()
const running: ChildProcess[] = []

/** Answers what it got in capitals, and at the end of that says goodbye. */
const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => undefined)
  socket.on('data', (chunk: Buffer) => socket.write(chunk.toString('latin1').toUpperCase()))
  socket.on('end', () => socket.end('bye'))
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const { port } = server.address() as AddressInfo
test.after(() => {
  server.close()
  for (const child of running) child.kill('SIGKILL')
  endTerminals()
})

interface Forwarding {
  readonly child: ChildProcess
  readonly ports: readonly number[]
  readonly ended: Promise<Finished>
}

/** Starts `msb ssh box …` and waits until `count` ports are said to be forwarded. */
async function forward(args: readonly string[], count = 1): Promise<Forwarding> {
  const child = start(['ssh', BOX, ...args], home)
  running.push(child)
  const ended = finished(child)
  const ports = await new Promise<readonly number[]>((resolve, reject) => {
    let text = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      text += chunk
      const found = [...text.matchAll(/Forwarding {3}\S+:(\d+) → /g)].map((match) =>
        Number(match[1]),
      )
      if (found.length === count) resolve(found)
    })
    child.once('close', () => reject(new Error(text)))
  })
  return { child, ports, ended }
}

/** Sends, ends, and collects everything until the other side has ended too. */
async function exchange(socket: Socket, text: string | Uint8Array): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.end(text)
  await once(socket, 'close')
  return Buffer.concat(chunks)
}

function dial(to: number): Socket {
  const socket = connect({ port: to, host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => undefined)
  return socket
}

test('-N with several -L: every port leads to its destination, both halves of each connection', async () => {
  const target = `127.0.0.1:${port}`
  const { child, ports, ended } = await forward(['-N', '-L', `0:${target}`, '-L', `0:${target}`], 2)
  const answers = await Promise.all(ports.map((each, n) => exchange(dial(each), `hello ${n}, `)))
  assert.equal(answers.map(String), ['HELLO 0, bye', 'HELLO 1, bye'])
  const much = randomBytes(3_000_000).toString('base64')
  const answer = await exchange(dial(ports[0] ?? 0), much)
  const sum = (text: string): string => createHash('sha256').update(text).digest('hex')
  assert.is(sum(answer.toString()), sum(`${much.toUpperCase()}bye`))
  child.kill('SIGINT')
  assert.is((await ended).code, 130)
})

test('a destination nobody listens on ends the connection and is told', async () => {
  const { child, ports, ended } = await forward(['-N', '-L', '0:127.0.0.1:1'])
  assert.is((await exchange(dial(ports[0] ?? 0), 'x')).length, 0)
  child.kill('SIGTERM')
  const { code, stderr } = await ended
  assert.is(code, 143)
  assert.match(stderr, /warn: 127\.0\.0\.1:1: .*refused/i)
})

test('-D is a proxy for curl, by SOCKS 4, 4a and 5, with names of the sandbox', async () => {
  const web = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end('HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'))
  }).listen(0, '127.0.0.1')
  await once(web, 'listening')
  const { port: webPort } = web.address() as AddressInfo
  const { child, ports, ended } = await forward(['-N', '-D', '0'])
  const get = (scheme: string, host: string): Promise<Finished> => {
    const proxy = `${scheme}://127.0.0.1:${ports[0]}`
    const args = ['-s', '-S', '--max-time', '20', '--proxy', proxy, `http://${host}:${webPort}/`]
    return finished(spawn('curl', args))
  }
  for (const scheme of ['socks4', 'socks4a', 'socks5', 'socks5h']) {
    const { stdout, stderr } = await get(scheme, scheme === 'socks4' ? '127.0.0.1' : 'localhost')
    assert.is(stdout.toString(), 'ok', `${scheme}: ${stderr}`)
  }
  web.close()
  const refused = await finished(
    spawn('curl', ['-sS', '--proxy', `socks5h://127.0.0.1:${ports[0]}`, 'http://127.0.0.1:1/']),
  )
  assert.is(refused.code, 97, refused.stderr)
  // No SOCKS at all, as from a web page that somebody was led to.
  assert.is((await exchange(dial(ports[0] ?? 0), 'GET / HTTP/1.0\r\n\r\n')).length, 0)
  child.kill('SIGINT')
  await ended
})

test('forwards beside a command end with it', async () => {
  const { child, ports, ended } = await forward(['-L', `0:127.0.0.1:${port}`, '--', 'cat'])
  assert.is(String(await exchange(dial(ports[0] ?? 0), 'beside ')), 'BESIDE bye')
  child.stdin?.end('typed')
  const { code, stdout } = await ended
  assert.is(stdout.toString(), 'typed')
  assert.is(code, 0)
  const [error] = (await once(dial(ports[0] ?? 0), 'error').catch((cause) => [cause])) as [Error]
  assert.match(String(error), /ECONNREFUSED/)
})

test('a port in use is one clear error, before anything is started', async () => {
  const own = temporaryDirectory()
  for (const args of [
    ['-N', '-L', `${port}:127.0.0.1:80`],
    ['-D', `${port}`, '--', 'true'],
  ]) {
    const { code, stderr } = await msb(['ssh', 'nobody', ...args], { home: own })
    assert.is(stderr, `error: cannot listen on 127.0.0.1:${port}: the port is in use\n`)
    assert.is(code, 1)
  }
})

test('-W joins stdin and stdout to a destination, each half by itself', async () => {
  const result = await msb(['ssh', BOX, '-W', `127.0.0.1:${port}`], { home, input: 'through ' })
  assert.is(result.stdout.toString(), 'THROUGH bye')
  assert.is(result.code, 0)
  assert.is(result.stderr, '')
  const refused = await msb(['ssh', BOX, '-W', '127.0.0.1:1'], { home })
  assert.match(refused.stderr, /^error: cannot connect to 127\.0\.0\.1:1: .*refused.*\n$/i)
  assert.is(refused.code, 1)
})

test('in a terminal: a shell with a forward, whose refusals do not tear the screen', async () => {
  const args = [msbPath, 'ssh', BOX, '-L', '0:127.0.0.1:1']
  const run = inTerminal(process.execPath, args, { ...msbEnv(home), PS1: '$ ' })
  const [, local = ''] = await run.expect(/Forwarding {3}127\.0\.0\.1:(\d+) → 127\.0\.0\.1:1\r\n/)
  await run.expect(/[$#] $/)
  await exchange(dial(Number(local)), 'x')
  run.type('echo "still" "here"; exit 4\r')
  await run.expect(/still here/)
  assert.is((await run.exit).code, 4)
  assert.not.match(run.text(), /refused/i)
})

test('-N in a terminal ends with Ctrl-C', async () => {
  const run = inTerminal(process.execPath, [msbPath, 'ssh', BOX, '-N', '-D', '0'], msbEnv(home))
  await run.expect(/Forwarding {3}127\.0\.0\.1:\d+ → SOCKS\r\n/)
  run.type('\u0003')
  // By its own hand, or by the signal itself if that came before anything was there to end.
  const { code, signal } = await run.exit
  assert.ok(code === 130 || signal === 2, `${code}, ${signal}`)
})

test('-R leads from a port inside to here, and ends with the session', async () => {
  // A network of its own, so that no port can be mistaken.
  const inside = 'exec 3<>/dev/tcp/127.0.0.1/8123 && echo hello >&3 && head -1 <&3'
  const args = ['ssh', 'local:own', '-R', `8123:127.0.0.1:${port}`]
  const { code, stdout, stderr } = await msb([...args, '--', inside], { home })
  assert.is(stdout.toString(), 'HELLO\n', stderr)
  assert.is(stderr, `   ✓ Forwarding   8123 in the sandbox → 127.0.0.1:${port}\n`)
  assert.is(code, 0)
  // Nobody here: the program inside sees an end, and this side says why.
  const lost = await msb(
    ['ssh', 'local:own', '-R', '8124:127.0.0.1:1', '--', 'cat </dev/tcp/127.0.0.1/8124; sleep 1'],
    { home },
  )
  assert.match(lost.stderr, /warn: 127\.0\.0\.1:1: .*ECONNREFUSED/)
  const twice = await msb([...args, '-R', `8123:127.0.0.1:${port}`, '--', 'echo ran'], { home })
  assert.match(twice.stderr, /error: cannot listen on port 8123 in the sandbox: .*\n$/)
  assert.is(twice.code, 1)
  assert.is(twice.stdout.length, 0)
})

test.run()
