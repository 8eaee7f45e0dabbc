// Core, exec and TCP requests recorded from the real agent, replayed against our guest.
// Also on: bun

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type GuestAgentOptions, guestAgent } from '../../src/guest/agent.ts'
import { type Line, lines } from '../recorded.ts'
import { mapStrings, plain, RawClient, type Rewrite, replay, type Word } from './replay.ts'

const isRoot = process.getuid?.() === 0

/** The recorded guest's own environment. */
const recordedGuest: GuestAgentOptions = {
  features: [],
  env: { PWD: '/', SHLVL: '1', TERM: 'linux' },
  pathPrefix: '/.msb/scripts',
}

/** Cases that depend on the recorded guest, with the reason. */
const LEFT_OUT = new Map([
  ['uname', 'names the kernel'],
  ['user-name', 'has a user dev'],
  ['user-uid', 'has a user dev'],
  ['user-uid-gid', 'has a user dev'],
  ['no-controlling-terminal-own-session', 'lists inode numbers; tested by itself'],
  ['argument-too-long', 'its request was too long to be recorded; tested by itself'],
  ['argument-too-long-tty', 'its request was too long to be recorded; tested by itself'],
  ['rlimit-soft-above-hard-tty', 'we say why at once; tested by itself'],
  ['background-child-after-leader-exit', 'we hang up a silent terminal; tested by itself'],
  ['stdout-20kB-pipe', 'its answers were too long to be recorded'],
  ['bash-interactive', 'has the prompt of the recorded shell'],
  ['TERM-trapped', 'the shell may be in a child that the signal hits too; tested by itself'],
  ['unreachable', 'depends on routes'],
  ['unresolvable', 'depends on a resolver'],
  ...(isRoot ? [] : [['user-uid-unknown', 'needs root'] as const]),
  ...(isRoot ? [] : [['unknown-group', 'needs root'] as const]),
])

/** Texts that the machine decides. */
function maskText(name: string, text: string): string {
  switch (name) {
    case 'size-and-name':
      return (
        text
          .replace(/\/dev\/pts\/\d+/, 'TTY')
          .replace(/(PID +PGID +SID +TPGID TT).*$/s, '$1')
          // Newer line disciplines and stty may know more flags.
          .replace(/ -?(imaxbel|iutf8|extproc)/g, '')
      )
    case 'environment':
      return `${text.trimEnd().split('\n').sort().join('\n')}\n`.replace(/HOME=.*/, 'HOME=')
    default:
      return text
  }
}

function masked(name: string, words: readonly Word[]): unknown[] {
  const result = words.map(({ id, flags, type, payload }) => {
    const value = plain(payload) as Record<string, unknown>
    if (value['data'] instanceof Uint8Array) {
      return {
        id,
        flags,
        type,
        text: maskText(name, Buffer.from(value['data']).toString('latin1')),
      }
    }
    if (type === 'core.exec.started') return { id, flags, type }
    if (type === 'core.touched') return { id, flags, type }
    return { id, flags, type, ...value }
  })
  // stdout and stderr are ordered each by itself.
  if (name !== 'stdout-stderr-exit-code') return result
  return result.sort((a, b) => (a.type < b.type ? -1 : 1))
}

function casesOf(...groups: string[]): [string, string, Line[]][] {
  const cases = new Map<string, Line[]>()
  for (const line of lines) {
    if (!groups.includes(line.group)) continue
    const key = `${line.group}/${line.case}`
    cases.set(key, [...(cases.get(key) ?? []), line])
  }
  return [...cases].map(([key, caseLines]) => [key, key.split('/')[1] ?? '', caseLines])
}

async function compare(client: RawClient, groups: string[], inward: Rewrite): Promise<number> {
  let compared = 0
  for (const [key, name, caseLines] of casesOf(...groups)) {
    if (LEFT_OUT.has(name)) continue
    const { expected, actual } = await replay(client, caseLines, inward)
    assert.equal(masked(name, actual), masked(name, expected), key)
    compared++
  }
  return compared
}

test('the recorded core cases have the same answers', async () => {
  const client = await RawClient.connect(guestAgent(recordedGuest))
  assert.is(await compare(client, ['core'], (value) => value), 9)
  client.leave()
})

test('the recorded programs start, fail, speak and end in the same way', async () => {
  const root = mkdtempSync(join(tmpdir(), 'guest-exec-'))
  try {
    mkdirSync(join(root, 'g'))
    writeFileSync(join(root, 'g/notexec'), '#!/bin/sh\n', { mode: 0o644 })
    writeFileSync(join(root, 'g/badinterp'), '#!/no/such/interpreter\n')
    writeFileSync(join(root, 'g/noexec-format'), 'neither a script nor a program\n')
    for (const name of ['badinterp', 'noexec-format']) chmodSync(join(root, 'g', name), 0o755)
    const outward = join(root, 'g')
    const client = await RawClient.connect(guestAgent(recordedGuest))
    const inward: Rewrite = (value) => mapStrings(value, (text) => text.replace('/tmp/g', outward))
    const groups = ['exec', 'exec-stdin', 'exec-tty', 'exec-failed', 'exec-signal', 'exec-chunks']
    let compared = 0
    for (const [key, name, caseLines] of casesOf(...groups)) {
      if (LEFT_OUT.has(name)) continue
      const { expected, actual } = await replay(client, caseLines, inward)
      const back = actual.map((word) => ({
        ...word,
        payload: mapStrings(word.payload, (text) => text.replace(outward, '/tmp/g')),
      }))
      assert.equal(masked(name, back), masked(name, expected), key)
      compared++
    }
    assert.ok(compared > 55, `only ${compared} cases compared`)
    client.leave()
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
})

/** What listened in the recorded guest, by its port there. */
const SERVERS: Readonly<Record<number, (socket: Socket) => void>> = {
  7001: (socket) => void socket.pipe(socket),
  7002: (socket) => {
    socket.write('hi', () => socket.destroySoon())
  },
  7004: (socket) => {
    socket.once('data', () => socket.resetAndDestroy())
  },
  7006: (socket) => void socket.end('hi'),
  7007: (socket) => {
    socket.end('bye')
    socket.resume()
  },
}

test('the recorded TCP connections go the same way', async () => {
  const servers = new Map<number, Server>()
  try {
    for (const [port, serve] of Object.entries(SERVERS)) {
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        socket.on('error', () => {})
        serve(socket)
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      servers.set(Number(port), server)
    }
    const inward: Rewrite = (value, type) => {
      if (type !== 'core.tcp.connect') return value
      const { port, ...rest } = value as { port: number }
      const address = servers.get(port)?.address()
      return { ...rest, port: typeof address === 'object' ? (address?.port ?? port) : port }
    }
    const client = await RawClient.connect(guestAgent(recordedGuest))
    let compared = 0
    for (const [key, name, caseLines] of casesOf('tcp')) {
      // 1 MB in pieces too long to be recorded; the broken pipe needs a peer that is gone in time.
      if (LEFT_OUT.has(name) || name === 'chunk-sizes-1MB-from-guest') continue
      const { expected, actual } = await replay(client, caseLines, inward)
      assert.equal(masked(name, actual), masked(name, expected), key)
      compared++
    }
    assert.ok(compared >= 15, `only ${compared} cases compared`)
    client.leave()
  } finally {
    for (const server of servers.values()) server.close()
  }
})

test.run()
