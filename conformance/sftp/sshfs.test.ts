// sshfs: our server mounted as a folder, where the kernel and this user may, for everything on the
// list.
// Time limit: 300 s

import { spawn } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { temporaryFolder } from '../peers/folder.ts'
import { OpenSsh } from '../peers/openssh.ts'
import { run } from '../peers/run.ts'
import { askFor, installed, type Subject } from './ask.ts'
import { startFarSide } from './far-side.ts'
import { checkMany, forbidden, mayChangeOwners, unicode } from './scene.ts'

/** Why it cannot be tried here, if so. A refusal by the kernel is one; by our server, a failure. */
async function findObstacle(): Promise<string | undefined> {
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
  } catch {
    return '/dev/fuse may not be opened'
  }
  const has = await installed({ sshfs: ['sshfs', '--version'], fusermount: ['fusermount3', '-V'] })
  if (!has.sshfs || !has.fusermount) return 'sshfs is not installed'
  const trial = await mount(temporaryFolder())
  if (typeof trial !== 'string') return void (await trial.stop())
  return /fuse|mount/i.test(trial) ? trial : undefined
}

interface Mount {
  /** The server's root. */
  readonly root: string
  readonly stop: () => Promise<void>
}

/** Mounts what our server shows, or says why it could not. */
async function mount(far: string): Promise<Mount | string> {
  const mounted = temporaryFolder()
  const server = await startFarSide(far)
  const { config } = new OpenSsh(server)
  const options = `ssh_command=ssh -F ${config},idmap=none,dir_cache=no,cache=no`
  // A mount must not outlive this program, however that ends: the end of the pipe says so.
  const script = 'sshfs -f "$1" "$2" -o "$3" & cat; fusermount3 -u -z "$2"; kill $!; wait'
  const child = spawn('sh', ['-c', script, 'sh', 'peer:/', mounted, options], {
    stdio: ['pipe', 'ignore', 'pipe'],
    // With a process group of its own it is not killed together with this program.
    detached: true,
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const stop = async (): Promise<void> => {
    child.stdin.end()
    await ended
    server.stop()
  }
  for (let left = 30_000; left > 0 && said === ''; left -= 20) {
    const mounts = await fs.readFile('/proc/mounts', 'utf8')
    if (mounts.includes(` ${mounted} fuse.sshfs `)) return { root: mounted, stop }
    // No event tells of it.
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await stop()
  return said.trim() || 'it neither mounted nor failed within 30 s'
}

/**
 * Runs a script in the folder `far`, as it is mounted, with the near one as $n, and gives what it printed. Never
 * through `fs`: our server lives in this process and needs the threads that would be waiting for it,
 * and the main thread itself waits for a child to enter its folder.
 */
async function within({ server, near, far }: Subject<Mount>, script: string): Promise<string> {
  const env = { n: near, LC_ALL: 'C' }
  const command = ['sh', '-ec', `cd ${server.root}${far}\n${script}`]
  const { code, stdout, stderr } = await run(command, { env, limitMs: 200_000 })
  assert.is(code, 0, stderr)
  return stdout.toString()
}

askFor<Mount>({
  area: 'Clients of our SFTP server',
  target: 'sshfs',
  obstacle: await findObstacle(),
  start: async ({ far }) => {
    const mounted = await mount(far)
    if (typeof mounted === 'string') throw new Error(mounted)
    return { server: mounted, stop: mounted.stop }
  },
  acts: {
    big: (subject) => within(subject, 'cp $n/big up; cat up > $n/down'),
    tree: (subject) => within(subject, 'cp -r $n/tree/. trees/tree; cp -r trees/tree $n/back/tree'),
    many: async (subject) => {
      // Where it is really: links the kernel would follow on this side.
      const many = await fs.realpath(join(subject.far, 'many'))
      checkMany(await within(subject, `ls ${subject.server.root}${many}`))
    },
    resume: (subject) =>
      within(
        subject,
        'tail -c +$(($(stat -c %s part) + 1)) $n/medium >> part\n' +
          'tail -c +$(($(stat -c %s $n/part) + 1)) medium >> $n/part',
      ),
    rename: (subject) => within(subject, 'mv new old'),
    symlink: async (subject) => {
      assert.is(await within(subject, 'ln -s file soft; cat soft'), 'a file')
    },
    hardLink: (subject) => within(subject, 'ln file hard'),
    mode: (subject) => within(subject, 'chmod 640 file'),
    owner: mayChangeOwners((subject: Subject<Mount>) => within(subject, 'chown 12345:54321 file')),
    times: (subject) => within(subject, 'cp -p $n/dated dated; cp -p dated $n/again'),
    room: async (subject) => {
      const { bsize, blocks } = await fs.statfs(subject.far)
      const told = await within(subject, "stat -f -c '%S %b' .")
      const [size = 0, count = 0] = told.trim().split(' ').map(Number)
      assert.is(size * count, bsize * blocks)
    },
    unicode: (subject) =>
      within(subject, `cp "$n/${unicode}" .; cp "${unicode}" "$n/${unicode} back"`),
    lines: (subject) => within(subject, 'cp lines/x* $n/lines'),
    bytes: (subject) => within(subject, 'cp bytes/x* $n/bytes'),
    empty: (subject) =>
      within(
        subject,
        'cp $n/empty $n/sparse .; cp empty $n/empty.back; cp sparse $n/sparse.back\n' +
          'truncate -s 1000 empty; test $(stat -c %s empty) = 1000; truncate -s 0 empty',
      ),
    errors: async (subject) => {
      const { root } = subject.server
      const commands = ['cat missing', `rm -f ${root}${forbidden}`, 'rmdir full']
      const script = commands.map((command) => `${command} 2>&1 || true`).join('\n')
      const said = await within(subject, `mkdir -p full/inner\n${script}`)
      assert.match(said, /missing: No such file or directory/)
      assert.match(said, /version': (Permission denied|Operation not permitted)/)
      assert.match(said, /failed to remove 'full'/)
    },
  },
})
