// What a frame from the host looks like, as the recording has it: for every type, and every
// operation on files, the fields, their order and the kinds of their values. Taken from the bytes,
// not from our own codecs, whose mistakes would agree with themselves.

import { FrameDecoder } from '../../src/agent/frame.ts'
import { decodeItem } from '../../src/agent/payload.ts'
import { fromHex, lines } from '../recorded.ts'

/** One field of a payload, its place in it (`op.OpenFile.path`), and what kind of value it is. */
type Field = readonly [path: string, kind: string]

/** What the recorded frames of one type have in common. */
interface Shape {
  readonly flags: Set<number>
  readonly frames: Map<string, string>[]
}

/** What was recorded because it is wrong. */
const WRONG =
  /^(invalid-(flags|payload|payload-not-cbor|fs-op|handle)|guest-only|unknown-message|port-out)/

const shapes = new Map<string, Shape>()
for (const line of lines) {
  if (line.hex === undefined || (line.dir !== 'client' && line.dir !== 'host')) continue
  if (WRONG.test(line.case)) continue
  const { key, flags, fields } = look(fromHex(line.hex))
  const shape = shapes.get(key) ?? { flags: new Set(), frames: [] }
  shapes.set(key, shape)
  shape.flags.add(flags)
  shape.frames.push(new Map(fields))
}

/** Types and operations that were recorded. */
export const recordedKinds: readonly string[] = [...shapes.keys()].sort()

/** Why a frame, length prefix and all, is none that the recorded clients would have sent. */
export function strangeness(bytes: Uint8Array): string | undefined {
  const { key, flags, fields } = look(bytes)
  const shape = shapes.get(key)
  if (shape === undefined) return `${key} was never recorded`
  if (!shape.flags.has(flags)) return `${key} has flags ${flags}`
  const known = new Map<string, Set<string>>()
  for (const frame of shape.frames) {
    for (const [path, kind] of frame) known.set(path, (known.get(path) ?? new Set()).add(kind))
  }
  const ours = new Map(fields)
  for (const [path, kind] of ours) {
    const kinds = known.get(path) ?? attributeKinds(path)
    if (kinds === undefined) return `${key} has a field ${path}`
    // What may be left out may be null.
    const isOptional = shape.frames.some((frame) => !frame.has(path))
    if (!kinds.has(kind) && !(kind === 'null' && isOptional)) {
      return `${key} has ${kind} as ${path}, not ${[...kinds].join(' or ')}`
    }
  }
  for (const path of known.keys()) {
    const isRequired = shape.frames.every((frame) => frame.has(path))
    if (isRequired && !ours.has(path)) return `${key} lacks ${path}`
  }
  const order = [...ours.keys()]
  for (const frame of shape.frames) {
    const theirs = [...frame.keys()].filter((path) => ours.has(path))
    const same = order.filter((path) => frame.has(path))
    if (theirs.join() !== same.join()) return `${key} has its fields in another order: ${order}`
  }
  return undefined
}

/** Files and paths have the same attributes; of files, fewer were recorded. */
function attributeKinds(path: string): Set<string> | undefined {
  if (!path.startsWith('.op.FSetStat.attrs.')) return undefined
  const same = path.replace('FSetStat', 'SetStat')
  const frames = shapes.get('core.fs.request SetStat')?.frames ?? []
  const kinds = frames.flatMap((frame) => frame.get(same) ?? [])
  return kinds.length === 0 ? undefined : new Set(kinds)
}

function look(bytes: Uint8Array): { key: string; flags: number; fields: readonly Field[] } {
  const decoder = new FrameDecoder()
  decoder.push(bytes)
  const frame = decoder.next()
  if (frame === undefined) throw new Error('not a whole frame')
  const envelope = decodeItem(frame.body)
  if (!(envelope instanceof Map)) throw new Error('no envelope')
  const type = String(envelope.get('t'))
  const payload = decodeItem(envelope.get('p'))
  const fields: Field[] = [...envelope.keys()].map((key) => [`${key}`, kindOf(envelope.get(key))])
  fields.push(...fieldsOf('', payload))
  const operation = payload instanceof Map ? payload.get('op') : undefined
  const name = operation instanceof Map ? ` ${[...operation.keys()].join()}` : ''
  return { key: `${type}${name}`, flags: frame.flags, fields }
}

function fieldsOf(path: string, value: unknown): Field[] {
  if (!(value instanceof Map)) return [[path, kindOf(value)]]
  const inner = [...value].flatMap(([key, each]) => fieldsOf(`${path}.${key}`, each))
  return [[path, 'map'], ...inner]
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (value instanceof Uint8Array) return 'bytes'
  // What is in a list is alike; an empty one is as good as any.
  if (Array.isArray(value)) return 'list'
  if (typeof value === 'bigint') return 'number'
  return typeof value
}
