// The recorded frames, as groups of cases; see golden/README.md.

import { readFileSync } from 'node:fs'

/** One line of the recording. */
export interface Line {
  readonly group: string
  readonly case: string
  readonly dir: 'client' | 'host' | 'guest' | 'preamble' | 'note'
  readonly hex?: string
  readonly note?: string
  readonly bytes?: number
  readonly type?: string
}

/** All lines in order. */
export const lines: readonly Line[] = readFileSync(
  new URL('./golden/frames.jsonl', import.meta.url),
  'utf8',
)
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line))

/** The lines of one case; a typing error must not look like an empty case. */
export function linesOf(group: string, name: string): readonly Line[] {
  const found = lines.filter((line) => line.group === group && line.case === name)
  if (found.length === 0) throw new Error(`no recorded case ${group}/${name}`)
  return found
}

/** Bytes of a hexadecimal text. */
export function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

/** Hexadecimal text of bytes. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
