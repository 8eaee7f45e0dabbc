// Our client against servers: what the cases for OpenSSH's client show, from the other side.
// Time limit: 300 s

import { createHash } from 'node:crypto'
import {
  AuthenticationError,
  type Client,
  type ClientOptions,
  generateKey,
  nobleCrypto,
  pinned,
  publickey,
  type RemoteProcess,
  SshError,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256, stream } from '../data.ts'
import { againstServers, type Case, type Server } from '../matrix.ts'
import { connectTo } from '../peers/connect.ts'

const MiB = 1 << 20

/** A case with a connection of its own, closed afterwards. */
function connected(
  name: string,
  body: (client: Client, server: Server) => Promise<void>,
  options: Partial<ClientOptions> & { readonly limitMs?: number } = {},
): Case {
  const { limitMs = 60_000, ...clientOptions } = options
  return {
    name,
    limitMs,
    run: async ({ server }) => {
      const client = await connectTo(server, clientOptions)
      try {
        await body(client, server)
      } finally {
        await client.close()
      }
    },
  }
}

/** Reads a process to the end of its output. */
async function hashOutput(process: RemoteProcess): Promise<string> {
  const hash = createHash('sha256')
  for (let chunk = await process.read(); chunk !== undefined; chunk = await process.read()) {
    hash.update(chunk)
  }
  return hash.digest('hex')
}

/** Sends `length` bytes to `process`, ends its input, and gives their SHA-256. */
async function feed(process: RemoteProcess, length: number): Promise<string> {
  const source = stream(length)
  for await (const chunk of source.readable) await process.write(chunk)
  await process.end()
  return source.sha256
}

/** Reads text until it matches. */
async function until(process: RemoteProcess, pattern: RegExp): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  while (!pattern.test(text)) {
    const chunk = await process.read()
    assert.ok(chunk, `${pattern} did not come: ${JSON.stringify(text)}`)
    text += decoder.decode(chunk, { stream: true })
  }
  return text
}

const write = (process: RemoteProcess, text: string): Promise<void> =>
  process.write(new TextEncoder().encode(text))

async function roundTrip(client: Client, length: number): Promise<void> {
  const process = await client.exec('cat', { stderr: 'ignore' })
  const [sent, received] = await Promise.all([feed(process, length), hashOutput(process)])
  assert.is(received, sent)
  assert.equal(await process.exit, { code: 0 })
}

async function fails(promise: Promise<unknown>, code: string): Promise<SshError> {
  try {
    await promise
  } catch (error) {
    assert.instance(error, SshError)
    assert.is((error as SshError).code, code)
    return error as SshError
  }
  return assert.unreachable('it succeeded') as never
}

againstServers('Our client: commands', [
  connected('exit statuses 0, 3 and 255 arrive', async (client) => {
    for (const code of [0, 3, 255]) assert.is((await client.run(`exit ${code}`)).code, code)
  }),
  connected('a signal that ended the command arrives', async (client) => {
    const { code, signal } = await client.run('kill -TERM $$')
    assert.is(code, undefined)
    assert.is(signal, 'TERM')
  }),
  connected('stdin, stdout and stderr are apart and whole', async (client) => {
    const result = await client.run('cat; echo problem >&2', { stdin: bytes(MiB) })
    assert.is(sha256(result.stdout), sha256(bytes(MiB)))
    assert.is(new TextDecoder().decode(result.stderr), 'problem\n')
  }),
  connected(
    '100 MiB through stdin and stdout have equal SHA-256',
    (client) => roundTrip(client, 100 * MiB),
    {
      limitMs: 150_000,
    },
  ),
  connected(
    'everything works on the portable primitives alone',
    (client) => roundTrip(client, 5 * MiB),
    {
      crypto: nobleCrypto,
    },
  ),
  connected('a client that stops reading ends the producer', async (client) => {
    const process = await client.exec('yes', { stderr: 'ignore' })
    const reader = process.stdout.getReader()
    assert.is(new TextDecoder().decode((await reader.read()).value).slice(0, 4), 'y\ny\n')
    await reader.cancel()
    const { code, signal } = await process.exit
    assert.ok(signal === 'PIPE' || code !== 0, `ended with ${code ?? signal}`)
  }),
  connected(
    'a terminal has the size it was given, changes it, and takes Ctrl-C',
    async (client) => {
      const process = await client.exec('exec sh', {
        pty: { columns: 91, rows: 37, term: 'vt100' },
      })
      await write(process, 'PS1=; tty; stty size; echo $TERM\n')
      await until(process, /\/dev\/pts\/\d+\r\n37 91\r\nvt100\r\n/)
      const trap = "trap 'stty size; echo chan''ged' WINCH; trap 'exit 42' INT"
      await write(
        process,
        `sh -c "${trap}; echo loo''ping; while :; do sleep 0.05; done"; echo s=$?\n`,
      )
      await until(process, /looping\r\n/)
      process.resize(120, 50)
      await until(process, /50 120\r\nchanged\r\n/)
      await write(process, '\x03')
      await until(process, /s=42\r\n/)
      await write(process, 'exit 6\n')
      await hashOutput(process)
      assert.equal(await process.exit, { code: 6 })
    },
  ),
  {
    // Debian's sshd delivers none to a session of root.
    only: 'msb',
    ...connected('a signal that is sent arrives', async (client) => {
      const process = await client.exec(
        "trap 'echo got; exit 8' USR1; echo set; while :; do sleep 0.05; done",
        // The shell reports its sleep, which gets the signal as well.
        { stderr: 'ignore' },
      )
      await until(process, /set\n/)
      process.kill('USR1')
      await until(process, /got\n/)
      assert.equal(await process.exit, { code: 8 })
    }),
  },
  connected('20 sessions on one connection at once', async (client) => {
    const sessions = Array.from({ length: 20 }, async (_, index) => {
      const data = bytes(400_000 + index)
      const { code, stdout } = await client.run(`cat; exit ${index}`, { stdin: data })
      assert.is(sha256(stdout), sha256(data))
      assert.is(code, index)
    })
    await Promise.all(sessions)
  }),
  connected(
    'keys are exchanged anew every MiB under 50 MiB each way',
    async (client) => {
      await roundTrip(client, 50 * MiB)
    },
    { rekey: { bytes: MiB }, limitMs: 150_000 },
  ),
  connected('a refused port is a failed connection', async (client) => {
    const error = await fails(client.directTcpip('127.0.0.1', 1), 'SSH_CHANNEL_OPEN')
    assert.match(error.message, /connect/i)
  }),
  connected('a ping is answered', async (client) => {
    assert.ok((await client.ping()) >= 0)
  }),
  {
    name: '50 connections at once',
    limitMs: 150_000,
    run: async ({ server }) => {
      const connections = Array.from({ length: 50 }, async (_, index) => {
        const client = await connectTo(server, { handshakeMs: 120_000 })
        assert.is((await client.run(`echo ${index}`)).text(), `${index}\n`)
        await client.close()
      })
      await Promise.all(connections)
    },
  },
  {
    name: 'a key that is not authorized is refused',
    run: async ({ server }) => {
      const stranger = connectTo(server, { auth: [publickey(generateKey('ed25519'))] })
      const error = await fails(stranger, 'SSH_AUTHENTICATION')
      assert.instance(error, AuthenticationError)
    },
  },
  {
    name: 'a host key that is not the expected one ends the attempt',
    run: async ({ server }) => {
      const hostKey = pinned(generateKey('ed25519').publicKey)
      await fails(connectTo(server, { hostKey }), 'SSH_HOST_KEY_REJECTED')
    },
  },
])
