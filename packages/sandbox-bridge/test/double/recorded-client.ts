// Makes our client do what a recorded client did, and holds what comes of it against what the
// recorded answers say.

import * as assert from 'uvu/assert'
import { AgentClient, type FsResults, READ_BYTES_MAX } from '../../src/agent/client.ts'
import { decodeMessage } from '../../src/agent/envelope.ts'
import { AgentError, parseErrno } from '../../src/agent/error.ts'
import type { FsOps, Message, Payloads } from '../../src/agent/messages.ts'
import type { AgentProcess } from '../../src/agent/process.ts'
import type { AgentTcp } from '../../src/agent/tcp.ts'
import { type Line, toHex } from '../recorded.ts'
import { within } from '../within.ts'
import { frameOf, RecordedAgent } from './recorded-agent.ts'

/** What one request came to, in words that can be compared. */
type Outcome = Readonly<Record<string, unknown>>

/** A request and everything the agent said to it. */
interface Exchange {
  readonly request: Message
  readonly answers: Message[]
  /** Data the client sent behind a request to write. */
  readonly data: Uint8Array[]
}

/** Plays one recorded case against our client. @throws if any frame or outcome is another */
export async function play(lines: readonly Line[]): Promise<RecordedAgent> {
  const [agent, transport] = RecordedAgent.start(lines)
  const client = await within(5000, () => AgentClient.connect(transport))
  try {
    const player = new Player(client, lines)
    await player.play()
    await within(5000, () => agent.finished())
    assert.equal(agent.surprises, [])
    // What was said last has come, too.
    await within(5000, () => client.ping())
    player.hangUp()
    await client.close()
    await player.compare()
    return agent
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const left = agent.left.slice(0, 3).join('; ')
    const context = `${agent.surprises.join('; ')}; left: ${left}`
    throw new Error(`${lines[0]?.group}/${lines[0]?.case}: ${why}; ${context}`, { cause: error })
  } finally {
    await client.close()
  }
}

class Player {
  readonly #client: AgentClient
  readonly #lines: readonly Line[]
  readonly #exchanges = new Map<number, Exchange>()
  readonly #outcomes: (() => Promise<void>)[] = []
  readonly #programs = new Map<number, AgentProcess>()
  readonly #connections = new Map<number, AgentTcp>()

  constructor(client: AgentClient, lines: readonly Line[]) {
    this.#client = client
    this.#lines = lines.filter(({ dir }) => dir === 'client' || dir === 'guest')
  }

  async play(): Promise<void> {
    let pending: Promise<unknown>[] = []
    for (const [index, line] of this.#lines.entries()) {
      const message = messageOf(line)
      if (message === undefined || message.type === 'core.ready') continue
      if (line.dir === 'guest') {
        this.#exchanges.get(message.id)?.answers.push(message)
        continue
      }
      const followers = this.#lines.slice(index + 1)
      pending.push(this.#act(message, followers))
      // What was sent without waiting is sent so.
      const next = followers[0]
      const isFollowed = next?.dir === 'client' && message.type === 'core.fs.request'
      if (isFollowed) continue
      await within(5000, () => Promise.all(pending))
      pending = []
    }
  }

  /** Ends the connections that the recorded client left open. */
  hangUp(): void {
    for (const connection of this.#connections.values()) connection.abort()
  }

  /** Everything has come to what it came to then. */
  async compare(): Promise<void> {
    for (const check of this.#outcomes) await within(5000, check)
  }

  async #act(message: Message, followers: readonly Line[]): Promise<void> {
    switch (message.type) {
      case 'core.exec.request':
        return this.#exec(message.id, message.payload, this.#open(message))
      case 'core.exec.stdin': {
        const program = this.#programs.get(message.id)
        const { data } = message.payload
        return data.length === 0 ? program?.end() : program?.write(data)
      }
      case 'core.exec.resize': {
        const { rows, cols } = message.payload
        return this.#programs.get(message.id)?.resize(cols, rows)
      }
      case 'core.exec.signal':
        this.#programs.get(message.id)?.signal(message.payload.signal)
        return
      case 'core.fs.request':
        return this.#files(message, this.#open(message), followers)
      case 'core.fs.data':
        // Sent with its request.
        return
      case 'core.tcp.connect':
        return this.#dial(message.id, message.payload, this.#open(message))
      case 'core.tcp.data':
        // One that failed meanwhile says so here as well; what it came to is compared.
        return this.#connections
          .get(message.id)
          ?.write(message.payload.data)
          .catch(() => {})
      case 'core.tcp.eof':
        return this.#connections.get(message.id)?.close()
      case 'core.tcp.close':
        return this.#connections.get(message.id)?.abort()
      case 'core.ping':
        return this.#simple(this.#client.ping(), this.#open(message))
      case 'core.touch':
        return this.#simple(this.#client.touch(), this.#open(message))
      default:
        throw new Error(`no client of ours says ${message.type}`)
    }
  }

  #open(request: Message): Exchange {
    const exchange = { request, answers: [], data: [] }
    this.#exchanges.set(request.id, exchange)
    return exchange
  }

  async #simple(work: Promise<void>, exchange: Exchange): Promise<void> {
    const outcome = await work.then(() => ({})).catch(outcomeOfFailure)
    this.#outcomes.push(async () => {
      assert.equal(outcome, recordedRefusal(exchange.answers) ?? {})
    })
  }

  async #exec(id: number, request: Payloads['core.exec.request'], exchange: Exchange) {
    const env = new Map(request.env.map((entry) => splitAt(entry, entry.indexOf('='))))
    const { cmd: command, args, cwd, user, rows, cols: columns } = request
    const pty = request.tty ? { rows, columns } : undefined
    const started = this.#client.exec({ command, args, env, cwd, user, pty })
    const outcome = started.then(outcomeOfProgram).catch(outcomeOfFailure)
    this.#outcomes.push(async () => {
      const { answers } = exchange
      assert.equal(await outcome, recordedRefusal(answers) ?? recordedProgram(answers))
    })
    const program = await started.catch(() => undefined)
    if (program !== undefined) this.#programs.set(id, program)
  }

  async #files(message: Message, exchange: Exchange, followers: readonly Line[]): Promise<void> {
    if (message.type !== 'core.fs.request') return
    const { op } = message.payload
    const chunks = followers
      .map((line) => (line.dir === 'client' ? messageOf(line) : undefined))
      .flatMap((each) =>
        each?.id === message.id && each.type === 'core.fs.data' ? [each.payload.data] : [],
      )
    const run = async (): Promise<Outcome> => {
      if ('Read' in op) {
        const { handle, offset, len = READ_BYTES_MAX } = op.Read
        const data = await this.#client.fsRead(handle, offset, len)
        return { data: toHex(data), result: null }
      }
      if ('Write' in op) {
        const { handle, offset } = op.Write
        await this.#client.fsWrite(handle, offset, chunks[0] ?? new Uint8Array(op.Write.len ?? 0))
        return { data: '', result: null }
      }
      const [name, fields] = Object.entries(op)[0] ?? ['', {}]
      // The pair is one of the operations: it came from the same codec.
      const result = await this.#client.fs(name as keyof FsResults, fields as FsOps['Stat'])
      return { data: '', result: result ?? null }
    }
    const outcome = await run().catch(outcomeOfFailure)
    this.#outcomes.push(async () => {
      const { answers } = exchange
      assert.equal(outcome, recordedRefusal(answers) ?? recordedFiles(answers))
    })
  }

  async #dial(id: number, { host, port }: Payloads['core.tcp.connect'], exchange: Exchange) {
    const connected = this.#client.tcpConnect(host, port)
    const outcome = connected.then(outcomeOfConnection).catch(outcomeOfFailure)
    this.#outcomes.push(async () => {
      const { answers } = exchange
      assert.equal(await outcome, recordedRefusal(answers) ?? recordedConnection(answers))
    })
    const connection = await connected.catch(() => undefined)
    if (connection !== undefined) this.#connections.set(id, connection)
  }
}

async function outcomeOfProgram(program: AgentProcess): Promise<Outcome> {
  const read = async (next: () => Promise<Uint8Array | undefined>): Promise<string> => {
    let all = ''
    for (let chunk = await next(); chunk !== undefined; chunk = await next()) all += toHex(chunk)
    return all
  }
  const output = Promise.all([read(() => program.read()), read(() => program.readStderr())])
  const [stdout, stderr] = await output.catch((error) => {
    // The case ends while the program runs: that is all there was.
    if (error instanceof AgentError && error.kind === 'closed') return ['', '']
    throw error
  })
  const exit = await program.exited
  return { pid: program.pid, stdout, stderr, code: exit.code, deaf: program.inputBroken }
}

async function outcomeOfConnection(connection: AgentTcp): Promise<Outcome> {
  let data = ''
  try {
    for (;;) {
      const chunk = await connection.read()
      if (chunk === undefined) return { data, end: true }
      data += toHex(chunk)
    }
  } catch (error) {
    if (error instanceof AgentError && error.kind === 'aborted') return { data, end: false }
    throw error
  }
}

function outcomeOfFailure(error: unknown): Outcome {
  if (!(error instanceof AgentError)) throw error
  return { kind: error.kind, errno: error.errno, message: error.message }
}

/** The agent could not take the request as such. */
function recordedRefusal(answers: readonly Message[]): Outcome | undefined {
  for (const { type, payload } of answers) {
    if (type !== 'core.error') continue
    return { kind: payload.kind, errno: undefined, message: payload.message }
  }
  return undefined
}

function recordedProgram(answers: readonly Message[]): Outcome {
  const outcome = { pid: 0, stdout: '', stderr: '', code: 0, deaf: false }
  for (const { type, payload } of answers) {
    if (type === 'core.exec.failed') {
      const { kind, errno, message } = payload
      return { kind, errno: errno ?? parseErrno(message), message }
    }
    if (type === 'core.exec.started') outcome.pid = payload.pid
    else if (type === 'core.exec.stdout') outcome.stdout += toHex(payload.data)
    else if (type === 'core.exec.stderr') outcome.stderr += toHex(payload.data)
    else if (type === 'core.exec.stdin.error') outcome.deaf = true
    else if (type === 'core.exec.exited') outcome.code = payload.code
  }
  if (answers.some(({ type }) => type === 'core.exec.exited')) return outcome
  // The client left while it ran.
  const message = 'the agent connection was closed'
  return { kind: 'closed', errno: undefined, message }
}

function recordedFiles(answers: readonly Message[]): Outcome {
  let data = ''
  for (const { type, payload } of answers) {
    if (type === 'core.fs.data') data += toHex(payload.data)
    if (type !== 'core.fs.response') continue
    if (!payload.ok) {
      const message = payload.error ?? ''
      return { kind: 'fs', errno: parseErrno(message), message }
    }
    const [value] = Object.values(payload.data ?? {})
    return { data, result: value ?? null }
  }
  throw new Error('no answer was recorded')
}

function recordedConnection(answers: readonly Message[]): Outcome {
  let data = ''
  for (const { type, payload } of answers) {
    if (type === 'core.tcp.data') data += toHex(payload.data)
    // What fails later fails for those who write.
    if (type === 'core.tcp.eof') return { data, end: true }
    if (type === 'core.tcp.failed') {
      return { kind: 'tcp', errno: parseErrno(payload.error), message: payload.error }
    }
  }
  return { data, end: false }
}

function messageOf(line: Line): Message | undefined {
  return line.hex === undefined ? undefined : decodeMessage(frameOf(line))
}

function splitAt(text: string, index: number): [string, string] {
  return [text.slice(0, index), text.slice(index + 1)]
}
