/**
 * Messages as frames: the envelope `{v, t, p}` around a payload that is itself one CBOR item.
 * Data frames, which are nearly all bytes there are, are written and read in place.
 */
import { AgentError } from './error.ts'
import {
  encodeFrame,
  FRAME_LENGTH_MAX,
  type Frame,
  HEADER_BYTES,
  PREFIX_BYTES,
  writePrefix,
  writeUint32,
} from './frame.ts'
import {
  type Data,
  type DataType,
  GENERATION,
  isMessageType,
  type Message,
  type MessageType,
  messages,
  type Payloads,
} from './messages.ts'
import { bytes, decodeItem, encodeItem, PayloadError, struct, text, u16 } from './payload.ts'

/**
 * One message as a frame, flags and all. `generation` is stamped into the envelope.
 * @throws RangeError if it exceeds 4 MiB, or a number does not fit its field
 */
export function encodeMessage<T extends MessageType>(
  id: number,
  type: T,
  payload: Payloads[T],
  generation: number = GENERATION,
): Uint8Array {
  if (isDataPayload(type, payload)) return encodeData(id, type, payload.data, generation)
  const item = encodeItem(messages[type].payload.toCbor(payload))
  const envelope = encodeItem(
    new Map<string, unknown>([
      ['v', generation],
      ['t', type],
      ['p', item],
    ]),
  )
  return encodeFrame(id, messages[type].flags, envelope)
}

/** The envelope of a frame, its payload still encoded. */
export interface Envelope {
  /** Generation the sender stamped. */
  readonly generation: number
  readonly type: string
  readonly payload: Uint8Array
}

/** Reads `{v, t, p}`, keys in any order. @throws PayloadError if it is not one */
export function decodeEnvelope(body: Uint8Array): Envelope {
  return fastEnvelope(body) ?? slowEnvelope(body)
}

/** Reads a payload of a known type. @throws PayloadError if it does not fit */
export function decodePayload<T extends MessageType>(type: T, payload: Uint8Array): Payloads[T] {
  if (DATA_TYPES.has(type)) {
    const found = fastData(payload)
    // A data type's payload is Data; the compiler cannot see the table behind the set.
    if (found !== undefined) return { data: found } as Payloads[T]
  }
  return messages[type].payload.fromCbor(decodeItem(payload))
}

/**
 * What an agent sent. Undefined for a type we do not know, which is to be ignored: newer agents
 * may have more.
 * @throws AgentError `protocol` if it is not a message
 */
export function decodeMessage(frame: Frame): Message | undefined {
  try {
    const { type, payload } = decodeEnvelope(frame.body)
    if (!isMessageType(type)) return undefined
    // `type` and the payload decoded by it belong together, which a union cannot express.
    return { id: frame.id, type, payload: decodePayload(type, payload) } as Message
  } catch (error) {
    if (!(error instanceof PayloadError)) throw error
    throw new AgentError('protocol', `the agent sent a broken message: ${error.message}`)
  }
}

const DATA_TYPES: ReadonlySet<MessageType> = new Set<DataType>([
  'core.exec.stdin',
  'core.exec.stdout',
  'core.exec.stderr',
  'core.fs.data',
  'core.tcp.data',
])

function isDataPayload(type: MessageType, _payload: unknown): _payload is Data {
  return DATA_TYPES.has(type)
}

/** `a3 61 'v'`: how every envelope in canonical form begins. */
const ENVELOPE_HEAD = [0xa3, 0x61, 0x76]
/** `a1 64 'data'`: the head of a data payload. */
const DATA_HEAD = [0xa1, 0x64, 0x64, 0x61, 0x74, 0x61]

/**
 * A data frame, written in place: the bytes are copied once and nothing else is made. The result
 * equals what the declarative codec gives.
 */
export function encodeData(
  id: number,
  type: MessageType,
  chunk: Uint8Array,
  generation: number = GENERATION,
): Uint8Array {
  const itemBytes = DATA_HEAD.length + headBytes(chunk.length) + chunk.length
  // v, t and p: three keys of two bytes, one small integer, the type with its one-byte head.
  const bodyBytes = 1 + 2 + 1 + 2 + 1 + type.length + 2 + headBytes(itemBytes) + itemBytes
  if (bodyBytes + HEADER_BYTES > FRAME_LENGTH_MAX) {
    throw new RangeError(`data frame of ${bodyBytes} bytes exceeds ${FRAME_LENGTH_MAX}`)
  }
  const frame = new Uint8Array(PREFIX_BYTES + bodyBytes)
  writePrefix(frame, id, 0, bodyBytes)
  let at = PREFIX_BYTES
  for (const byte of ENVELOPE_HEAD) frame[at++] = byte
  frame[at++] = generation
  frame[at++] = 0x61
  frame[at++] = 0x74
  frame[at++] = 0x60 + type.length
  for (let index = 0; index < type.length; index++) frame[at++] = type.charCodeAt(index)
  frame[at++] = 0x61
  frame[at++] = 0x70
  at = writeHead(frame, at, itemBytes)
  for (const byte of DATA_HEAD) frame[at++] = byte
  at = writeHead(frame, at, chunk.length)
  frame.set(chunk, at)
  return frame
}

/** Bytes of a byte string's head: shortest form, as the agent writes it. */
function headBytes(length: number): number {
  return length < 24 ? 1 : length < 0x100 ? 2 : length < 0x1_0000 ? 3 : 5
}

function writeHead(target: Uint8Array, offset: number, length: number): number {
  if (length < 24) {
    target[offset] = 0x40 + length
    return offset + 1
  }
  if (length < 0x100) {
    target[offset] = 0x58
    target[offset + 1] = length
    return offset + 2
  }
  if (length < 0x1_0000) {
    target[offset] = 0x59
    target[offset + 1] = length >>> 8
    target[offset + 2] = length
    return offset + 3
  }
  target[offset] = 0x5a
  writeUint32(target, offset + 1, length)
  return offset + 5
}

/** The byte string at `offset` if it reaches exactly to the end. */
function byteStringToEnd(source: Uint8Array, offset: number): Uint8Array | undefined {
  const head = source[offset]
  if (head === undefined) return undefined
  let start: number
  let length: number
  if (head >= 0x40 && head < 0x58) {
    start = offset + 1
    length = head - 0x40
  } else if (head >= 0x58 && head <= 0x5a) {
    const size = 1 << (head - 0x58)
    if (offset + 1 + size > source.length) return undefined
    start = offset + 1 + size
    length = 0
    for (let index = offset + 1; index < start; index++) length = length * 256 + source[index]!
  } else {
    return undefined
  }
  return start + length === source.length ? source.subarray(start) : undefined
}

const ascii = new TextDecoder('latin1')

/** The envelope in the form every agent writes, without a CBOR decoder; undefined for another. */
function fastEnvelope(body: Uint8Array): Envelope | undefined {
  if (body.length < 10) return undefined
  for (let index = 0; index < ENVELOPE_HEAD.length; index++) {
    if (body[index] !== ENVELOPE_HEAD[index]) return undefined
  }
  const generation = body[3]!
  const typeHead = body[6]!
  if (generation > 23 || body[4] !== 0x61 || body[5] !== 0x74) return undefined
  const typeEnd = 7 + typeHead - 0x60
  // 0x60 to 0x77: text shorter than 24 bytes.
  if (typeHead < 0x60 || typeHead > 0x77 || typeEnd + 2 > body.length) return undefined
  if (body[typeEnd] !== 0x61 || body[typeEnd + 1] !== 0x70) return undefined
  const payload = byteStringToEnd(body, typeEnd + 2)
  if (payload === undefined) return undefined
  return { generation, type: ascii.decode(body.subarray(7, typeEnd)), payload }
}

const envelope = struct<{ readonly v: number; readonly t: string; readonly p: Uint8Array }>({
  v: u16,
  t: text,
  p: bytes,
})

function slowEnvelope(body: Uint8Array): Envelope {
  const { v, t, p } = envelope.fromCbor(decodeItem(body))
  return { generation: v, type: t, payload: p }
}

function fastData(payload: Uint8Array): Uint8Array | undefined {
  for (let index = 0; index < DATA_HEAD.length; index++) {
    if (payload[index] !== DATA_HEAD[index]) return undefined
  }
  return byteStringToEnd(payload, DATA_HEAD.length)
}
