/** One console for many clients: booting, fairness, budgets, rules, restarts. */
// Also on: bun
import { memoryPair, type Transport } from '@sandbox-ssh/protocol'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AgentClient } from '../../src/agent/client.ts'
import { encodeData, encodeMessage } from '../../src/agent/envelope.ts'
import { AgentError } from '../../src/agent/error.ts'
import { encodeFrame, FrameDecoder, readUint32, writeUint32 } from '../../src/agent/frame.ts'
import { typeOf } from '../../src/agent/restart-sign.ts'
import { guestAgent } from '../../src/guest/agent.ts'
import { GuestConsole } from '../../src/guest/console.ts'
import { RELAYED_FRAME_BYTES_MAX } from '../../src/relay/admission.ts'
import { AgentRelay, type AgentRelayOptions } from '../../src/relay/relay.ts'
import { bytesOf, readUntil, textOf } from '../guest/connect.ts'
import { rejection } from '../rejection.ts'
import { within } from '../within.ts'

/** A relay in front of our guest, whose console can be met again. */
async function relayOfGuest(options: AgentRelayOptions = {}) {
  const guest = new GuestConsole(() => guestAgent())
  const [host, vm] = memoryPair()
  void guest.serve(vm)
  return { relay: await within(5000, () => AgentRelay.open(host, options)), guest, vm }
}

function raw(relay: AgentRelay): { readonly ours: Transport; readonly served: Promise<void> } {
  const [ours, theirs] = memoryPair()
  return { ours, served: relay.serve(theirs) }
}

function client(relay: AgentRelay): Promise<AgentClient> {
  return AgentClient.connect(raw(relay).ours)
}

/** An agent played by the test, frame by frame, from the VM's side of the console. */
class Console {
  readonly transport: Transport
  readonly #decoder = new FrameDecoder()

  constructor(transport: Transport) {
    this.transport = transport
  }

  async next(): Promise<{ readonly type: string; readonly id: number }> {
    for (;;) {
      const frame = this.#decoder.next()
      if (frame !== undefined) return { type: typeOf(frame) ?? '?', id: frame.id }
      const chunk = await this.transport.read()
      if (chunk === undefined) throw new Error('the relay closed the console')
      this.#decoder.push(chunk)
    }
  }

  async say(frame: Uint8Array): Promise<void> {
    await this.transport.write(frame)
  }

  /** The boot of microsandbox's agent, which takes nothing else than it expects. */
  async boot(generation = 7): Promise<void> {
    assert.equal(await this.next(), { type: 'core.bootstrap', id: 0 })
    await this.say(encodeMessage(0, 'core.init.resolved', { default_user: { uid: 0, gid: 0 } }))
    assert.equal(await this.next(), { type: 'core.init.ack', id: 0 })
    await this.say(ready(generation))
    assert.equal(await this.next(), { type: 'core.clock.sync', id: 0 })
  }
}

function ready(generation = 7): Uint8Array {
  const times = { boot_time_ns: 1, init_time_ns: 2, ready_time_ns: 3 }
  return encodeMessage(0, 'core.ready', times, generation)
}

async function bootedConsole(options: AgentRelayOptions = {}, generation = 7) {
  const [host, vm] = memoryPair({ capacityBytes: 1024 })
  const agent = new Console(vm)
  const [relay] = await within(5000, () =>
    Promise.all([AgentRelay.open(host, options), agent.boot(generation)]),
  )
  return { relay, agent }
}

/** The prologue a client gets. */
async function prologue(transport: Transport): Promise<{ idMin: number; idMax: number }> {
  const chunk = (await transport.read()) ?? new Uint8Array(8)
  return { idMin: readUint32(chunk, 0), idMax: readUint32(chunk, 4) }
}

test('an agent boots: bootstrap, init.resolved, init.ack, ready, then clients', async () => {
  const { relay, agent } = await bootedConsole()
  const { ours } = raw(relay)
  assert.equal(await prologue(ours), { idMin: 1, idMax: 33_554_431 })
  const second = raw(relay)
  assert.equal(await prologue(second.ours), { idMin: 33_554_432, idMax: 67_108_862 })
  await ours.write(encodeMessage(7, 'core.ping', {}))
  assert.equal(await agent.next(), { type: 'core.ping', id: 7 })
  await agent.say(encodeMessage(7, 'core.pong', {}))
  assert.is(typeOf(frameIn(await ours.read())), 'core.pong')
  await relay.close()
  assert.is(await relay.closed, undefined)
  assert.is(await ours.read(), undefined)
})

function frameIn(chunk: Uint8Array | undefined) {
  const decoder = new FrameDecoder()
  decoder.push(chunk ?? new Uint8Array(0))
  const frame = decoder.next()
  if (frame === undefined) throw new Error('no frame')
  return frame
}

test('what comes before the boot is over is dropped; an agent that never boots is given up', async () => {
  const [host, vm] = memoryPair()
  const agent = new Console(vm)
  await agent.say(encodeMessage(99, 'core.pong', {}))
  const opening = AgentRelay.open(host)
  await agent.boot()
  await (await opening).close()
  const [deaf] = memoryPair()
  const late = await rejection(AgentRelay.open(deaf, { bootMs: 20 }))
  assert.is(late instanceof AgentError && late.kind, 'timeout')
  const [gone, other] = memoryPair()
  await other.close()
  const closed = await rejection(AgentRelay.open(gone))
  assert.is(closed instanceof AgentError && closed.kind, 'closed')
})

test('an agent that has booted already is taken over with a ping', async () => {
  const [host, vm] = memoryPair()
  const agent = new Console(vm)
  const opening = AgentRelay.open(host, { booted: true })
  const { type, id } = await agent.next()
  assert.is(type, 'core.ping')
  await agent.say(encodeMessage(id, 'core.pong', {}, 6))
  const relay = await opening
  const agentClient = await client(relay)
  assert.is(agentClient.generation, 6)
  await relay.close()
})

test('two clients run programs on one console, each its own', async () => {
  const { relay, guest } = await relayOfGuest()
  const [one, two] = [await client(relay), await client(relay)]
  const run = async (agent: AgentClient, word: string): Promise<string> => {
    const program = await agent.exec({ command: 'sh', args: ['-c', `cat; echo ${word}`] })
    await program.write(bytesOf(`${word}?`))
    await program.end()
    const text = await textOf(program)
    assert.is((await program.exited).code, 0)
    return text
  }
  const words = ['a', 'b', 'c', 'd'].map((word, index) => run(index % 2 ? one : two, word))
  assert.equal(await Promise.all(words), ['a?a\n', 'b?b\n', 'c?c\n', 'd?d\n'])
  await one.close()
  await two.close()
  await relay.close()
  guest.close()
})

test('the programs of a client that leaves are killed, those of others are not', async () => {
  const { relay, guest } = await relayOfGuest()
  const [leaving, staying] = [await client(relay), await client(relay)]
  const mine = await leaving.exec({ command: 'sh', args: ['-c', 'echo $$; exec sleep 60'] })
  const pid = Number(await readUntil(mine, '\n'))
  const other = await staying.exec({ command: 'cat' })
  await leaving.close()
  await within(5000, async () => {
    while (isAlive(pid)) await staying.ping()
  })
  await other.write(bytesOf('still here\n'))
  assert.is(await readUntil(other, '\n'), 'still here\n')
  await staying.close()
  await relay.close()
  guest.close()
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('a client that does not read is dropped at its budget and delays nobody', async () => {
  const dropped: string[] = []
  const budgetBytes = 256 * 1024
  const { relay, agent } = await bootedConsole({
    budgetBytes,
    onDropped: (why) => dropped.push(why),
  })
  const stalled = raw(relay)
  const quick = raw(relay)
  const { idMin } = await prologue(quick.ours)
  const chunk = new Uint8Array(32 * 1024)
  // Far more than the stalled one's carrier and its budget hold.
  for (let count = 0; count < 64; count++) {
    await within(5000, () => agent.say(encodeData(5, 'core.exec.stdout', chunk)))
  }
  await agent.say(encodeMessage(idMin, 'core.pong', {}))
  assert.is(typeOf(frameIn(await within(5000, () => quick.ours.read()))), 'core.pong')
  await stalled.served
  assert.is(dropped.length, 1)
  assert.match(dropped[0] ?? '', /^a client was dropped: it left \d+ bytes unread$/)
  assert.equal(await agent.next(), { type: 'core.relay.client.disconnected', id: 0 })
  await relay.close()
})

test('clients share the way to the guest by bytes, however long their frames', async () => {
  const { relay, agent } = await bootedConsole()
  const [big, small] = [raw(relay), raw(relay)]
  const bigIds = await prologue(big.ours)
  const smallIds = await prologue(small.ours)
  const large = encodeData(bigIds.idMin, 'core.fs.data', new Uint8Array(512 * 1024))
  const little = encodeData(smallIds.idMin, 'core.fs.data', new Uint8Array(16 * 1024))
  const writes = [
    ...Array.from({ length: 8 }, () => big.ours.write(large)),
    ...Array.from({ length: 32 }, () => small.ours.write(little)),
  ]
  let [bigBytes, smallBytes] = [0, 0]
  while (smallBytes < 32 * 16 * 1024) {
    const { id } = await within(5000, () => agent.next())
    if (id === bigIds.idMin) bigBytes += 512 * 1024
    else smallBytes += 16 * 1024
    // The first may have had the way to itself before the second came.
    assert.ok(bigBytes <= smallBytes + 3 * 512 * 1024, `${bigBytes} before ${smallBytes}`)
  }
  while (bigBytes < 8 * 512 * 1024) {
    await agent.next()
    bigBytes += 512 * 1024
  }
  await Promise.all(writes)
  await relay.close()
})

test('what would kill the agent costs its sender the connection and reaches nobody', async () => {
  const dropped: string[] = []
  const { relay, agent } = await bootedConsole({ onDropped: (why) => dropped.push(why) }, 5)
  const ping = (id: number): Uint8Array => encodeMessage(id, 'core.exec.signal', { signal: 1 })
  const odd = ping(1)
  odd[odd.length - 1] = 0xff
  const unsound = encodeMessage(3, 'core.exec.resize', { rows: 1, cols: 1 }, 1)
  unsound[8] = 1
  const tooLong = new Uint8Array(4)
  writeUint32(tooLong, 0, RELAYED_FRAME_BYTES_MAX + 1)
  const length = RELAYED_FRAME_BYTES_MAX - 100
  const bad: readonly [Uint8Array, RegExp][] = [
    [encodeFrame(3, 0, new Uint8Array([1])), /without an envelope/],
    [encodeMessage(3, 'core.ping', {}), /core\.ping, which this agent does not know/],
    [encodeMessage(0, 'core.clock.sync', { unix_time_nanos: 0 }), /id 0, which is not its own/],
    [encodeMessage(3, 'core.init.ack', {}), /the relay's to say/],
    [ping(33_554_431 * 5), /which is not its own/],
    [unsound, /a broken core\.exec\.resize/],
    [encodeData(3, 'core.fs.data', new Uint8Array(length + 95)), /too long/],
  ]
  for (const [frame, why] of bad) {
    const { ours, served } = raw(relay)
    const { idMin } = await prologue(ours)
    const id = readUint32(frame, 4)
    if (id === 3) writeUint32(frame, 4, idMin + 2)
    await ours.write(frame).catch(() => {})
    await within(5000, () => served)
    assert.match(dropped.at(-1) ?? '', why)
    assert.equal(await agent.next(), { type: 'core.relay.client.disconnected', id: 0 })
  }
  assert.is(dropped.length, bad.length)
  // What agents ignore or answer is no reason; and shutdown is anybody's, with id 0.
  const { ours } = raw(relay)
  const { idMin } = await prologue(ours)
  await ours.write(encodeMessage(idMin, 'core.exec.started', { pid: 1 }))
  await ours.write(encodeMessage(0, 'core.shutdown', null))
  assert.equal(await agent.next(), { type: 'core.shutdown', id: 0 })
  await relay.close()
})

test('a program whose client breaks a rule is killed even after a core.error', async () => {
  const { relay, agent } = await bootedConsole()
  const { ours } = raw(relay)
  const { idMin } = await prologue(ours)
  const request = { cmd: 'x', args: [], env: [], tty: false, rows: 24, cols: 80, rlimits: [] }
  for (const id of [idMin, idMin + 1]) {
    await ours.write(encodeMessage(id, 'core.exec.request', request))
    assert.is((await agent.next()).type, 'core.exec.request')
  }
  await agent.say(encodeMessage(idMin, 'core.error', { kind: 'invalid_payload', message: 'no' }))
  await agent.say(encodeMessage(idMin + 1, 'core.exec.exited', { code: 0 }))
  await ours.read()
  await ours.close()
  assert.equal(await agent.next(), { type: 'core.exec.signal', id: idMin })
  assert.equal(await agent.next(), { type: 'core.relay.client.disconnected', id: 0 })
  await relay.close()
})

test('128 clients, and the 129th is closed without a word', async () => {
  const { relay, guest } = await relayOfGuest()
  const clients = await Promise.all(Array.from({ length: 128 }, () => client(relay)))
  assert.is(relay.clientCount, 128)
  const refused = await rejection(client(relay))
  assert.is(refused instanceof AgentError && refused.kind, 'closed')
  assert.match(String(refused), /its 128 client connections are all in use/)
  await Promise.all(clients.map((each) => each.ping()))
  await Promise.all(clients.slice(0, 100).map((each) => each.close()))
  while (relay.clientCount > 28) await clients[127]?.ping()
  const fresh = await client(relay)
  await fresh.ping()
  await relay.close()
  for (const each of clients.slice(100)) {
    assert.is((await each.closed)?.kind, 'closed')
  }
  assert.is(relay.clientCount, 0)
  guest.close()
})

test('a guest that restarts ends its clients with the reason', async () => {
  const { relay, agent } = await bootedConsole()
  const { ours } = raw(relay)
  await prologue(ours)
  await agent.say(encodeMessage(0, 'core.init.resolved', { default_user: { uid: 0, gid: 0 } }))
  assert.match(String(await relay.closed), /the guest has restarted/)
  assert.is(await ours.read(), undefined)
  assert.is(relay.clientCount, 0)
})

test('a guest that restarts in the middle of a frame is noticed all the same', async () => {
  const { relay, agent } = await bootedConsole()
  const { ours } = raw(relay)
  await prologue(ours)
  const frame = encodeData(5, 'core.exec.stdout', new Uint8Array(100_000))
  await agent.say(frame.subarray(0, 30_000))
  // The next guest on the same carrier, which nobody has told that there is one.
  const guest = new GuestConsole(() => guestAgent())
  void guest.serve(agent.transport)
  assert.match(String(await within(10_000, () => relay.closed)), /the guest has restarted/)
  assert.is(await ours.read(), undefined)
  guest.close()
})

test('a guest boots although it first hears the end of what was for its predecessor', async () => {
  const [host, vm] = memoryPair()
  const frame = encodeData(5, 'core.exec.stdin', new Uint8Array(100_000))
  // Inside it, what looks like the length of a frame that will never be complete.
  writeUint32(frame, 50_000, 1_000_000)
  const late = host.write(frame.subarray(50_000, 60_000))
  const guest = new GuestConsole(() => guestAgent())
  void guest.serve(vm)
  await late
  const relay = await within(10_000, () => AgentRelay.open(host))
  const agent = await client(relay)
  await agent.ping()
  await relay.close()
  guest.close()
})

test('our own guest notices a host that takes it for an earlier one', async () => {
  const guest = new GuestConsole(() => guestAgent())
  const [host, vm] = memoryPair()
  void guest.serve(vm)
  // Not booted yet, and it hears a ping: the host learns of it and has it boot.
  const relay = await within(5000, () => AgentRelay.open(host, { booted: true }))
  const agent = await client(relay)
  await agent.ping()
  await relay.close()
  // Met again, it is the same guest.
  const [again, console] = memoryPair()
  void guest.serve(console)
  const second = await within(5000, () => AgentRelay.open(again))
  await (await client(second)).ping()
  await second.close()
  guest.close()
})

test('a sandbox that dies ends its clients, programs and the relay', async () => {
  const { relay, vm } = await relayOfGuest()
  const agent = await client(relay)
  const program = await agent.exec({ command: 'cat' })
  vm.abort(new Error('the VM is gone'))
  assert.is((await agent.closed)?.kind, 'closed')
  await rejection(program.exited)
  assert.ok((await relay.closed) instanceof AgentError)
  const refused = await rejection(client(relay))
  assert.is(refused instanceof AgentError && refused.kind, 'closed')
})

test.run()
