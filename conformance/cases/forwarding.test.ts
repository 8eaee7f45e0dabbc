// Forwarded connections through OpenSSH's client, to servers inside.
// Time limit: 180 s

import { type ChildProcess, spawn } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import * as assert from 'uvu/assert'
import { bytes } from '../data.ts'
import { againstServers, type Server } from '../matrix.ts'
import { startDaemon } from '../peers/daemon.ts'
import { freePort, OpenSsh, scanHostKey } from '../peers/openssh.ts'
import { run } from '../peers/run.ts'

/**
 * A program that serves on a free loopback port, prints it, and sends back what each connection
 * sends.
 */
const echoProgram = [
  'const server = require("net").createServer({ allowHalfOpen: true }, (s) => s.pipe(s))',
  'server.listen(0, "127.0.0.1", () => console.log("port " + server.address().port))',
  'process.stdin.resume().on("end", () => process.exit())',
].join(';')

/** Runs `body` with the port of an echo server on the peer's side. */
async function withEcho(openssh: OpenSsh, body: (port: number) => Promise<void>): Promise<void> {
  const [program = '', ...args] = openssh.command([], [`${process.execPath} -e '${echoProgram}'`])
  const child: ChildProcess = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  try {
    const port = await new Promise<number>((resolve, reject) => {
      child.stdout?.setEncoding('utf8').once('data', (text) => resolve(Number(text.split(' ')[1])))
      child.once('exit', (code) => reject(new Error(`the echo server ended with ${code}`)))
    })
    await body(port)
  } finally {
    child.stdin?.end()
  }
}

/** Starts a client that only forwards, and waits until it does. */
const startForwarding = (openssh: OpenSsh, options: readonly string[]) =>
  startDaemon(
    openssh.command(['-N', '-o', 'ExitOnForwardFailure=yes', '-o', 'LogLevel=DEBUG1', ...options]),
    /Entering interactive session/,
  )

/** Sends everything, ends, and collects what comes back until the end. */
function exchange(socket: Socket, data: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const received: Buffer[] = []
    socket.on('data', (chunk) => received.push(chunk))
    socket.once('end', () => resolve(Buffer.concat(received)))
    socket.once('error', reject)
    socket.setTimeout(20_000, () => socket.destroy(new Error('nothing came for 20 s')))
    socket.end(data)
  })
}

/**
 * Opens a connection through a SOCKS5 proxy: RFC 1928, no authentication, an IPv4 address. Gives
 * the socket, or undefined if the proxy refused or hung up.
 */
async function throughSocks(proxyPort: number, port: number): Promise<Socket | undefined> {
  const socket = connect({ port: proxyPort, host: '127.0.0.1', allowHalfOpen: true })
  const next = (): Promise<Buffer> =>
    new Promise((resolve) => {
      socket.once('data', resolve)
      socket.once('end', () => resolve(Buffer.alloc(0)))
    })
  socket.write(Uint8Array.of(5, 1, 0))
  assert.equal([...(await next())], [5, 0])
  socket.write(Uint8Array.of(5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 255))
  const reply = await next()
  if (reply[1] === 0) return socket
  socket.destroy()
  return undefined
}

/** Has ssh say why a forwarding failed. */
const verbose = ['-o', 'LogLevel=INFO']

const isReachable = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })

const sandboxOf = (server: Server): Extract<Server, { name: 'msb' }> => {
  if (server.name !== 'msb') throw new Error('not ours')
  return server
}

againstServers('Forwarding', [
  {
    name: '-L reaches a server inside, in both directions and to both ends',
    run: async ({ openssh }) => {
      await withEcho(openssh, async (port) => {
        const local = await freePort()
        const { daemon } = await startForwarding(openssh, ['-L', `${local}:127.0.0.1:${port}`])
        try {
          const data = bytes(3_000_001)
          const socket = connect({ port: local, host: '127.0.0.1', allowHalfOpen: true })
          assert.ok((await exchange(socket, data)).equals(data))
        } finally {
          await daemon.stop()
        }
      })
    },
  },
  {
    name: '-L carries several connections at once',
    run: async ({ openssh }) => {
      await withEcho(openssh, async (port) => {
        const local = await freePort()
        const { daemon } = await startForwarding(openssh, ['-L', `${local}:localhost:${port}`])
        try {
          const echoes = Array.from({ length: 10 }, async (_, index) => {
            const data = bytes(100_000 + index)
            const socket = connect({ port: local, host: '127.0.0.1', allowHalfOpen: true })
            assert.ok((await exchange(socket, data)).equals(data))
          })
          await Promise.all(echoes)
        } finally {
          await daemon.stop()
        }
      })
    },
  },
  {
    name: '-D reaches a server inside, and a closed port is refused',
    run: async ({ openssh }) => {
      await withEcho(openssh, async (port) => {
        const proxy = await freePort()
        const { daemon } = await startForwarding(openssh, ['-D', `${proxy}`])
        try {
          const open = await throughSocks(proxy, port)
          assert.ok(open)
          assert.is((await exchange(open, Buffer.from('hello'))).toString(), 'hello')
          assert.is(await throughSocks(proxy, 1), undefined)
        } finally {
          await daemon.stop()
        }
      })
    },
  },
  {
    name: '-W joins stdin and stdout to a server inside',
    run: async ({ openssh }) => {
      await withEcho(openssh, async (port) => {
        const data = bytes(100_000)
        const command = openssh.command(['-W', `127.0.0.1:${port}`])
        const { code, stdout } = await run(command, { stdin: data, limitMs: 20_000 })
        assert.ok(stdout.equals(data))
        assert.is(code, 0)
      })
    },
  },
  {
    name: 'a refused port is reported as a failed connection, at once',
    run: async ({ openssh }) => {
      const { code, stderr } = await run(openssh.command([...verbose, '-W', '127.0.0.1:1']), {
        limitMs: 10_000,
      })
      assert.is(code, 255)
      assert.match(stderr, /open failed: connect failed/)
    },
  },
  {
    name: 'a name that does not resolve is reported as a failed connection',
    run: async ({ openssh }) => {
      const command = openssh.command([...verbose, '-W', 'no-such-name.invalid:80'])
      const { code, stderr } = await run(command, { limitMs: 20_000 })
      assert.is(code, 255)
      assert.match(stderr, /open failed: connect failed/)
    },
  },
  {
    name: 'a sandbox has a loopback of its own',
    only: 'msb',
    run: async ({ openssh, server }) => {
      await withEcho(openssh, async (port) => {
        assert.not(await isReachable(port), 'the port inside can be reached from outside')
      })
      const { code } = await run(openssh.command(['-W', `127.0.0.1:${server.port}`]))
      assert.is(code, 255, 'the port outside can be reached from inside')
    },
  },
  {
    name: 'ProxyCommand with `msb ssh serve NAME --stdio`',
    only: 'msb',
    run: async ({ server }) => {
      const { command, home, sandbox } = sandboxOf(server)
      const proxy = command(['ssh', 'serve', sandbox, '--stdio']).join(' ')
      // The port is one that nothing listens on: only the proxy can make this work.
      const openssh = new OpenSsh({ ...server, port: 1 }, [
        `ProxyCommand env MSB_HOME=${home} ${proxy}`,
      ])
      assert.is(await openssh.text('echo in; cat', { stdin: 'through\n' }), 'in\nthrough\n')
      const data = bytes(10_000_000)
      assert.ok((await openssh.ssh('cat', { stdin: data })).stdout.equals(data))
      assert.is((await openssh.ssh('exit 9')).code, 9)
    },
  },
  {
    name: 'ProxyJump through it to another server',
    only: 'sshd',
    run: async ({ openssh, server }) => {
      const jump = new OpenSsh(server, [
        `ProxyCommand ${openssh.command(['-W', '%h:%p']).join(' ')}`,
      ])
      assert.is(await jump.text('echo jumped'), 'jumped\n')
    },
  },
])

againstServers('Host keys', [
  {
    name: 'the host key stays the same from one server process to the next',
    only: 'msb',
    run: async ({ server, openssh }) => {
      const { command, home, sandbox } = sandboxOf(server)
      await openssh.text('true')
      const serve = command(['ssh', 'serve', sandbox, '--port', '0'])
      const { daemon, match } = await startDaemon(serve, /SSH listening\s+127\.0\.0\.1:(\d+)/, {
        MSB_HOME: home,
      })
      try {
        assert.is(await scanHostKey(Number(match[1])), server.hostKey)
      } finally {
        await daemon.stop()
      }
    },
  },
])
