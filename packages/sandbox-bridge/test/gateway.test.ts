/** Many sandboxes behind one server: who gets where, and that nobody learns more than that. */
// Also on: bun, deno
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  type Client,
  certified,
  connect,
  generateKey,
  issueCertificate,
  memoryPair,
  type PrivateKey,
  pinned,
  publickey,
  type Signer,
  SshError,
} from '@sandbox-ssh/protocol'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { sandboxDirectory } from '../src/home/directory.ts'
import { sandboxKeysPath } from '../src/home/grants.ts'
import { openHome } from '../src/home/home.ts'
import { gatewayHostKeyPath } from '../src/home/host-key.ts'
import { readHostKey } from '../src/home/known-sandboxes.ts'
import type { ServerEvent } from '../src/server/events.ts'
import { splitLogin } from '../src/server/login.ts'
import type { GatewayOptions } from '../src/server/options.ts'
import { prepareGateway } from '../src/server/prepare.ts'
import type { SshServer } from '../src/ssh-server.ts'
import { type MemorySandbox, memorySandbox, temporaryDirectory } from './memory-sandbox.ts'
import { within } from './within.ts'

const test = suite('gateway')
const add = (title: string, body: () => Promise<void>): void =>
  test(title, () => within(30_000, body))

const [common, red, blue, authority] = Array.from({ length: 4 }, () => generateKey('ed25519')) as [
  PrivateKey,
  PrivateKey,
  PrivateKey,
  PrivateKey,
]

interface Opened {
  readonly server: SshServer
  readonly boxes: ReadonlyMap<string, MemorySandbox>
  readonly events: ServerEvent[]
  readonly enter: (username: string, signer: Signer) => Promise<Client>
}

/** A gateway to `red` and `blue`, each with a key of its own, and one key for both. */
async function opened(options: Partial<GatewayOptions> = {}): Promise<Opened> {
  const home = openHome({ path: join(temporaryDirectory(), 'home') })
  const grant = (path: string, key: PrivateKey): void => {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(path, `${key.publicKey}\n`, { mode: 0o600 })
  }
  grant(home.authorizedKeysPath, common)
  grant(sandboxKeysPath(home, 'red'), red)
  grant(sandboxKeysPath(home, 'blue'), blue)
  const boxes = new Map(['red', 'blue'].map((name) => [name, memorySandbox()]))
  const events: ServerEvent[] = []
  const server = await prepareGateway({
    home,
    resolve: (name) => {
      const box = boxes.get(name)
      return box && { sandbox: box.sandbox }
    },
    onEvent: (event) => events.push(event),
    ...options,
  })
  const hostKey = await readHostKey(gatewayHostKeyPath(home))
  const [shown] = server.hostKeys
  if (shown === undefined || hostKey === undefined) throw new Error('no host key')
  assert.ok(shown.equals(hostKey))
  const enter = (username: string, signer: Signer): Promise<Client> => {
    const [ours, theirs] = memoryPair()
    const peer = { clientHost: '10.0.0.1', clientPort: 7, serverHost: '10.0.0.2', serverPort: 22 }
    server.serveConnection(theirs, { peer }).catch(() => {})
    return connect(ours, { username, hostKey: pinned(shown), auth: [publickey(signer)] })
  }
  return { server, boxes, events, enter }
}

/** What comes of a login: `in`, or the error that the client sees. */
async function outcome({ enter }: Opened, username: string, signer: Signer): Promise<string> {
  try {
    const client = await enter(username, signer)
    await client.close()
    return 'in'
  } catch (error) {
    assert.instance(error, SshError)
    return (error as Error).message
  }
}

add(
  'the login says which sandbox and which user, and the grants are those of the sandbox',
  async () => {
    const gateway = await opened()
    for (const name of ['red', 'blue']) {
      const client = await gateway.enter(name, common)
      assert.is(
        (await client.run('echo $HOME; id -un')).text(),
        `${gateway.boxes.get(name)?.directory}\nroot\n`,
      )
      await client.close()
    }
    assert.is(await outcome(gateway, 'red', red), 'in')
    assert.is(await outcome(gateway, 'root+red', red), 'in')
    assert.is(await outcome(gateway, 'blue', blue), 'in')
    const client = await gateway.enter('0:0+red', red)
    assert.is((await client.run('id -u')).text(), '0\n')
    await client.close()
    const unknown = await (await gateway.enter('nobody-here+red', red)).run('id')
    assert.is(unknown.code, 127)
    await gateway.server.close()
  },
)

add('what is not served cannot be told from a key that may not enter', async () => {
  const gateway = await opened()
  const seen = async (login: string, key: PrivateKey): Promise<string> =>
    (await outcome(gateway, login, key)).replace(`"${login}"`, 'NAME').replace(/SHA256:\S+/, 'KEY')
  const refused = await seen('red', blue)
  assert.match(refused, /NAME was not let in: .*KEY/)
  for (const login of [
    'blue',
    'green',
    'root+green',
    '+red',
    'red+',
    '../red',
    'red/',
    'local:red',
    '',
  ]) {
    assert.is(await seen(login, red), refused, login)
  }
  await gateway.server.close()
  const told = gateway.events.flatMap((event) =>
    event.type === 'key-refused' ? [`${event.user}: ${event.reason}`] : [],
  )
  assert.ok(told.includes('blue: the key is not authorized'))
  assert.ok(told.includes('root+green: no sandbox of that name is served here'))
  assert.ok(gateway.events.every(({ type, sandbox }) => type !== 'key-refused' || !sandbox))
})

add('events name the sandbox once somebody is in it', async () => {
  const gateway = await opened()
  const client = await gateway.enter('dev+red', common)
  await client.run('true')
  await client.close()
  await gateway.server.close()
  assert.equal(
    gateway.events.map(({ type, sandbox }) => [type, sandbox]),
    [
      ['connected', undefined],
      ['logged-in', 'red'],
      ['session-started', 'red'],
      ['session-ended', 'red'],
      ['disconnected', 'red'],
    ],
  )
})

add('a sandbox has so many places, which strangers do not take, nor those of another', async () => {
  const gateway = await opened({ connectionsPerSandbox: 2 })
  const first = await gateway.enter('red', common)
  const second = await gateway.enter('red', common)
  assert.match(await outcome(gateway, 'red', blue), /not let in/)
  const third = await gateway.enter('red', common)
  const error = await third.closed
  assert.match(error?.message ?? '', /red has as many connections as it may have/)
  assert.is(await outcome(gateway, 'blue', common), 'in')
  await second.close()
  while (gateway.server.connectionCount > 1) await new Promise((go) => setImmediate(go))
  const again = await gateway.enter('red', common)
  assert.is((await again.run('echo yes')).text(), 'yes\n')
  assert.is((await first.run('echo still')).text(), 'still\n')
  await gateway.server.close()
})

add('a sandbox that cannot be reached harms those of no other', async () => {
  const gateway = await opened()
  const [ofRed, ofBlue] = [await gateway.enter('red', common), await gateway.enter('blue', common)]
  assert.is((await ofRed.run('echo red')).text(), 'red\n')
  gateway.boxes.get('red')?.stop()
  assert.is((await ofBlue.run('echo blue')).text(), 'blue\n')
  await gateway.server.close()
  assert.is(gateway.boxes.get('blue')?.clientCount(), 0)
})

add('a resolver may take its time, fail, or name the user', async () => {
  const box = memorySandbox()
  const gateway = await opened({
    resolve: async (name) => {
      await new Promise((go) => setImmediate(go))
      if (name === 'broken') throw new Error('the directory is down')
      return name === 'named' ? { sandbox: box.sandbox, user: 'no-such-user' } : undefined
    },
  })
  assert.match(await outcome(gateway, 'broken', common), /not let in/)
  const client = await gateway.enter('named', common)
  assert.is((await client.run('id -un')).code, 127)
  const root = await gateway.enter('root+named', common)
  assert.is((await root.run('id -un')).text(), 'root\n')
  await gateway.server.close()
  const reasons = gateway.events.flatMap((event) =>
    event.type === 'key-refused' ? [event.reason] : [],
  )
  assert.equal(reasons, ['the directory is down'])
})

add('certificates are for the login as it is given, or for what the gateway is told', async () => {
  const folder = temporaryDirectory()
  const path = join(folder, 'all.pub')
  writeFileSync(path, `${authority.publicKey}\n`, { mode: 0o600 })
  const holder = async (principal: string, by = authority): Promise<Signer> =>
    certified(
      red,
      await issueCertificate(by, {
        ...{ key: red.publicKey, role: 'user', principals: [principal], keyId: 'x' },
        validBeforeMs: Date.now() + 60_000,
      }),
    )
  const strict = await opened({ authoritiesPath: path })
  assert.is(await outcome(strict, 'red', await holder('red')), 'in')
  assert.is(await outcome(strict, 'root+red', await holder('root+red')), 'in')
  for (const [login, principal] of [
    ['root+red', 'red'],
    ['red', 'root+red'],
    ['blue', 'red'],
    ['red', 'root'],
    ['green', 'green'],
  ] as const) {
    assert.match(await outcome(strict, login, await holder(principal)), /not let in/, login)
  }
  await strict.server.close()

  const byName = await opened({ authoritiesPath: path, principals: ['%s', '%u@%s'] })
  assert.is(await outcome(byName, 'root+red', await holder('red')), 'in')
  assert.is(await outcome(byName, 'root+red', await holder('root@red')), 'in')
  assert.match(await outcome(byName, 'red', await holder('root@red')), /not let in/)
  await byName.server.close()

  // One authority for each sandbox: that of one opens no other.
  const own = generateKey('ed25519')
  writeFileSync(join(folder, 'red.ca'), `${own.publicKey}\n`, { mode: 0o600 })
  const each = await opened({ authoritiesPath: join(folder, '%s.ca') })
  assert.is(await outcome(each, 'red', await holder('red', own)), 'in')
  assert.match(await outcome(each, 'blue', await holder('blue', own)), /not let in/)
  assert.is(await outcome(each, 'blue', blue), 'in')
  await each.server.close()
})

add('it is told of names that nobody may enter, and does not begin where that is all', async () => {
  const warnings: string[] = []
  const home = openHome({ path: join(temporaryDirectory(), 'home') })
  const box = memorySandbox()
  const options = {
    home,
    names: ['red', 'blue'],
    resolve: () => ({ sandbox: box.sandbox }),
    onWarning: (message: string) => warnings.push(message),
  }
  try {
    await prepareGateway(options)
    assert.unreachable()
  } catch (error) {
    assert.match(
      (error as Error).message,
      /^nobody may enter red: no authorized keys in .*authorize/,
    )
  }
  mkdirSync(dirname(sandboxKeysPath(home, 'red')), { recursive: true, mode: 0o700 })
  writeFileSync(sandboxKeysPath(home, 'red'), `${red.publicKey}\n`, { mode: 0o600 })
  await (await prepareGateway(options)).close()
  assert.is(warnings.length, 1)
  assert.match(warnings[0] ?? '', /^nobody may enter blue: /)
  for (const [wrong, message] of [
    [{ authoritiesPath: join(home.path, 'none') }, /failed to read/],
    [{ connectionsPerSandbox: 0 }, /positive integer/],
    [{ lingerMs: -1 }, /milliseconds/],
  ] as const) {
    try {
      await prepareGateway({ ...options, ...wrong })
      assert.unreachable()
    } catch (error) {
      assert.match((error as Error).message, message)
    }
  }
})

test('logins are taken apart at the last plus sign', () => {
  assert.equal(splitLogin('red'), { username: 'red', user: undefined, sandbox: 'red' })
  assert.equal(splitLogin('a+b+c.d-1'), { username: 'a+b+c.d-1', user: 'a+b', sandbox: 'c.d-1' })
  for (const wrong of [
    '',
    '+',
    '+a',
    'a+',
    'a+.b',
    '-a',
    'a b',
    'a\0',
    'a/b',
    `a${'b'.repeat(128)}`,
  ]) {
    assert.is(splitLogin(wrong), undefined, wrong)
  }
})

test('a directory has what is listed, and of the rest what matches and is there', async () => {
  const home = openHome({ path: temporaryDirectory() })
  for (const path of [
    'sandboxes/dev-1',
    'sandboxes/prod',
    'sandboxes/twin',
    'local/dev-2',
    'local/twin',
  ]) {
    mkdirSync(join(home.path, path), { recursive: true })
  }
  const warnings: string[] = []
  const labelled = async (
    patterns: readonly string[],
    name: string,
  ): Promise<string | undefined> => {
    const entries = new Map([['db', 'unix:/run/db.sock']])
    const onWarning = (message: string): unknown => warnings.push(message)
    return (await sandboxDirectory({ home, entries, patterns, onWarning })(name))?.sandbox.label
  }
  assert.is(await labelled([], 'db'), 'unix:/run/db.sock')
  assert.is(await labelled([], 'dev-1'), undefined)
  assert.is(await labelled(['dev-?'], 'dev-1'), 'dev-1')
  assert.is(await labelled(['dev.1', 'dev-*'], 'prod'), undefined)
  assert.is(await labelled(['dev-*'], 'dev-2'), undefined)
  assert.is(await labelled(['local:*'], 'dev-2'), 'local:dev-2')
  assert.is(await labelled(['*', 'local:*'], 'dev-3'), undefined)
  assert.is(await labelled(['*'], 'twin'), 'twin')
  assert.equal(warnings, [])
  assert.is(await labelled(['*', 'local:*'], 'twin'), undefined)
  assert.equal(warnings, ["twin is nobody's login: it could be twin or local:twin"])
})

test.run()
