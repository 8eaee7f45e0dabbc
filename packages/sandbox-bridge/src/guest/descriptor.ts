/**
 * Streams over descriptors that the runtime did not open itself: the ends of pipes and terminals.
 * Node has its own. Bun's fail when a descriptor has nothing to give or no room, so there they are
 * made of what it has: a stream of a file that waits, and writes that are tried again.
 */
import { closeSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { Readable, Writable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { ReadStream } from 'node:tty'

interface BunFiles {
  file(fd: number): { stream(): ReadableStream<Uint8Array> }
}

/** One write, which a pipe or terminal may take in part. */
const WRITE_BYTES = 4 * 1024
const RETRY_MS_MAX = 50

/** Reads a non-blocking descriptor and closes it at the end, or when the stream is destroyed. */
export function readFrom(fd: number, kind: 'pipe' | 'terminal'): Readable {
  const { Bun: bun } = globalThis as { Bun?: BunFiles }
  if (bun === undefined) {
    return kind === 'terminal'
      ? new ReadStream(fd)
      : new Socket({ fd, readable: true, writable: false })
  }
  const stream = Readable.fromWeb(bun.file(fd).stream())
  stream.once('close', () => closeSync(fd))
  return stream
}

/** Writes a non-blocking pipe and closes it at the end, or when the stream is destroyed. */
export function writeTo(fd: number): Writable {
  if (!('Bun' in globalThis)) return new Socket({ fd, readable: false, writable: true })
  let isOpen = true
  return new Writable({
    write: (chunk: Uint8Array, _, done) => {
      void writeFully(fd, chunk, () => isOpen).then((error) => {
        done(error instanceof Error ? error : null)
      })
    },
    destroy: (error, done) => {
      if (isOpen) closeSync(fd)
      isOpen = false
      done(error)
    },
  })
}

/**
 * Writes all of it to a non-blocking descriptor; resolves when it has been taken, or with what went
 * wrong. Nothing tells when there is room again, so it is tried, ever more rarely.
 */
export async function writeFully(
  fd: number,
  chunk: Uint8Array,
  isOpen: () => boolean,
): Promise<unknown> {
  let delayMs = 0
  for (let at = 0; at < chunk.length; ) {
    if (!isOpen()) return Object.assign(new Error('closed'), { code: 'EIO' })
    try {
      at += writeSync(fd, chunk, at, Math.min(chunk.length - at, WRITE_BYTES))
      delayMs = 0
    } catch (error) {
      if (!isCode(error, 'EAGAIN')) return error
      await pause(delayMs)
      delayMs = Math.min(delayMs === 0 ? 1 : delayMs * 2, RETRY_MS_MAX)
    }
  }
  return undefined
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => (ms === 0 ? setImmediate(resolve) : setTimeout(resolve, ms)))
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
