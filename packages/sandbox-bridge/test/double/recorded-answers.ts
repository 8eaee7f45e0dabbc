// What the real agent was recorded to say to a request, whoever asks: by what is asked for, without
// the environment, the user and the size of a terminal, which differ from client to client. Only
// what needs nothing but its request: no input, no signal, no handle.

import { decodeMessage } from '../../src/agent/envelope.ts'
import { SESSION_START, TERMINAL, writeUint32 } from '../../src/agent/frame.ts'
import type { Message } from '../../src/agent/messages.ts'
import { fromHex, type Line, lines } from '../recorded.ts'
import { frameOf } from './recorded-agent.ts'

/** The frames that answer a request, in order; the last one is its end. */
export type RecordedAnswer = readonly Uint8Array[]

/** The recording, as questions that may be asked in any order. */
export class RecordedAnswers {
  /** What shells were told to run. */
  readonly commands: readonly string[]
  /** Paths that were asked about. */
  readonly paths: readonly string[]
  /** Where connections failed to go. */
  readonly hosts: readonly (readonly [host: string, port: number])[]
  /** Requests that were answered, each counted once. */
  readonly given = new Set<string>()
  readonly #answers = new Map<string, RecordedAnswer>()

  constructor() {
    const commands = new Set<string>()
    const paths = new Set<string>()
    const hosts: (readonly [string, number])[] = []
    for (const [index, line] of lines.entries()) {
      const request = requestOf(line)
      const answer = answerTo(lines.slice(index + 1))
      if (request === undefined || answer === undefined) continue
      const key = keyOf(request, hasFailed(answer))
      if (key === undefined || this.#answers.has(key)) continue
      this.#answers.set(
        key,
        answer.map(({ hex = '' }) => fromHex(hex)),
      )
      if (request.type === 'core.exec.request') {
        const { cmd, args } = request.payload
        commands.add(isShell(cmd) && args[0] === '-c' ? (args[1] ?? '') : cmd)
      } else if (request.type === 'core.tcp.connect') {
        hosts.push([request.payload.host, request.payload.port])
      } else if (request.type === 'core.fs.request') {
        const [fields] = Object.values(request.payload.op)
        if ('path' in fields) paths.add(fields.path)
      }
    }
    this.commands = [...commands]
    this.paths = [...paths]
    this.hosts = hosts
  }

  /** The answer to a request as it was recorded, under the request's id. */
  to(request: Message): RecordedAnswer | undefined {
    const key = keyOf(request, true)
    const found = key === undefined ? undefined : this.#answers.get(key)
    if (key === undefined || found === undefined) return undefined
    this.given.add(key)
    return found.map((frame) => {
      const bytes = frame.slice()
      writeUint32(bytes, 4, request.id)
      return bytes
    })
  }
}

/** A sound request that begins something. */
function requestOf(line: Line): Message | undefined {
  if (line.dir !== 'client' || line.hex === undefined || line.group === 'cli') return undefined
  const frame = frameOf(line)
  if (frame.flags !== SESSION_START || /^(invalid-|port-out)/.test(line.case)) return undefined
  return decodeMessage(frame)
}

/** Everything up to the end of the session, if nothing of the client's came between. */
function answerTo(after: readonly Line[]): readonly Line[] | undefined {
  const end = after.findIndex((line) => line.dir === 'guest' && flagsOf(line) === TERMINAL)
  const answer = after.slice(0, end + 1)
  const isWhole = answer.every(({ dir, hex }) => dir === 'guest' && hex !== undefined)
  return isWhole && answer.length > 0 ? answer : undefined
}

function flagsOf({ hex = '' }: Line): number {
  return Number.parseInt(hex.slice(16, 18), 16)
}

function hasFailed(answer: readonly Line[]): boolean {
  const last = answer.at(-1)
  const message = last === undefined ? undefined : decodeMessage(frameOf(last))
  return message?.type !== 'core.fs.response' || !message.payload.ok
}

function isShell(program: string): boolean {
  return /(^|\/)(sh|bash)$/.test(program)
}

/**
 * What is asked for, as text; undefined if the answer depends on more. An operation that succeeded
 * and changed or opened something is not had again by saying so.
 */
function keyOf(request: Message, failed: boolean): string | undefined {
  if (request.type === 'core.exec.request') {
    const { cmd, args, tty, user, cwd } = request.payload
    const isCommand = isShell(cmd) && args[0] === '-c'
    // What failed for its user or its folder would not fail for another.
    if (!isCommand && (user !== undefined || cwd !== undefined)) return undefined
    return JSON.stringify(['exec', tty, isCommand ? args[1] : [cmd, ...args]])
  }
  if (request.type === 'core.tcp.connect') {
    return JSON.stringify(['tcp', request.payload.host, request.payload.port])
  }
  if (request.type !== 'core.fs.request') return undefined
  const { op } = request.payload
  const isLook = 'Stat' in op || 'RealPath' in op || 'ReadLink' in op
  const [fields] = Object.values(op)
  if ('handle' in fields || (!isLook && !failed)) return undefined
  return JSON.stringify(['fs', op])
}
