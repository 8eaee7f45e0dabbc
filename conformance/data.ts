// Test data that looks random, is the same every time, and is quick to make.

import { createCipheriv, createHash } from 'node:crypto'
import { Readable } from 'node:stream'

/** `length` bytes of it. */
export function bytes(length: number): Buffer {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16))
  return cipher.update(Buffer.alloc(length))
}

/** A stream of `length` bytes in pieces of 64 KiB, and the SHA-256 of all of them. */
export function stream(length: number): { readonly readable: Readable; readonly sha256: string } {
  const piece = bytes(65536)
  const pieces = function* (): Generator<Buffer> {
    for (let left = length; left > 0; left -= piece.length) yield piece.subarray(0, left)
  }
  const hash = createHash('sha256')
  for (const part of pieces()) hash.update(part)
  return { readable: Readable.from(pieces(), { objectMode: false }), sha256: hash.digest('hex') }
}

/** SHA-256 in hexadecimal. */
export function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
