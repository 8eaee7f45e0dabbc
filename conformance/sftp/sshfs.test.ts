// sshfs: our server mounted as a folder, where the kernel and this user may.
// Time limit: 300 s

import { spawn } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { OpenSsh } from '../peers/openssh.ts'
import { run } from '../peers/run.ts'
import { installed } from './ask.ts'
import { startFarSide } from './far-side.ts'

/** Why it cannot be tried here, if so. */
async function obstacle(): Promise<string | undefined> {
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse'
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
  } catch {
    return '/dev/fuse may not be opened'
  }
  const has = await installed({ sshfs: ['sshfs', '--version'], fusermount: ['fusermount3', '-V'] })
  return has.sshfs && has.fusermount ? undefined : 'sshfs is not installed'
}

interface Mount {
  readonly far: string
  /** `far` through sshfs. */
  readonly mounted: string
  readonly dispose: () => Promise<void>
}

/** Mounts a folder, or says why the kernel refuses. */
async function mount(): Promise<Mount | string> {
  const [far, mounted] = [temporaryFolder(), temporaryFolder()]
  const server = await startFarSide(far)
  const { config } = new OpenSsh(server)
  const options = `ssh_command=ssh -F ${config},idmap=none,dir_cache=no,cache=no`
  // A mount must not outlive this program, however that ends: the end of the pipe says so.
  const script = 'sshfs -f "$1" "$2" -o "$3" & cat; fusermount3 -u -z "$2"; kill $!; wait'
  const child = spawn('sh', ['-c', script, 'sh', `peer:${far}`, mounted, options], {
    stdio: ['pipe', 'ignore', 'pipe'],
    // With a process group of its own it is not killed together with this program.
    detached: true,
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const dispose = async (): Promise<void> => {
    child.stdin.end()
    await ended
    server.stop()
  }
  for (let left = 30_000; left > 0 && said === ''; left -= 20) {
    const mounts = await fs.readFile('/proc/mounts', 'utf8')
    if (mounts.includes(` ${mounted} fuse.sshfs `)) return { far, mounted, dispose }
    // No event tells of it.
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await dispose()
  return said.trim() || 'it neither mounted nor failed within 30 s'
}

/**
 * Runs a script in the mounted folder, and gives what it printed. Never through `fs`: our server
 * lives in this process and needs the threads that would be waiting for it, and the main thread
 * itself waits for a child to enter its folder.
 */
async function within(mounted: string, script: string): Promise<string> {
  const { code, stdout, stderr } = await run(['sh', '-ec', `cd ${mounted}\n${script}`])
  assert.is(code, 0, stderr)
  return stdout.toString()
}

const reason = await obstacle()
const subject = reason ?? (await mount())

if (typeof subject === 'string') {
  // A refusal by the kernel is a reason to skip; one by our server is a failure.
  const isOurs = reason === undefined && !/fuse|mount/i.test(subject)
  if (isOurs) test('sshfs mounts our server', () => assert.unreachable(subject))
  else test.skip(`sshfs cannot be tried: ${subject}`, () => {})
} else {
  const { far, mounted, dispose } = subject
  test.after(dispose)

  test('sshfs brings 20 MiB there and back with equal hashes', async () => {
    const data = bytes(20 * 2 ** 20)
    const near = temporaryFolder()
    await fs.writeFile(join(near, 'big'), data)
    await within(mounted, `cp ${near}/big big; cp ${far}/big other; cat other > ${near}/back`)
    assert.is(sha256(await fs.readFile(join(far, 'big'))), sha256(data))
    assert.is(sha256(await fs.readFile(join(near, 'back'))), sha256(data))
  })

  test('sshfs copies a tree of 200 files both ways', async () => {
    const near = temporaryFolder()
    for (let i = 0; i < 200; i++) {
      await fs.mkdir(join(near, 'tree', String(i % 5)), { recursive: true })
      await fs.writeFile(join(near, 'tree', String(i % 5), `file ${i}`), `contents ${i}`)
    }
    await within(mounted, `cp -a ${near}/tree tree; diff -r ${near}/tree tree`)
    assert.is((await run(['diff', '-r', join(near, 'tree'), join(far, 'tree')])).code, 0)
    await within(mounted, 'rm -r tree')
    assert.not.ok(existsSync(join(far, 'tree')))
  })

  test('sshfs renames onto what is there, links, and changes modes, times and sizes', async () => {
    const script = [
      'echo the first > a',
      'echo b > b',
      'mv a b',
      'ln -s b soft',
      'cat soft',
      'ln b hard',
      'chmod 640 b',
      'truncate -s 5000 b',
      'touch -d @2000 b',
    ]
    assert.is(await within(mounted, script.join('\n')), 'the first\n')
    assert.is(await fs.readlink(join(far, 'soft')), 'b')
    const { mode, nlink, size, mtimeMs } = await fs.stat(join(far, 'b'))
    assert.equal([mode & 0o777, nlink, size, mtimeMs], [0o640, 2, 5000, 2_000_000])
    assert.not.ok(existsSync(join(far, 'a')))
  })

  test('sshfs lists 10,000 names, and names that are Unicode, lines, or not UTF-8', async () => {
    await fs.mkdir(join(far, 'many'))
    await fs.mkdir(join(far, 'odd'))
    for (let i = 0; i < 10_000; i++) await fs.writeFile(join(far, 'many', `entry-${i}`), '')
    assert.is((await within(mounted, 'ls many | wc -l')).trim(), '10000')
    const names = [Buffer.from('ü 日本'), Buffer.from('x\ny'), Buffer.from([0xff, 0xc3])]
    const paths = names.map((name) => Buffer.concat([Buffer.from(`${far}/odd/`), name]))
    for (const path of paths) await fs.writeFile(path, 'odd')
    assert.is(await within(mounted, 'cat odd/*; cp -r odd odder'), 'oddoddodd')
    assert.equal(
      await fs.readdir(join(far, 'odder'), { encoding: 'buffer' }).then((found) => found.sort()),
      names.sort(Buffer.compare),
    )
  })

  test('sshfs tells the size of the file system, and what is missing or occupied', async () => {
    const { bsize, blocks } = await fs.statfs(far)
    const told = (await within(mounted, "stat -f -c '%S %b' .")).trim().split(' ').map(Number)
    assert.is((told[0] ?? 0) * (told[1] ?? 0), bsize * blocks)
    const script = 'mkdir -p full/inner; cat missing 2>&1 || true; rmdir full 2>&1 || true'
    const said = await within(mounted, `export LC_ALL=C\n${script}`)
    assert.match(said, /missing: No such file or directory/)
    assert.match(said, /failed to remove 'full'/)
  })
}

test.run()
