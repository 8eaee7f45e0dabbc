// Filesystem requests recorded from the real agent, replayed against our guest on a copy of the
// recorded tree: every answer is the same, texts and error numbers included.
// Also on: bun

import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { guestAgent } from '../../src/guest/agent.ts'
import { type Line, lines } from '../recorded.ts'
import { mapStrings, RawClient, type Rewrite, replay, type Word } from './replay.ts'

const RECORDED = '/tmp/g'
const isRoot = process.getuid?.() === 0

/** Cases that need what only the recorded guest had. */
const LEFT_OUT = new Map([
  ['list-relative-path', 'lists the namespaces of a kernel'],
  ['handle-of-another-client', 'has a second client; tested with the relay'],
  ['read-5MB', 'its answers were too long to be recorded'],
  ...(isRoot ? [] : [['setstat-owner', 'needs root'] as const]),
  ...(existsSync('/sys/kernel/uevent_seqnum') ? [] : [['open-EACCES', 'needs sysfs'] as const]),
])

function makeTree(root: string): void {
  const fs = join(root, 'fs')
  mkdirSync(join(fs, 'dir/sub'), { recursive: true })
  for (const name of ['uni-é', 'with space', 'a', 'b']) writeFileSync(join(fs, 'dir', name), '')
  writeFileSync(Buffer.concat([Buffer.from(`${fs}/dir/bad-`), Buffer.from([0xff])]), 'x')
  chmodSync(join(fs, 'dir/a'), 0o4755)
  writeFileSync(join(fs, 'file'), '0123456789', { mode: 0o644 })
  utimesSync(join(fs, 'file'), 1_000_000_000, 1_000_000_000)
  symlinkSync('file', join(fs, 'link'))
  symlinkSync('nowhere', join(fs, 'dangling'))
  symlinkSync('loop', join(fs, 'loop'))
  execFileSync('mkfifo', ['-m', '644', join(fs, 'fifo')])
  mkdirSync(join(fs, 'full'))
  for (let index = 0; index < 300; index++) writeFileSync(join(fs, 'full', `f${index}`), '')
}

/** Owners are ours, times are now, directory sizes are the filesystem's. */
function masked(words: readonly Word[], root: string): unknown[] {
  const entry = (value: Record<string, unknown>): Record<string, unknown> => {
    const time = (each: unknown) => (Number(each) > 1_700_000_000 ? 'now' : each)
    const owner = (each: unknown) => (isRoot && Number(each) >= 1000 ? each : 'own')
    return {
      ...value,
      path: String(value['path']).replace(root, RECORDED),
      size: value['kind'] === 'dir' ? 'any' : value['size'],
      uid: value['path'] === `${root}/fs/file` ? owner(value['uid']) : 'own',
      gid: 'own',
      atime: time(value['atime']),
      mtime: time(value['mtime']),
      modified: time(value['modified']),
    }
  }
  return words.map(({ id, flags, type, payload }) => {
    const { data } = payload as { data?: unknown }
    if (type === 'core.fs.data') {
      const text = Buffer.from(data as Uint8Array).toString()
      // What a kernel says of itself is its own.
      return { id, flags, type, text: text.replace(/^Linux version .*/s, 'Linux version') }
    }
    const { ok, error } = payload as { ok?: boolean; error?: string }
    const { Stat, List, Path } = (data ?? {}) as Record<string, unknown>
    const rest =
      Stat !== undefined
        ? { Stat: entry(Stat as Record<string, unknown>) }
        : Array.isArray(List)
          ? { List: List.map(entry) }
          : Path !== undefined
            ? { Path: String(Path).replace(root, RECORDED) }
            : data
    return { id, flags, type, ok, error, data: rest }
  })
}

/** Directory order is the filesystem's: what a paged listing gives in all is compared. */
function withListingsSorted(words: readonly unknown[]): unknown[] {
  const all: { path: string }[] = []
  const counts = words.map((word) => {
    const list = (word as { data?: { List?: { path: string }[] } }).data?.List
    if (list === undefined) return word
    all.push(...list)
    return { ...(word as object), data: list.length }
  })
  return [...counts, all.sort((a, b) => (a.path < b.path ? -1 : 1))]
}

function groupsOfCases(): Map<string, Line[]> {
  const cases = new Map<string, Line[]>()
  for (const line of lines) {
    if (!line.group.startsWith('fs')) continue
    const key = `${line.group}/${line.case}`
    cases.set(key, [...(cases.get(key) ?? []), line])
  }
  return cases
}

test('the recorded filesystem cases have the same answers', async () => {
  const root = mkdtempSync(join(tmpdir(), 'guest-fs-'))
  const umask = process.umask(0o022)
  try {
    makeTree(root)
    const client = await RawClient.connect(guestAgent({ features: [] }))
    const inward: Rewrite = (value) => mapStrings(value, (text) => text.replace(RECORDED, root))
    let compared = 0
    for (const [key, caseLines] of groupsOfCases()) {
      const [group = '', name = ''] = key.split('/')
      if (key === 'fs-handle/read-ranges') writeFileSync(join(root, 'fs/ten'), '0123456789')
      if (name === 'setstat-symlink-nofollow-times') lutimesSync(join(root, 'fs/link'), 1, 1)
      if (LEFT_OUT.has(name)) continue
      const { expected, actual } = await replay(client, caseLines, inward)
      if (name === 'readdir-default-limit-300-entries') {
        const sizes = actual.flatMap(({ payload }) => {
          const list = (payload as { data?: { List?: unknown[] } | null }).data?.List
          return list === undefined ? [] : [list.length]
        })
        const note = caseLines.find(({ dir }) => dir === 'note')?.note
        assert.is(`batch sizes ${sizes}`, note)
        compared++
        continue
      }
      const [want, got] = [masked(expected, RECORDED), masked(actual, root)]
      if (group === 'fs-dir' || name.startsWith('list')) {
        const partial = /readdir-limit-0/.test(name)
        // Which single entry comes first is the filesystem's matter.
        if (!partial) assert.equal(withListingsSorted(got), withListingsSorted(want), key)
        else assert.is(JSON.stringify(got).split('"path"').length, 2, key)
      } else {
        assert.equal(got, want, key)
      }
      compared++
    }
    assert.ok(compared > 110, `only ${compared} cases compared`)
    client.leave()
  } finally {
    process.umask(umask)
    rmSync(root, { recursive: true, force: true })
  }
})

test.run()
