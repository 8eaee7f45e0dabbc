// Files: one large and a tree of many small ones, got and put, on a short and on a long way; ours
// beside OpenSSH's sftp and sshd, and ssh2, in the same run, as ratios.
//
//     npm run bench:sftp [-- --mib=1024] [--files=2000] [--rounds=3] [--delays=0,20]
//         [--only=get] [--ways=sshd]
//
// Small by default. Each figure is the median of the rounds, with the spread, and is about all that
// a user waits for: connecting, logging in, copying, leaving. What arrived is compared with what was
// sent. A delay is of a whole round trip in ms, made by a proxy of ours (delay.ts). Our client and
// ssh2's run in this process; all servers are processes of their own, but ours below sftp, which has
// this process for itself.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { defaultCrypto } from '@sandbox-ssh/protocol'
import { nodeFileSystem, openSftp, type SftpClient } from '@sandbox-ssh/sftp'
import type ssh2 from 'ssh2'
import { bytes } from '../conformance/data.ts'
import { connectTo } from '../conformance/peers/connect.ts'
import { temporaryFolder } from '../conformance/peers/folder.ts'
import { startMsb } from '../conformance/peers/msb.ts'
import { type Endpoint, OpenSsh, startSshd } from '../conformance/peers/openssh.ts'
import { output, run } from '../conformance/peers/run.ts'
import { connectSsh2 } from '../conformance/peers/ssh2.ts'
import { startFarSide } from '../conformance/sftp/far-side.ts'
import { root } from '../scripts/bundle.mjs'
import { buildPrograms } from '../scripts/programs.ts'
import { compare, type Way } from './compare.ts'

const MiB = 1024 * 1024

// As our programs do, and packages/sftp/README.md advises others to; ssh2 gains by it too.
setFlagsFromString('--heap-growing-percent=300')

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '64' },
    files: { type: 'string', default: '200' },
    rounds: { type: 'string', default: '3' },
    delays: { type: 'string', default: '0,20' },
    only: { type: 'string', default: '' },
    ways: { type: 'string', default: '' },
  },
})
const mib = Number(values.mib)
const files = Number(values.files)
const rounds = Number(values.rounds)

/** What every connection is sealed with, so that ciphers are not what is compared. */
const cipher = 'aes256-gcm@openssh.com'
/** Files that ssh2 copies at once: it has no trees of its own, and gets as many as we take. */
const ssh2FilesAtOnce = 32

/** A server, and the folder of it that is copied to and from. */
interface Server extends Endpoint {
  readonly name: string
  readonly hostKey: string
  /** As clients call it. */
  readonly folder: string
  /** Where that is on this disk, if it is. */
  readonly disk: string | undefined
}

type Direction = 'get' | 'put'
type What = 'file' | 'tree'

/** Copies `what` between the near folder and a server's. */
type Copy = (server: Server, what: What, direction: Direction) => Promise<void>

const near = temporaryFolder()
const disk = nodeFileSystem(fs, { directory: near })

// What is put is called as it is; what is got has another name, and neither stays.
const copied = (what: What): string => `${what}.copy`

async function makeFiles(): Promise<void> {
  const piece = bytes(MiB)
  const file = await fs.open(join(near, 'file'), 'w')
  for (let i = 0; i < mib; i++) {
    piece.writeUInt32BE(i)
    await file.write(piece)
  }
  await file.close()
  for (let i = 0; i < files; i++) {
    const folder = join(near, 'tree', `folder ${i % 20}`)
    await fs.mkdir(folder, { recursive: true })
    await fs.writeFile(join(folder, `file ${i}`), piece.subarray(i, i + 100 + ((i * 97) % 8000)))
  }
}

// The clients

async function sftpProgram(server: Server, commands: readonly string[]): Promise<void> {
  const { config } = new OpenSsh(server, [`Ciphers ${cipher}`])
  const command = ['sftp', '-q', '-F', config, '-b', '-', 'peer']
  const options = { stdin: `${commands.join('\n')}\n`, cwd: near, limitMs: 280_000 }
  const { code, stderr } = await run(command, options)
  if (code !== 0) throw new Error(`sftp ended with ${code}: ${stderr}`)
}

const withSftp: Copy = (server, what, direction) => {
  const flag = what === 'tree' ? '-R' : ''
  const [from, to] =
    direction === 'get'
      ? [`${server.folder}/${what}`, copied(what)]
      : [what, `${server.folder}/${copied(what)}`]
  return sftpProgram(server, [`${direction} ${flag} ${from} ${to}`])
}

const withOurs: Copy = async (server, what, direction) => {
  const client = await connectTo(server)
  if (client.negotiated.cipherIn !== cipher) throw new Error(`not sealed with ${cipher}`)
  const sftp: SftpClient = await openSftp(client)
  const options = { recursive: what === 'tree' }
  const far = `${server.folder}/${direction === 'get' ? what : copied(what)}`
  await (direction === 'get'
    ? sftp.get(far, disk, copied(what), options)
    : sftp.put(disk, what, far, options))
  await sftp.close()
  await client.close()
}

const withSsh2: Copy = async (server, what, direction) => {
  const client = await connectSsh2(server, { algorithms: { cipher: [cipher] } })
  const call = <T>(start: (done: (error?: Error | null, value?: T) => void) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      // Calls without a value resolve to undefined, as their type says.
      start((error, value) => (error ? reject(error) : resolve(value as T)))
    })
  const sftp = await call<ssh2.SFTPWrapper>((done) => client.sftp(done))
  const [from, to] = [`${server.folder}/${what}`, join(near, copied(what))]
  const [source, target] = [join(near, what), `${server.folder}/${copied(what)}`]
  if (what === 'file') {
    await call<void>((done) =>
      direction === 'get' ? sftp.fastGet(from, to, done) : sftp.fastPut(source, target, done),
    )
  } else if (direction === 'get') {
    const folders = await call<ssh2.FileEntry[]>((done) => sftp.readdir(from, done))
    await fs.mkdir(to)
    const tasks: (() => Promise<void>)[] = []
    for (const { filename } of folders) {
      await fs.mkdir(join(to, filename))
      const inner = await call<ssh2.FileEntry[]>((done) =>
        sftp.readdir(`${from}/${filename}`, done),
      )
      for (const file of inner) {
        const name = `${filename}/${file.filename}`
        tasks.push(() => call((done) => sftp.fastGet(`${from}/${name}`, `${to}/${name}`, done)))
      }
    }
    await several(tasks)
  } else {
    await call<void>((done) => sftp.mkdir(target, done))
    const tasks: (() => Promise<void>)[] = []
    for (const folder of await fs.readdir(source)) {
      await call<void>((done) => sftp.mkdir(`${target}/${folder}`, done))
      for (const file of await fs.readdir(join(source, folder))) {
        const name = `${folder}/${file}`
        tasks.push(() =>
          call((done) => sftp.fastPut(`${source}/${name}`, `${target}/${name}`, done)),
        )
      }
    }
    await several(tasks)
  }
  client.end()
}

/** Runs the tasks, so many at once. */
async function several(tasks: (() => Promise<void>)[]): Promise<void> {
  const worker = async (): Promise<void> => {
    for (let task = tasks.shift(); task; task = tasks.shift()) await task()
  }
  await Promise.all(Array.from({ length: ssh2FilesAtOnce }, worker))
}

// What is compared

/** Before: no copy is left. After: the copy is right. */
function way(name: string, copy: Copy, server: Server, direct: Server, job: Job): Way {
  const { what, direction } = job
  const farCopy = direct.disk === undefined ? undefined : join(direct.disk, copied(what))
  const nearCopy = join(near, copied(what))
  return {
    name,
    isFresh: copy === withSftp,
    once: async () => {
      await copy(server, what, direction)
      return what === 'file' ? mib * MiB : files
    },
    before: async () => {
      await fs.rm(nearCopy, { recursive: true, force: true })
      if (farCopy !== undefined) await fs.rm(farCopy, { recursive: true, force: true })
      else if (direction === 'put') await remove(direct, copied(what))
    },
    after: async () => {
      if (direction === 'put' && farCopy === undefined) {
        const flag = what === 'tree' ? '-R' : ''
        const far = `${direct.folder}/${copied(what)}`
        await sftpProgram(direct, [`get ${flag} ${far} ${copied(what)}`])
      }
      const copy = direction === 'put' && farCopy !== undefined ? farCopy : nearCopy
      await output(['diff', '-r', join(near, what), copy])
    },
  }
}

async function remove(server: Server, name: string): Promise<void> {
  await new OpenSsh(server).text(`rm -rf ${server.folder}/${name}`)
}

interface Job {
  readonly what: What
  readonly direction: Direction
}

async function compareAll(servers: readonly Server[], delayMs: number): Promise<void> {
  const [sshd, own, msb] = servers as [Server, Server, Server | undefined]
  const stops: (() => void)[] = []
  const far = async (server: Server): Promise<Server> => {
    if (delayMs === 0) return server
    const { port, stop } = await startDelay(server.port, delayMs / 2)
    stops.push(stop)
    return { ...server, port }
  }
  const [farSshd, farOwn] = [await far(sshd), await far(own)]
  const farMsb = msb && (await far(msb))
  for (const what of ['file', 'tree'] as const) {
    for (const direction of ['get', 'put'] as const) {
      const size = what === 'file' ? `${mib} MiB` : `${files} small files`
      const title = `${direction} of ${size}, round trip of ${delayMs} ms`
      if (!title.includes(values.only)) continue
      const job = { what, direction }
      const [unit, scale] = what === 'file' ? (['MiB/s', MiB] as const) : (['/s', 1] as const)
      const ways = [
        way('sftp to sshd', withSftp, farSshd, sshd, job),
        way('ours to sshd', withOurs, farSshd, sshd, job),
        way('ssh2 to sshd', withSsh2, farSshd, sshd, job),
        way('sftp to ours, on the disk', withSftp, farOwn, own, job),
        ...(msb && farMsb ? [way('sftp to msb ssh serve local:', withSftp, farMsb, msb, job)] : []),
      ]
      const wanted = ways.filter(({ name }) => name.includes(values.ways))
      await compare({ title, unit, scale, rounds }, wanted)
    }
  }
  for (const stop of stops) stop()
}

async function startDelay(
  port: number,
  oneWayMs: number,
): Promise<{ readonly port: number; readonly stop: () => void }> {
  const args = [join(root, 'scripts/run.mjs'), 'bench/delay.ts', `${port}`, `${oneWayMs}`]
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { port: Number(line.toString()), stop: () => child.stdin.end() }
}

/** A folder of a server on this disk, with the files to get. */
async function diskFolder(): Promise<string> {
  const folder = temporaryFolder()
  await fs.link(join(near, 'file'), join(folder, 'file'))
  await fs.symlink(join(near, 'tree'), join(folder, 'tree'))
  return folder
}

await Promise.all([makeFiles(), buildPrograms()])
const sshd = await startSshd()
const [sshdFolder, ownFolder] = [await diskFolder(), await diskFolder()]
const own = await startFarSide(ownFolder)
const msb = 'sftp to msb ssh serve local:'.includes(values.ways)
  ? await startMsb('local:bench')
  : undefined
const servers: readonly Server[] = [
  { ...sshd, name: 'sshd', folder: sshdFolder, disk: sshdFolder },
  { ...own, name: 'ours', hostKey: own.hostKey.toString(), folder: ownFolder, disk: ownFolder },
  ...(msb ? [{ ...msb, name: 'msb', folder: '/tmp/bench', disk: undefined }] : []),
]
const [, , inSandbox] = servers
if (inSandbox !== undefined)
  await sftpProgram(inSandbox, [
    'mkdir /tmp/bench',
    'put file /tmp/bench/file',
    'put -R tree /tmp/bench',
  ])
process.stdout.write(
  `Node ${process.versions.node}, ${defaultCrypto().name} crypto, ${cpus().length} × ${cpus()[0]?.model.trim()}\n`,
)
for (const delay of values.delays.split(',')) await compareAll(servers, Number(delay))
own.stop()
await Promise.all([sshd.daemon.stop(), msb?.daemon.stop()])
