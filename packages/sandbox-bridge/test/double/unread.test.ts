// What a client does not read, from what nothing can stop: the agent has no word that makes a
// connection wait, nor a program that has left its group. Each is held so far and then given up; the
// carrier is read on, and nobody else notices.

import {
  type Client,
  connect,
  generateKey,
  memoryPair,
  pinned,
  publickey,
} from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentClient } from '../../src/agent/client.ts'
import { AgentError } from '../../src/agent/error.ts'
import { HeldBytes } from '../../src/agent/held-bytes.ts'
import { Inbox } from '../../src/agent/inbox.ts'
import { GuestConnection } from '../../src/guest-connection.ts'
import { serveGuest } from '../../src/serve-guest.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'
import { BrittleAgent } from './brittle-agent.ts'
import { seeded } from './seeded.ts'

const MEBIBYTE = 1024 * 1024
/** What one session may hold, and a chunk more. */
const HELD_BYTES_MAX = 65 * MEBIBYTE
/** The client's windows, and what was under way. */
const WINDOW_BYTES_MAX = 8 * MEBIBYTE
const PATIENT_MS = 60_000

/** An SSH connection into a brittle agent, and what each end knows of it. */
interface Scene {
  readonly client: Client
  readonly agent: BrittleAgent
  /** What the server holds that came from the agent. */
  readonly heldBytes: () => number
  /** What the server would write into its log. */
  readonly errors: readonly unknown[]
  /** The client goes; resolves when nothing of it is left. */
  readonly leave: () => Promise<void>
}

const agents: BrittleAgent[] = []
test.after(() => {
  for (const agent of agents) agent.stop()
})

async function enter(): Promise<Scene> {
  const agent = new BrittleAgent(seeded(1))
  agents.push(agent)
  const [ours, theirs] = memoryPair()
  const [hostKey, userKey] = [generateKey('ed25519'), generateKey('ed25519')]
  const errors: unknown[] = []
  let carrier: AgentClient | undefined
  const guest = new GuestConnection(async () => {
    carrier = await AgentClient.connect(agent.accept())
    return carrier
  })
  const serving = serveGuest(theirs, guest, {
    hostKeys: [hostKey],
    auth: { publickey: ({ key }) => key.equals(userKey.publicKey) },
    onError: (error) => errors.push(error),
  })
  const client = await connect(ours, {
    username: 'root',
    hostKey: pinned(hostKey.publicKey),
    auth: [publickey(userKey)],
  })
  return {
    client,
    agent,
    heldBytes: () => carrier?.heldBytes ?? 0,
    errors,
    leave: async () => {
      await client.close()
      await (await serving).closed
      await guest.close()
      const { clients, running, connections, dead, blocked, broken } = agent
      assert.equal([clients, running, connections], [0, 0, 0])
      assert.equal([dead, blocked, ...broken], [undefined, undefined])
    },
  }
}

/** Others are served all the while; resolves with the most that was held. */
async function servesOthersUntil(
  { client, heldBytes }: Scene,
  over: () => boolean,
): Promise<number> {
  let most = 0
  while (!over()) {
    assert.is((await client.run('exit 3')).code, 3)
    most = Math.max(most, heldBytes())
    // All of it is in this process, whose timers have to have their turn.
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  return most
}

async function bytesOf(source: { read(): Promise<Uint8Array | undefined> }): Promise<number> {
  let bytes = 0
  for (let chunk = await source.read(); chunk !== undefined; chunk = await source.read()) {
    bytes += chunk.length
  }
  return bytes
}

test('a forward that nobody reads is held to 64 MiB and then given up, others go on', () =>
  within(PATIENT_MS, async () => {
    const scene = await enter()
    const { client, agent, heldBytes, errors } = scene
    const [unread, echo] = await Promise.all([
      client.directTcpip('flood', 1),
      client.directTcpip('cat', 1),
    ])
    const most = await servesOthersUntil(scene, () => errors.length > 0)
    assert.ok(most > 0 && most < HELD_BYTES_MAX, `${most} bytes were held`)
    const [error] = errors
    assert.is(error instanceof AgentError && error.kind, 'limit')
    assert.match(String(error), /TCP data exceeds 67108864 unread bytes/)
    // At once, and not when the client reads again.
    assert.is(heldBytes(), 0)
    await servesOthersUntil(scene, () => agent.connections === 1)

    const got = await bytesOf(unread)
    assert.ok(got > 0 && got < WINDOW_BYTES_MAX, `${got} bytes came`)
    await unread.closed
    await echo.write(Uint8Array.of(1, 2, 3))
    assert.is((await echo.read())?.length, 3)
    await scene.leave()
  }))

test('a client that leaves while much is held for it leaves nothing', () =>
  within(PATIENT_MS, async () => {
    const scene = await enter()
    await scene.client.directTcpip('flood', 1)
    await servesOthersUntil(scene, () => scene.heldBytes() > 8 * MEBIBYTE)
    await scene.leave()
    assert.equal(scene.errors, [])
  }))

test('a program that cannot be stopped is held to 64 MiB and then killed, with the reason', () =>
  within(PATIENT_MS, async () => {
    const scene = await enter()
    const { client, agent, heldBytes } = scene
    const unread = await client.exec('escaped')
    const isHeld = (): boolean => heldBytes() > 8 * MEBIBYTE
    await servesOthersUntil(scene, isHeld)
    const most = await servesOthersUntil(scene, () => !isHeld())
    assert.is(agent.running, 0)
    assert.ok(most < HELD_BYTES_MAX, `${most} bytes were held`)
    assert.is(heldBytes(), 0)
    const [got, said] = await Promise.all([bytesOf(unread), textOf(unread)])
    assert.ok(got > 0 && got < WINDOW_BYTES_MAX, `${got} bytes came`)
    assert.match(said, /^error: program output exceeds 67108864 unread bytes\n$/)
    assert.is((await unread.exit).code, 255)
    await scene.leave()
  }))

async function textOf(program: { readStderr(): Promise<Uint8Array | undefined> }): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  for (let chunk = await program.readStderr(); chunk; chunk = await program.readStderr()) {
    text += decoder.decode(chunk, { stream: true })
  }
  return text
}

/** A queue whose owner breaks it when it is told to. */
function held(all: HeldBytes, told: Inbox[] = []): Inbox {
  const inbox: Inbox = new Inbox({
    held: all,
    onTaken: () => {},
    onOverflow: () => {
      told.push(inbox)
      inbox.break(new Error('too much'))
    },
  })
  return inbox
}

test('of all that a connection holds the largest part goes, whoever came last', async () => {
  const all = new HeldBytes(1000)
  const told: Inbox[] = []
  const [small, large, last] = [held(all, told), held(all, told), held(all, told)]
  small.push(new Uint8Array(300))
  large.push(new Uint8Array(600))
  // Its stream has ended, and what is left of it counts all the same.
  large.end()
  last.push(new Uint8Array(100))
  assert.is(all.total, 1000)
  last.push(new Uint8Array(1))
  assert.equal(told, [large])
  assert.match(String(await rejection(large.read())), /too much/)
  assert.is(all.total, 401)
  assert.is((await last.read())?.length, 101)
  small.discard()
  assert.is(all.total, 0)
})

test('short chunks are joined, and are no views of what brought them', async () => {
  const inbox = held(new HeldBytes(MEBIBYTE))
  const carrier = new Uint8Array(200_000).map((_, index) => index)
  const sent: Uint8Array[] = []
  for (let at = 0, length = 1; at + length <= carrier.length; at += length, length += 97) {
    sent.push(carrier.subarray(at, at + length))
  }
  const received: Uint8Array[] = []
  for (const [index, chunk] of sent.entries()) {
    inbox.push(chunk)
    if (index % 20 === 19) received.push((await inbox.read()) ?? new Uint8Array(0))
  }
  inbox.end()
  for (let chunk = await inbox.read(); chunk; chunk = await inbox.read()) received.push(chunk)
  assert.ok(Buffer.concat(received).equals(Buffer.concat(sent)))
  assert.ok(received.length < sent.length / 2, `${received.length} chunks of ${sent.length}`)
  assert.not(received.some((chunk) => chunk.buffer === carrier.buffer))
})

test.run()
