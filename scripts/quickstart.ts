// Shows in under two minutes what this project does, each step with its result, and leaves
// nothing running and nothing behind.
//
//     npm run quickstart

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { sandbox } from '@sandbox-ssh/sandbox-bridge'
import { temporaryFolder } from '../conformance/peers/folder.ts'
import { startMsb } from '../conformance/peers/msb.ts'
import { OpenSsh } from '../conformance/peers/openssh.ts'
import { buildPrograms } from './programs.ts'

const name = 'local:quickstart'
const home = temporaryFolder()
const box = sandbox(name, { home, onWarning: (text) => process.stderr.write(`warn: ${text}\n`) })

/** Does one step and prints a line with its result; one that fails ends the program. */
async function step<T>(title: string, body: () => Promise<readonly [string, T]>): Promise<T> {
  const started = performance.now()
  try {
    const [result, value] = await body()
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    process.stdout.write(`✓ ${title}: ${result} (${seconds} s)\n`)
    return value
  } catch (error) {
    process.stdout.write(`✗ ${title}\n`)
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  }
}

function expect(condition: boolean, complaint: string): void {
  if (!condition) throw new Error(complaint)
}

await step('build', async () => {
  await buildPrograms()
  return ['msb and its guest program', undefined]
})

const client = await step('start a sandbox', async () => [name, await box.ssh().openClient()])

const uname = await step('run `uname -a` in it', async () => {
  const { status, stdout } = await client.exec('uname -a')
  const line = stdout.toString().trim()
  expect(status === 0 && line !== '', `exit status ${status}`)
  return [line, line]
})

await step('send stdin through a pipeline', async () => {
  const { status, stdout } = await client.exec('sort | uniq -c', { stdin: 'pear\nfig\npear\n' })
  const counts = stdout.toString().trim().split(/\s+/).join(' ')
  expect(status === 0 && counts === '1 fig 2 pear', `got "${counts}", exit status ${status}`)
  return [`pear, fig, pear → ${counts}`, undefined]
})

await step('write and read back a file over SFTP', async () => {
  const text = 'written over SFTP\n'.repeat(10_000)
  const sftp = await client.sftp()
  await sftp.write('quickstart.txt', text)
  expect((await sftp.readText('quickstart.txt')) === text, 'what came back is not what was sent')
  await sftp.close()
  const { stdout } = await client.exec('wc -c < quickstart.txt')
  expect(Number(stdout.toString()) === text.length, `the sandbox has ${stdout} bytes`)
  return [`${text.length} bytes, equal`, undefined]
})

if ((process.env['PATH'] ?? '').split(delimiter).some((path) => existsSync(join(path, 'ssh')))) {
  const server = await step('serve it to SSH clients', async () => {
    const msb = await startMsb(name, home)
    return [`127.0.0.1:${msb.port}`, msb]
  })
  await step('run the same with OpenSSH', async () => {
    const line = (await new OpenSsh(server).text('uname -a')).trim()
    expect(line === uname, `got "${line}"`)
    return [line, undefined]
  })
  await server.daemon.stop()
} else {
  process.stdout.write('- no ssh on PATH: skipped serving the sandbox to OpenSSH\n')
}
await client.close()

process.stdout.write(`
Try next:
  npx msb ssh local:devbox                                a shell in a sandbox that stays
  echo hello | npx msb ssh local:devbox -- tr a-z A-Z     a command, its input and output
  npx msb ssh authorize --file ~/.ssh/id_ed25519.pub && npx msb ssh serve local:devbox
`)
