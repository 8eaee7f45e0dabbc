// The files that clients copy, and what must be true afterwards: the same for every client, so that
// what they are asked differs only in their languages.

import { existsSync } from 'node:fs'
import * as fs from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { run } from '../peers/run.ts'

const MiB = 2 ** 20

/** Tests that nobody waits for have the full sizes; a tenth does to see whether a change works. */
const isFull = process.env['CI'] !== undefined || process.env['CONFORMANCE_RESULTS'] !== undefined
const bigMiB = isFull ? 100 : 10
const entriesOfMany = isFull ? 10_000 : 1000
const filesOfTree = isFull ? 2000 : 200

/** Seconds that no clock shows by accident. */
export const modified = 1_500_000_000

/** Where one client works. Names in `far` are what relative paths on the server mean. */
export interface Scene {
  /** What the server shows. */
  readonly far: string
  /** The client's own folder. */
  readonly near: string
}

/** Data too large to make for each client. */
interface Common {
  readonly big: string
  readonly bigHash: string
  readonly medium: Buffer
  /** A folder of many small files in 20 folders. */
  readonly tree: string
  /** A folder with a great many entries. */
  readonly many: string
}

let making: Promise<Common> | undefined

function common(): Promise<Common> {
  making ??= make()
  return making
}

async function make(): Promise<Common> {
  const folder = temporaryFolder()
  const [big, tree, many] = [join(folder, 'big'), join(folder, 'tree'), join(folder, 'many')]
  const contents = bytes(bigMiB * MiB)
  await fs.writeFile(big, contents)
  for (let i = 0; i < filesOfTree; i++) {
    const inner = join(tree, String(i % 20))
    await fs.mkdir(inner, { recursive: true })
    await fs.writeFile(join(inner, `file ${i}`), `contents of ${i}\n`.repeat(i % 40))
  }
  await fs.mkdir(many)
  for (let i = 0; i < entriesOfMany; i++) await fs.writeFile(join(many, `entry-${i}`), '')
  return { big, bigHash: sha256(contents), medium: bytes(3 * MiB + 11), tree, many }
}

export async function startScene(): Promise<Scene> {
  const { big, tree, many } = await common()
  const [far, near] = [temporaryFolder(), temporaryFolder()]
  // Links instead of copies: a client that wrote to them would be found out by the next one.
  await fs.link(big, join(near, 'big'))
  await fs.symlink(tree, join(near, 'tree'))
  await fs.symlink(many, join(far, 'many'))
  return { far, near }
}

/** Copies are only looked at once; a disk may be small. */
async function takeHash(path: string): Promise<string> {
  const hash = sha256(await fs.readFile(path))
  await fs.rm(path)
  return hash
}

async function checkBig({ far, near }: Scene): Promise<void> {
  const { bigHash } = await common()
  assert.is(await takeHash(join(near, 'down')), bigHash)
  assert.is(await takeHash(join(far, 'up')), bigHash)
}

async function prepareTree({ far, near }: Scene): Promise<void> {
  await fs.mkdir(join(far, 'trees'), { recursive: true })
  await fs.mkdir(join(near, 'back'), { recursive: true })
}

async function checkTree({ far, near }: Scene): Promise<void> {
  const { tree } = await common()
  for (const copy of [join(far, 'trees/tree'), join(near, 'back/tree')]) {
    const { code, stdout } = await run(['diff', '-r', tree, copy])
    assert.is(code, 0, stdout.toString().slice(0, 500))
    await fs.rm(copy, { recursive: true })
  }
}

/** A client's listing of `many`, one name a line, or as names. */
export function checkMany(listing: string | readonly string[]): void {
  const names = typeof listing === 'string' ? listing.split(/\s+/) : listing
  const found = new Set(names.map((name) => basename(name)).filter((name) => /^entry-/.test(name)))
  assert.is(found.size, entriesOfMany)
}

/** A pattern for some of `many`, for clients that list only to copy; and what must have come. */
export const fewOfMany = 'entry-99*'

export async function checkFew(folder: string): Promise<void> {
  const all = Array.from({ length: entriesOfMany }, (_, index) => `entry-${index}`)
  assert.equal(
    (await fs.readdir(folder)).sort(),
    all.filter((name) => name.startsWith('entry-99')).sort(),
  )
}

/**
 * The first MiB of `near/medium` is at `far/part`, of `far/medium` at `near/part`: each with its
 * first byte changed, by which one sees that the rest was added and not everything copied again.
 */
async function prepareParts({ far, near }: Scene): Promise<void> {
  const { medium } = await common()
  const part = Buffer.from(medium.subarray(0, MiB))
  part[0] = medium[0]! ^ 0xff
  for (const side of [far, near]) {
    await fs.writeFile(join(side, 'medium'), medium)
    await fs.writeFile(join(side, 'part'), part)
  }
}

async function checkParts({ far, near }: Scene): Promise<void> {
  const { medium } = await common()
  const expected = Buffer.from(medium)
  expected[0] = medium[0]! ^ 0xff
  for (const side of [far, near]) {
    assert.ok((await fs.readFile(join(side, 'part'))).equals(expected), `resumed in ${side}`)
  }
}

async function prepareRename({ far }: Scene): Promise<void> {
  await fs.writeFile(join(far, 'new'), 'the new one')
  await fs.writeFile(join(far, 'old'), 'old')
}

/** Nothing happened to either: a client that knows RENAME alone cannot overwrite by it. */
export async function checkNotRenamed({ far }: Scene): Promise<void> {
  assert.is(await fs.readFile(join(far, 'old'), 'utf8'), 'old')
  assert.is(await fs.readFile(join(far, 'new'), 'utf8'), 'the new one')
}

async function checkRename({ far }: Scene): Promise<void> {
  assert.is(await fs.readFile(join(far, 'old'), 'utf8'), 'the new one')
  assert.not.ok(existsSync(join(far, 'new')))
}

async function prepareFile({ far }: Scene): Promise<void> {
  await fs.writeFile(join(far, 'file'), 'a file', { mode: 0o644 })
}

async function checkSymlink({ far }: Scene): Promise<void> {
  assert.is(basename(await fs.readlink(join(far, 'soft'))), 'file')
}

async function checkHardLink({ far }: Scene): Promise<void> {
  const [file, hard] = [await fs.stat(join(far, 'file')), await fs.stat(join(far, 'hard'))]
  assert.is(hard.ino, file.ino)
}

async function checkMode({ far }: Scene): Promise<void> {
  assert.is((await fs.stat(join(far, 'file'))).mode & 0o7777, 0o640)
}

async function checkOwner({ far }: Scene): Promise<void> {
  const { uid, gid } = await fs.stat(join(far, 'file'))
  assert.equal([uid, gid], [12_345, 54_321])
}

/** Only root may give files away. */
export function mayChangeOwners<Act>(act: Act): Act | string {
  return process.getuid?.() === 0 ? act : 'only root may give files away'
}

/** The paths of all files below a folder, relative to it. */
export async function filesOf(folder: string): Promise<readonly string[]> {
  const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
}

async function prepareTimes({ near }: Scene): Promise<void> {
  await fs.writeFile(join(near, 'dated'), 'dated')
  await fs.utimes(join(near, 'dated'), modified, modified)
}

async function checkTimes({ far, near }: Scene): Promise<void> {
  for (const path of [join(far, 'dated'), join(near, 'again')])
    assert.is((await fs.stat(path)).mtimeMs, modified * 1000, path)
}

/** A name of several scripts, with a space. */
export const unicode = 'ü 日本 🙂'

async function prepareUnicode({ near }: Scene): Promise<void> {
  await fs.writeFile(join(near, unicode), 'unicode')
}

async function checkUnicode({ far, near }: Scene): Promise<void> {
  assert.is(await fs.readFile(join(far, unicode), 'utf8'), 'unicode')
  assert.is(await fs.readFile(join(near, `${unicode} back`), 'utf8'), 'unicode')
}

/** A name of two lines. */
export const lineName: Buffer = Buffer.from('x\nline')
/** A name of bytes that are no text. */
export const bytesName: Buffer = Buffer.from([0x78, 0xff, 0xc3, 0x28])

/** A path of a name that is no text. */
export function bytePath(folder: string, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`), name])
}

/** The one file `far/FOLDER/x…`, whose contents are its name. */
function odd(name: Buffer, folder: string): Pick<Required<Feature>, 'prepare' | 'check'> {
  return {
    async prepare({ far, near }) {
      await fs.mkdir(join(far, folder), { recursive: true })
      await fs.mkdir(join(near, folder), { recursive: true })
      await fs.writeFile(bytePath(join(far, folder), name), name)
    },
    async check({ near }) {
      assert.equal(await fs.readFile(bytePath(join(near, folder), name)), name)
    },
  }
}

const sparseBytes = 5_000_000

async function prepareEmpty({ near }: Scene): Promise<void> {
  await fs.writeFile(join(near, 'empty'), '')
  await fs.writeFile(join(near, 'sparse'), '')
  await fs.truncate(join(near, 'sparse'), sparseBytes)
}

async function checkEmpty({ far, near }: Scene): Promise<void> {
  for (const [side, suffix] of [
    [far, ''],
    [near, '.back'],
  ] as const) {
    assert.is((await fs.stat(join(side, `empty${suffix}`))).size, 0)
    assert.ok((await fs.readFile(join(side, `sparse${suffix}`))).equals(Buffer.alloc(sparseBytes)))
  }
}

/** What not even root can remove. */
export const forbidden = '/proc/version'

function thousands(count: number): string {
  return count.toLocaleString('en')
}

/** One thing that a client is asked to do. */
export interface Feature {
  /** A sentence. */
  readonly name: string
  /** Lays out what it needs. */
  readonly prepare?: (scene: Scene) => Promise<void>
  /** Looks whether it was done. */
  readonly check?: (scene: Scene) => Promise<void>
}

/** Everything clients are asked for; the comments say what each of them does with which names. */
export const features = {
  /** Puts `near/big` as `far/up`, and gets that as `near/down`. */
  big: { name: `${bigMiB} MiB go there and back with equal hashes`, check: checkBig },
  /** Puts `near/tree/` as `far/trees/tree`, and gets that as `near/back/tree`. */
  tree: {
    name: `a tree of ${thousands(filesOfTree)} small files goes there and back`,
    prepare: prepareTree,
    check: checkTree,
  },
  /** Lists `far/many`, and calls `checkMany`. */
  many: { name: `a directory of ${thousands(entriesOfMany)} entries is listed whole` },
  /** Completes `far/part` from `near/medium`, and `near/part` from `far/medium`. */
  resume: {
    name: 'copies that were cut off are resumed, both ways',
    prepare: prepareParts,
    check: checkParts,
  },
  /** Renames `new` to `old`, which is there. */
  rename: { name: 'a file is renamed onto another', prepare: prepareRename, check: checkRename },
  /** Makes the symbolic link `soft` to `file`. */
  symlink: { name: 'a symbolic link is made', prepare: prepareFile, check: checkSymlink },
  /** Makes `hard` another name of `file`. */
  hardLink: { name: 'a hard link is made', prepare: prepareFile, check: checkHardLink },
  /** Gives `file` the mode 0640. */
  mode: { name: 'modes are changed', prepare: prepareFile, check: checkMode },
  /** Gives `file` to 12345:54321. */
  owner: { name: 'owners are changed', prepare: prepareFile, check: checkOwner },
  /** Puts `near/dated` as `far/dated`, and gets that as `near/again`, with its time. */
  times: { name: 'times are kept', prepare: prepareTimes, check: checkTimes },
  /** Looks at the size of the file system. */
  room: { name: 'the size of the file system is told' },
  /** Puts `near/<unicode>` under the same name, and gets that with ` back` at its end. */
  unicode: { name: 'names are Unicode', prepare: prepareUnicode, check: checkUnicode },
  /** Gets the file in `far/lines`, called `lineName`, into `near/lines`. */
  lines: { name: 'a name has two lines', ...odd(lineName, 'lines') },
  /** Gets the file in `far/bytes`, called `bytesName`, into `near/bytes`. */
  bytes: { name: 'a name is not UTF-8', ...odd(bytesName, 'bytes') },
  /** Puts `near/empty` and `near/sparse`, and gets them with `.back` at the end. */
  empty: { name: 'files are empty or sparse', prepare: prepareEmpty, check: checkEmpty },
  /** Gets `missing`, and removes `forbidden`; both must fail with a reason. */
  errors: { name: 'a missing file and one that may not be removed are errors' },
} as const satisfies Readonly<Record<string, Feature>>
