/** What a user may do with files, as we judge it and as the kernel does. */
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import * as promises from 'node:fs/promises'
import { join } from 'node:path'
import { asSftpError, nodeFileSystem, type SftpFileSystem } from '@sandbox-ssh/sftp'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { userFileSystem } from '../src/user-file-system.ts'
import { temporaryDirectory } from './memory-sandbox.ts'
import { within } from './within.ts'

const test = suite('files as a user may use them')

const UID = 65_533
const GROUP = 65_531
const OTHER_GROUP = 65_530

/** One thing to try, by its system call; the rest are paths or numbers. */
type Try = readonly [string, ...(string | number)[]]

if (process.getuid?.() !== 0) {
  test.skip('only root can ask the kernel about another user', () => {})
} else {
  test('the kernel agrees, in 1000 trees', () =>
    within(100_000, async () => {
      const random = seeded(20_261_124)
      const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T
      const base = temporaryDirectory()
      fs.chmodSync(base, 0o755)
      const rounds = Array.from({ length: 1000 }, (_, round) => {
        const seed = random(2 ** 31)
        const ours = makeTree(join(base, `ours-${round}`), seeded(seed))
        const theirs = makeTree(join(base, `theirs-${round}`), seeded(seed))
        return { ours, theirs, attempt: tryFor(pick) }
      })
      const verdicts: string[] = []
      for (const { ours, attempt } of rounds) verdicts.push(await judge(ours, attempt))
      const kernel = askKernel(rounds.map(({ theirs, attempt }) => [theirs, ...attempt]))
      const outcomes = new Set<string>()
      let otherReasons = 0
      for (const [round, { theirs, attempt }] of rounds.entries()) {
        const what = `${attempt.join(' ')}: ${verdicts[round]} for ${kernel[round]} in\n`
        // Of several reasons to refuse the kernel may have another one first.
        const agrees = (verdicts[round] === 'ok') === (kernel[round] === 'ok')
        assert.ok(agrees, agrees ? '' : what + describe(theirs))
        if (verdicts[round] !== kernel[round]) otherReasons++
        outcomes.add(`${attempt[0]} ${kernel[round]}`)
      }
      assert.ok(otherReasons < 10, `${otherReasons} other reasons`)
      // Chance has to have brought a good part of what can happen.
      assert.ok(outcomes.size > 50, [...outcomes].sort().join('\n'))
    }))
}

test.run()

function tryFor(pick: <T>(list: readonly T[]) => T): Try {
  const path = (): string =>
    pick(['a', 'a/f', 'a/l', 'b', 'b/f', 'b/d', 'b/d/f', 'up', 'up/f', 'new', 'a/new', 'b/d/new'])
  const call = pick([
    'read',
    'write',
    'create',
    'readdir',
    'stat',
    'lstat',
    'chmod',
    'utimes',
    'truncate',
    'chgrp',
    'mkdir',
    'rmdir',
    'unlink',
    'rename',
    'rename',
    'symlink',
    'readlink',
    'link',
  ])
  if (call === 'rename' || call === 'link') return [call, path(), path()]
  if (call === 'chgrp') return [call, path(), pick([UID, GROUP, OTHER_GROUP])]
  return [call, path()]
}

/** Two directories with files, links between them, owners and modes at random. */
function makeTree(root: string, random: (below: number) => number): string {
  fs.mkdirSync(join(root, 'a'), { recursive: true })
  fs.mkdirSync(join(root, 'b/d'), { recursive: true })
  for (const file of ['a/f', 'b/f', 'b/d/f']) fs.writeFileSync(join(root, file), 'text')
  fs.symlinkSync('../b/d/f', join(root, 'a/l'))
  fs.symlinkSync('b/d', join(root, 'up'))
  const modes = [
    0o700, 0o755, 0o750, 0o711, 0o770, 0o777, 0o1777, 0o660, 0o644, 0o600, 0o444, 0o007,
  ]
  for (const path of ['a/f', 'a/l', 'b/f', 'b/d/f', 'b/d', 'b', 'a', 'up', '.']) {
    const uid = [0, UID, UID, 65_532][random(4)] ?? 0
    const gid = [0, UID, GROUP, OTHER_GROUP][random(4)] ?? 0
    fs.lchownSync(join(root, path), uid, gid)
    const link = path === 'a/l' || path === 'up'
    if (!link) fs.chmodSync(join(root, path), modes[random(modes.length)] ?? 0o755)
  }
  // Everybody may get this far, or nothing else would ever be asked.
  if (random(4) > 0) fs.chmodSync(root, 0o777)
  return root
}

/** The errno with which ours refuses, or `ok`. */
async function judge(root: string, [call, first, second]: Try): Promise<string> {
  const user = { uid: UID, gid: UID, groups: new Set([UID, GROUP]) }
  const files = userFileSystem(nodeFileSystem(promises), user, root)
  const path = String(first)
  try {
    await act(files, call, path, second ?? '')
    return 'ok'
  } catch (error) {
    const known = asSftpError(error)
    if (known?.errno === undefined) throw error
    return known.errno
  }
}

async function act(
  files: SftpFileSystem,
  call: string,
  path: string,
  second: string | number,
): Promise<unknown> {
  switch (call) {
    case 'read':
      return (await files.open(path, { read: true })).close()
    case 'write':
      return (await files.open(path, { write: true })).close()
    case 'create':
      return (await files.open(path, { write: true, create: true })).close()
    case 'readdir':
      return (await files.opendir(path)).close()
    case 'stat':
      return files.stat(path)
    case 'lstat':
      return files.lstat(path)
    case 'chmod':
      return files.setstat(path, { mode: 0o640 })
    case 'utimes':
      return files.setstat(path, { atime: 1, mtime: 1 })
    case 'truncate':
      return files.setstat(path, { size: 1 })
    case 'chgrp':
      return files.setstat(path, { uid: UID, gid: Number(second) })
    case 'mkdir':
      return files.mkdir(path)
    case 'rmdir':
      return files.rmdir(path)
    case 'unlink':
      return files.remove(path)
    case 'rename':
      return files.posixRename?.(path, String(second))
    case 'symlink':
      return files.symlink('target', path)
    case 'readlink':
      return files.readlink(path)
    default:
      return files.hardlink?.(path, String(second))
  }
}

/** What the kernel says to that user, by trying: each in its tree, all in one process. */
function askKernel(attempts: readonly (readonly (string | number)[])[]): readonly string[] {
  const script = `
    const fs = require('fs')
    const { join } = require('path')
    const { O_WRONLY, O_CREAT } = fs.constants
    const attempts = JSON.parse(fs.readFileSync(0, 'utf8'))
    process.setgroups([${UID}, ${GROUP}])
    process.setgid(${UID})
    process.setuid(${UID})
    const calls = {
      read: (path) => fs.closeSync(fs.openSync(path, 'r')),
      write: (path) => fs.closeSync(fs.openSync(path, O_WRONLY)),
      create: (path) => fs.closeSync(fs.openSync(path, O_WRONLY | O_CREAT)),
      readdir: (path) => fs.readdirSync(path),
      stat: (path) => fs.statSync(path),
      lstat: (path) => fs.lstatSync(path),
      chmod: (path) => fs.chmodSync(path, 0o640),
      utimes: (path) => fs.utimesSync(path, 1, 1),
      truncate: (path) => fs.truncateSync(path, 1),
      chgrp: (path, gid) => fs.chownSync(path, ${UID}, gid),
      mkdir: (path) => fs.mkdirSync(path),
      rmdir: (path) => fs.rmdirSync(path),
      unlink: (path) => fs.unlinkSync(path),
      rename: (path, to) => fs.renameSync(path, to),
      symlink: (path) => fs.symlinkSync('target', path),
      readlink: (path) => fs.readlinkSync(path),
      link: (path, to) => fs.linkSync(path, to),
    }
    console.log(JSON.stringify(attempts.map(([root, call, path, second]) => {
      const to = typeof second === 'string' ? join(root, second) : second
      try { calls[call](join(root, path), to); return 'ok' } catch (error) { return error.code }
    })))
  `
  const options = { input: JSON.stringify(attempts), encoding: 'utf8' } as const
  return JSON.parse(execFileSync(process.execPath, ['-e', script], options))
}

function describe(root: string): string {
  return execFileSync('ls', ['-lanR', root], { encoding: 'utf8' })
}

/** A small generator with a seed, so that a failure can be had again. */
function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
