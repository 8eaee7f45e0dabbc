/** Certificates at a server: which ones let in, as whom, and what they then allow. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type CertificateRequest,
  certified,
  connect,
  generateKey,
  issueCertificate,
  memoryPair,
  type PrivateKey,
  publickey,
  type Signer,
  SshError,
} from '@sandbox-ssh/protocol'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { ServerEvent } from '../src/server/events.ts'
import type { SshServerOptions } from '../src/server/options.ts'
import { memorySandbox, temporaryDirectory } from './memory-sandbox.ts'
import { within } from './within.ts'

const test = suite('certificates')
const add = (title: string, body: () => Promise<void>): void =>
  test(title, () => within(30_000, body))

const authority = generateKey('ed25519', { comment: 'the authority' })
const user = generateKey('ed25519')
const folder = temporaryDirectory()
const authoritiesPath = join(folder, 'authorities')
writeFileSync(authoritiesPath, `# trusted\n${authority.publicKey}\n`, { mode: 0o600 })

/** A signer with a certificate for `root`, unless `changes` say otherwise. */
async function holder(
  changes: Partial<CertificateRequest> = {},
  by: PrivateKey = authority,
): Promise<Signer> {
  const certificate = await issueCertificate(by, {
    ...{
      key: user.publicKey,
      role: 'user',
      principals: ['root'],
      keyId: 'ada, laptop',
      serial: 12n,
    },
    validBeforeMs: Date.now() + 60_000,
    ...changes,
  })
  return certified(user, certificate)
}

interface Entered {
  /** What a command printed, or why nobody got in. */
  readonly output: string
  readonly events: readonly ServerEvent[]
}

/** Logs in once and runs a command. */
async function enter(
  signer: Signer,
  options: SshServerOptions = {},
  { username = 'root', command = 'echo in', pty = false } = {},
): Promise<Entered> {
  const { sandbox } = memorySandbox()
  const events: ServerEvent[] = []
  const server = await sandbox.ssh().prepareServer({
    ...{ hostKeys: [generateKey('ed25519')], authoritiesPath, user: 'root' },
    onEvent: (event) => events.push(event),
    ...options,
  })
  const [ours, theirs] = memoryPair()
  const peer = { clientHost: '10.1.2.3', clientPort: 7, serverHost: '127.0.0.1', serverPort: 22 }
  server.serveConnection(theirs, { peer }).catch(() => {})
  let output: string
  try {
    const client = await connect(ours, { username, hostKey: () => true, auth: [publickey(signer)] })
    output = (await client.run(command, pty ? { pty: {} } : {})).text().trim()
    await client.close()
  } catch (error) {
    assert.instance(error, SshError)
    output = (error as Error).message
  }
  await server.close()
  return { output, events }
}

/** Checks that nobody gets in, and what the log then says. */
async function refused(reason: RegExp, ...args: Parameters<typeof enter>): Promise<void> {
  const { output, events } = await enter(...args)
  assert.match(output, /not let in/)
  const event = events.find(({ type }) => type === 'key-refused')
  assert.ok(event?.type === 'key-refused', reason.source)
  assert.match(event.reason, reason)
}

add(
  'a certificate of a trusted authority lets in whom it names, and the log says which',
  async () => {
    const { output, events } = await enter(await holder())
    assert.is(output, 'in')
    const login = events.find(({ type }) => type === 'logged-in')
    assert.ok(login?.type === 'logged-in')
    assert.is(login.keyType, 'ssh-ed25519-cert-v01@openssh.com')
    assert.is(login.key, user.publicKey.fingerprint())
    assert.equal(login.certificate, {
      id: 'ada, laptop',
      serial: '12',
      authority: authority.publicKey.fingerprint(),
    })
  },
)

add(
  'its key alone does not, nor a certificate of somebody else, for others or out of date',
  async () => {
    await refused(/the key is not authorized/, user)
    await refused(
      /authority of the certificate is not trusted/,
      await holder({}, generateKey('ed25519')),
    )
    await refused(/is for dev, not for root/, await holder({ principals: ['dev'] }))
    await refused(
      /has expired/,
      await holder({ validAfterMs: 0, validBeforeMs: Date.now() - 1000 }),
    )
    await refused(/not valid yet/, await holder({ validAfterMs: Date.now() + 30_000 }))
    await refused(/host certificate/, await holder({ role: 'host' }))
  },
)

add('critical options are enforced, and one that is not known lets nobody in', async () => {
  const holding = (name: string, value = ''): Promise<Signer> =>
    holder({ criticalOptions: { [name]: value } })
  const forced = await holding('force-command', 'echo forced: $SSH_ORIGINAL_COMMAND')
  assert.is((await enter(forced)).output, 'forced: echo in')
  assert.is((await enter(await holding('source-address', '10.0.0.0/8'))).output, 'in')
  await refused(/not be used from this address/, await holding('source-address', '192.168.0.0/16'))
  await refused(/critical option that is not supported here: x@y/, await holding('x@y'))
  // It attests nothing, being no security key, and is then no matter.
  assert.is((await enter(await holding('verify-required'))).output, 'in')
})

add('extensions are what it allows', async () => {
  const bare = await holder({ extensions: {} })
  assert.is((await enter(bare)).output, 'in')
  const terminal = await enter(bare, {}, { pty: true })
  assert.match(terminal.output, /this key may not have a terminal/)
  assert.is((await enter(await holder(), {}, { pty: true })).output, 'in')
})

add(
  'principals may be asked for by login, user and sandbox, or by the line of the authority',
  async () => {
    const named = async (principals: readonly string[], principal: string): Promise<string> => {
      const signer = await holder({ principals: [principal] })
      return (await enter(signer, { principals }, { username: 'dev' })).output
    }
    assert.is(await named(['%u'], 'dev'), 'in')
    assert.is(await named(['%r', 'ops'], 'ops'), 'in')
    assert.is(await named(['%s:%u', '100%%'], 'sandbox:dev'), 'in')
    assert.is(await named(['100%%'], '100%'), 'in')
    assert.match(await named(['ops'], 'dev'), /not let in/)
    const path = join(folder, 'with-options')
    writeFileSync(path, `from="10.0.0.0/8",principals="ops" ${authority.publicKey}\n`, {
      mode: 0o600,
    })
    assert.is(
      (await enter(await holder({ principals: ['ops'] }), { authoritiesPath: path })).output,
      'in',
    )
    await refused(/is for root, not for ops/, await holder(), { authoritiesPath: path })
    for (const principals of [['%x'], [''], ['a b'], ['%']]) {
      try {
        await enter(user, { principals })
        assert.unreachable()
      } catch (error) {
        assert.instance(error, TypeError)
      }
    }
  },
)

add('a line with cert-authority in a file of keys is an authority as well', async () => {
  const path = join(folder, 'keys')
  writeFileSync(path, `cert-authority,principals="dev",no-pty ${authority.publicKey}\n`, {
    mode: 0o600,
  })
  const files = { authoritiesPath: undefined, authorizedKeysPath: path }
  const dev = await holder({ principals: ['dev'] })
  assert.is((await enter(dev, files)).output, 'in')
  assert.match((await enter(dev, files, { pty: true })).output, /may not have a terminal/)
  await refused(/is for root, not for dev/, await holder(), files)
  await refused(/the key is not authorized/, authority, files)
})

add('what is revoked lets nobody in, and without the list nobody gets in at all', async () => {
  const list = join(folder, 'revoked')
  const write = (text: string): void => writeFileSync(list, text, { mode: 0o600 })
  const revoking = { revokedKeysPath: list }
  write('serial: 13\n')
  assert.is((await enter(await holder(), revoking)).output, 'in')
  for (const [text, reason] of [
    ['serial: 12', /the certificate is revoked/],
    ['id: ada, laptop', /the certificate is revoked/],
    [user.publicKey.fingerprint(), /key of the certificate is revoked/],
    [authority.publicKey.toString(), /authority of the certificate is revoked/],
  ] as const) {
    write(text)
    await refused(reason, await holder(), revoking)
  }
  write(user.publicKey.toString())
  await refused(/the key is revoked/, user, {
    ...revoking,
    ...{ authoritiesPath: undefined, authorizedKeys: [user.publicKey] },
  })
  for (const [text, message] of [
    ['what is this', /^revoked keys \S+: line 1 is neither/],
    [undefined, /^failed to read \S+missing: no such file/],
  ] as const) {
    if (text !== undefined) write(text)
    try {
      await enter(
        user,
        text === undefined ? { revokedKeysPath: join(folder, 'missing') } : revoking,
      )
      assert.unreachable()
    } catch (error) {
      assert.match((error as Error).message, message)
    }
  }
})

add('files are read at each login, and what others can write is not trusted', async () => {
  const directory = join(folder, 'changing')
  mkdirSync(directory, { mode: 0o700 })
  const path = join(directory, 'authorities')
  writeFileSync(path, `${authority.publicKey}\n`, { mode: 0o600 })
  const { sandbox } = memorySandbox()
  const events: ServerEvent[] = []
  const server = await sandbox.ssh().prepareServer({
    ...{ hostKeys: [generateKey('ed25519')], authoritiesPath: path, user: 'root' },
    onEvent: (event) => events.push(event),
  })
  const tryIn = async (): Promise<boolean> => {
    const [ours, theirs] = memoryPair()
    server.serveConnection(theirs).catch(() => {})
    const auth = [publickey(await holder())]
    try {
      await (await connect(ours, { username: 'root', hostKey: () => true, auth })).close()
      return true
    } catch {
      return false
    }
  }
  assert.ok(await tryIn())
  chmodSync(path, 0o666)
  assert.not.ok(await tryIn())
  chmodSync(path, 0o600)
  assert.ok(await tryIn())
  writeFileSync(path, `${generateKey('ed25519').publicKey}\n`)
  assert.not.ok(await tryIn())
  await server.close()
  const reasons = events.flatMap((event) => (event.type === 'key-refused' ? [event.reason] : []))
  assert.match(reasons[0] ?? '', /cannot be trusted/)
  assert.match(reasons[1] ?? '', /not trusted/)
})

test.run()
