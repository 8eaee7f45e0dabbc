// The scp protocol against OpenSSH's scp: as either side of it, without SSH in between.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import * as fs from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nodeSocket, nodeStreams, type Transport } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { nodeFileSystem } from '../src/node-file-system.ts'
import { decodePath } from '../src/path.ts'
import { parseScpCommand, scpGet, scpPut, serveScp } from '../src/scp-command.ts'
import { within } from './within.ts'

const folders = ['/usr/bin', '/usr/local/bin', '/bin']
const scp = folders.map((folder) => join(folder, 'scp')).find(existsSync)

/** A tree with what is worth copying, and an empty place for the copy. */
async function prepare(): Promise<{ directory: string; dispose: () => Promise<void> }> {
  const directory = await fs.realpath(await fs.mkdtemp(join(tmpdir(), 'scp-test-')))
  const at = (name: string): string => join(directory, name)
  await fs.mkdir(at('tree/inner'), { recursive: true })
  await fs.mkdir(at('tree/empty'))
  await fs.writeFile(at('tree/a b'), 'hello')
  await fs.writeFile(at('tree/inner/none'), '')
  const big = Uint8Array.from({ length: 3_000_000 }, (_, index) => (index * index) % 253)
  await fs.writeFile(at('tree/inner/big'), big)
  await fs.chmod(at('tree/a b'), 0o751)
  await fs.utimes(at('tree/a b'), 1000, 2000)
  await fs.utimes(at('tree/inner'), 3000, 4000)
  return { directory, dispose: () => fs.rm(directory, { recursive: true }) }
}

async function compare(directory: string, one: string, other: string): Promise<void> {
  const child = spawn('diff', ['-r', join(directory, one), join(directory, other)])
  const code = await new Promise((resolve) => child.once('exit', resolve))
  assert.is(code, 0, `${one} and ${other} differ`)
  const stat = await fs.stat(join(directory, other, 'a b'))
  assert.is(stat.mode & 0o777, 0o751)
  assert.is(stat.mtimeMs, 2_000_000)
  assert.is((await fs.stat(join(directory, other, 'inner'))).mtimeMs, 4_000_000)
}

/** An SSH client in name: runs the command here. */
function localClient(): { exec: (command: Uint8Array) => Promise<{ channel: Transport }> } {
  return {
    async exec(command) {
      const child = spawn('/bin/sh', ['-c', decodePath(command)], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      return { channel: nodeStreams(child.stdout, child.stdin) }
    },
  }
}

/** A program to give to `scp -S`: it hands its command and its streams to this process. */
async function ssh(directory: string): Promise<{ program: string; server: Server }> {
  const socket = join(directory, 'socket')
  const program = join(directory, 'ssh.mjs')
  await fs.writeFile(
    program,
    `#!${process.execPath}
import { connect } from 'node:net'
const socket = connect(${JSON.stringify(socket)}, () => {
  socket.write(JSON.stringify(process.argv.at(-1)) + '\\n')
  process.stdin.pipe(socket)
  socket.pipe(process.stdout)
})
`,
    { mode: 0o755 },
  )
  const server = createServer({ allowHalfOpen: true }, (connection) => {
    void (async () => {
      const transport = nodeSocket(connection)
      let head = ''
      while (!head.includes('\n')) {
        const chunk = await transport.read()
        if (chunk === undefined) return
        head += decodePath(chunk)
      }
      const end = head.indexOf('\n')
      const command = parseScpCommand(JSON.parse(head.slice(0, end)) as string)
      assert.ok(command, head)
      let rest: Uint8Array | undefined = Uint8Array.from(head.slice(end + 1), (c) =>
        c.charCodeAt(0),
      )
      const whole: Transport = {
        async read() {
          const first = rest
          rest = undefined
          return first !== undefined && first.length > 0 ? first : transport.read()
        },
        write: (chunk) => transport.write(chunk),
        close: () => transport.close(),
        abort: (reason) => transport.abort(reason),
      }
      if (command !== undefined) await serveScp(whole, nodeFileSystem(fs, { directory }), command)
      await transport.close()
    })().catch((error: unknown) => connection.destroy(error as Error))
  })
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  return { program, server }
}

if (scp === undefined) {
  test.skip('there is no scp on this machine', () => {})
} else {
  test('our sink and source copy trees with scp -f and scp -t', async () => {
    const { directory, dispose } = await prepare()
    const options = { recursive: true, preserve: true }
    const files = nodeFileSystem(fs, { directory })
    const got = scpGet(localClient(), join(directory, 'tree'), files, 'got', options)
    assert.equal(await within(20_000, got), {
      files: 3,
      directories: 3,
      bytes: 3_000_005,
      errors: [],
    })
    await compare(directory, 'tree', 'got')
    const brought = scpPut(localClient(), files, 'tree', join(directory, 'put'), options)
    assert.is((await within(20_000, brought)).files, 3)
    await compare(directory, 'tree', 'put')
    const missing = await scpGet(localClient(), join(directory, 'no'), files, 'x')
    assert.match(missing.errors[0] ?? '', /No such file/)
    await dispose()
  })

  test('scp -O copies trees with our source and sink', async () => {
    const { directory, dispose } = await prepare()
    const { program, server } = await ssh(directory)
    const run = async (...words: string[]): Promise<unknown> => {
      const child = spawn(scp, ['-O', '-q', '-r', '-p', '-S', program, ...words], {
        stdio: 'inherit',
      })
      return within(30_000, new Promise((resolve) => child.once('exit', resolve)), 'scp')
    }
    assert.is(await run(join(directory, 'tree'), 'host:up'), 0)
    await compare(directory, 'tree', 'up')
    assert.is(await run('host:tree', join(directory, 'down')), 0)
    await compare(directory, 'tree', 'down')
    server.close()
    await dispose()
  })
}

test.run()
