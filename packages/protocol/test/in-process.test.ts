// The profile without encryption: between the ends of a memory pair, when both ask, and nowhere else.

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import * as legacy from '../src/algorithms/legacy.ts'
import { modern } from '../src/algorithms/modern.ts'
import * as everything from '../src/index.ts'
import {
  type ClientOptions,
  connect,
  defaultCrypto,
  generateKey,
  memoryPair,
  nobleCrypto,
  pinned,
  publickey,
  type ServerOptions,
  type SshError,
  serve,
  type Transport,
  webStreams,
} from '../src/index.ts'
import { rejection, within } from './within.ts'

const hostKey = generateKey('ed25519')
const userKey = generateKey('ed25519')
const serverOptions: ServerOptions = {
  hostKeys: [hostKey],
  auth: { publickey: ({ key }) => key.equals(userKey.publicKey) },
  exec: async ({ stdin, stdout }) => {
    await stdin.pipeTo(stdout)
    return 0
  },
}
const clientOptions: ClientOptions = {
  username: 'ada',
  hostKey: pinned(hostKey.publicKey),
  auth: [publickey(userKey)],
}
const inProcess = { inProcess: true } as const

test('both ends of a memory pair may agree on no cipher and no MAC', async () => {
  const [left, right] = memoryPair()
  const [client, server] = await Promise.all([
    connect(left, { ...clientOptions, ...inProcess }),
    serve(right, { ...serverOptions, ...inProcess }),
  ])
  const { cipherIn, cipherOut, macIn, strict } = client.negotiated
  assert.equal([cipherIn, cipherOut, macIn, strict], ['none', 'none', 'implicit', true])
  const stdin = new Uint8Array(3_000_000).fill(7)
  client.rekey()
  const { code, stdout } = await client.run('cat', { stdin })
  assert.is(code, 0)
  assert.ok(stdout.length === stdin.length && stdout.every((byte) => byte === 7))
  await client.close()
  await server.closed
})

test('a key that is not the right one does not get in all the same', async () => {
  const [left, right] = memoryPair()
  const refused = serve(right, { ...serverOptions, ...inProcess }).catch(() => {})
  const auth = [publickey(generateKey('ed25519'))]
  const error = await rejection(connect(left, { ...clientOptions, ...inProcess, auth }))
  assert.is((error as SshError).code, 'SSH_AUTHENTICATION')
  await refused
})

test('one side that asks and one that does not get nowhere, and neither waits', async () => {
  for (const [ours, theirs] of [
    [inProcess, {}],
    [{}, inProcess],
  ] as const) {
    for (const serverFirst of [false, true]) {
      const [left, right] = memoryPair()
      const client = (): Promise<unknown> => connect(left, { ...clientOptions, ...ours })
      const server = (): Promise<unknown> => serve(right, { ...serverOptions, ...theirs })
      const attempts = serverFirst ? [server(), client()] : [client(), server()]
      const outcomes = await within(5000, Promise.allSettled(attempts))
      const reasons = outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason)
      assert.ok(
        reasons.every((reason) => reason instanceof Error),
        'both are refused',
      )
      assert.ok(
        reasons.some((reason) => String(reason).includes('inProcess')),
        String(reasons),
      )
    }
  }
})

/** Everything that could be taken for an end of a memory pair, and is none. */
function imitations(): Readonly<Record<string, Transport>> {
  const [left] = memoryPair()
  const methods = (to: Transport): Transport => ({
    read: () => to.read(),
    write: (chunk) => to.write(chunk),
    close: () => to.close(),
    abort: (reason) => to.abort(reason),
  })
  const { port1 } = new MessageChannel()
  port1.close()
  const { constructor: Ends } = Object.getPrototypeOf(left)
  const Descended = class {
    constructor() {
      Object.setPrototypeOf(this, left)
    }
  }
  return {
    'its methods': methods(left),
    'its methods and a claim': { ...methods(left), inProcess: true } as Transport,
    'an heir': Object.create(left) as Transport,
    'an heir of its prototype': Object.assign(
      Object.create(Object.getPrototypeOf(left)),
      methods(left),
    ) as Transport,
    'a proxy': new Proxy(left, {}),
    'an object of a class': new Descended() as Transport,
    'a clone': { ...structuredClone({ ...left }), ...methods(left) },
    'a port to a worker': Object.assign(port1, {
      read: async () => undefined,
      write: async () => undefined,
      close: async () => undefined,
      abort: () => undefined,
    }) as unknown as Transport,
    'a channel': webStreams({ readable: new ReadableStream(), writable: new WritableStream() }),
    'what its constructor would make': (() => {
      try {
        return new Ends({}, methods(left), { of: 'nobody' }) as Transport
      } catch {
        return methods(left)
      }
    })(),
  }
}

test('nothing but an end of a memory pair is taken, whatever it says of itself', async () => {
  for (const [what, transport] of Object.entries(imitations())) {
    for (const attempt of [
      () => connect(transport, { ...clientOptions, ...inProcess }),
      () => serve(transport, { ...serverOptions, ...inProcess }),
    ]) {
      const error = await rejection(attempt())
      assert.instance(error, TypeError, what)
      assert.match((error as TypeError).message, 'inProcess', what)
    }
  }
})

test('changed prototypes and options make nothing else an end of one', async () => {
  const socket: Transport = {
    read: async () => undefined,
    write: async () => undefined,
    close: async () => undefined,
    abort: () => undefined,
  }
  const originals = [WeakSet.prototype.has, WeakMap.prototype.get, Set.prototype.has] as const
  WeakSet.prototype.has = () => true
  WeakMap.prototype.get = () => socket
  Set.prototype.has = () => true
  try {
    assert.instance(await rejection(connect(socket, { ...clientOptions, ...inProcess })), TypeError)
  } finally {
    ;[WeakSet.prototype.has, WeakMap.prototype.get, Set.prototype.has] = originals
  }
  // Not asked for when it is checked, and asked for afterwards: it is looked at once.
  let looks = 0
  const options = {
    ...clientOptions,
    get inProcess(): true | undefined {
      looks++
      return looks === 1 ? undefined : true
    },
  } as ClientOptions
  const [left, right] = memoryPair()
  const [client, server] = await Promise.all([connect(left, options), serve(right, serverOptions)])
  assert.not.equal(client.negotiated.cipherOut, 'none')
  await client.close()
  await server.closed
  // Given to every object there is, it makes connections fail, and none of them naked.
  const all = Object.prototype as { inProcess?: boolean }
  all.inProcess = true
  try {
    assert.instance(await rejection(serve(socket, serverOptions)), TypeError)
  } finally {
    delete all.inProcess
  }
})

test('a pair that anything else reads or writes at is refused, and then is of no more use', async () => {
  for (const touch of [
    (end: Transport) => void end.read().catch(() => {}),
    (end: Transport) => void end.write(new Uint8Array([1])).catch(() => {}),
  ]) {
    for (const which of [0, 1] as const) {
      const pair = memoryPair()
      touch(pair[which])
      const attempt = connect(pair[0], { ...clientOptions, ...inProcess })
      assert.instance(await rejection(attempt), TypeError)
      assert.instance(await rejection(pair[1].write(new Uint8Array([1]))), Error)
    }
  }
})

test('what a session in clear says cannot be carried out of the process', async () => {
  // As somebody would do who wants it on a wire: one end for the session, the other for a pump.
  const [left, right] = memoryPair()
  const session = connect(left, { ...clientOptions, ...inProcess }).catch((error) => error)
  const seen = await rejection(right.read())
  assert.match(String(seen), 'in-process session')
  assert.instance(await rejection(right.write(new Uint8Array(8))), Error)
  // Nor by changing what the end it was given does.
  const stolen: unknown[] = []
  Object.assign(left, { write: async (chunk: unknown) => void stolen.push(chunk) })
  const serving = serve(right, { ...serverOptions, ...inProcess })
  const client = await session
  assert.is(client.negotiated.cipherOut, 'none')
  assert.is((await client.run('cat', { stdin: 'secret' })).text(), 'secret')
  assert.equal(stolen, [])
  // An end has one session; the pair stays closed to all others when it is over.
  assert.instance(await rejection(connect(left, { ...clientOptions, ...inProcess })), TypeError)
  await client.close()
  await (await serving).closed
  assert.instance(await rejection(right.read()), Error)
})

test('what takes an end for a session in clear is none of the package’s exports', () => {
  const exported: object = everything
  const memory = ['isMemoryPair', 'memoryPair', 'takeInProcess', 'inProcessAlgorithms', 'carrierOf']
  assert.equal(
    memory.filter((name) => name in exported),
    ['isMemoryPair', 'memoryPair'],
  )
})

test('a list of ciphers with none in it is refused', async () => {
  for (const role of ['ciphers', 'macs'] as const) {
    const algorithms: ClientOptions['algorithms'] = (sound) => {
      const [first] = sound[role]
      return { ...sound, [role]: [{ ...first, name: 'none' }] }
    }
    const [left, right] = memoryPair()
    for (const attempt of [
      () => connect(left, { ...clientOptions, algorithms }),
      () => serve(right, { ...serverOptions, algorithms }),
    ]) {
      assert.match(String(await rejection(attempt())), 'none is no cipher')
    }
  }
})

test('no list that anything else negotiates contains none', () => {
  const lists = [nobleCrypto, defaultCrypto()].map(modern)
  const names = lists.flatMap(({ ciphers, macs }) => [...ciphers, ...macs]).map(({ name }) => name)
  const weak = Object.values(legacy).flatMap((value) =>
    typeof value === 'object' && 'name' in value ? [value.name] : [],
  )
  assert.ok(names.length > 10 && weak.length > 3)
  assert.not([...names, ...weak].includes('none'))
})

test.run()
