// Proofs of who somebody is, other than by a key alone: passwords that must be changed, several
// questions, several steps, and hosts that vouch for their users.

import { readFileSync, writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import {
  AuthenticationError,
  type AuthMethod,
  type Client,
  connect,
  generateKey,
  hostbased,
  keyboardInteractive,
  nodeSocket,
  PublicKey,
  password,
  publickey,
  type ServerOptions,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { features } from '../feature.ts'
import { type Askpass, askpass } from '../peers/askpass.ts'
import { temporaryFolder } from '../peers/folder.ts'
import { missing } from '../peers/installed.ts'
import { OpenSsh, startSshdWith } from '../peers/openssh.ts'
import { startOwnServer } from '../peers/own-server.ts'
import { type Ran, run } from '../peers/run.ts'
import { madeUpPam, madeUpUser, pamMatrix } from '../peers/user.ts'
import { keygen } from './issue.ts'

const client = features('OpenSSH', 'client', 'authentication')

/** Logs in with ssh, which is given these answers to what it asks. */
async function login(
  auth: ServerOptions['auth'],
  methods: string,
  answers: readonly string[],
  options: Partial<ServerOptions> = {},
  configuration: readonly string[] = [],
): Promise<{ readonly ran: Ran; readonly asked: Askpass; readonly inside: number }> {
  const own = await startOwnServer({ auth, ...options })
  const asked = askpass(answers)
  const config = [
    ...configuration,
    'BatchMode no',
    'PasswordAuthentication yes',
    `PreferredAuthentications ${methods}`,
  ]
  try {
    const ran = await new OpenSsh(own, config).ssh('true', { env: asked.env })
    return { ran, asked, inside: own.connections.length }
  } finally {
    await own.stop()
  }
}

client('a password is right at the second attempt', async () => {
  const auth: ServerOptions['auth'] = { password: (attempt) => attempt.password === 'right' }
  const { ran, asked } = await login(auth, 'password', ['wrong', 'right'])
  assert.is(ran.code, 0, ran.stderr)
  assert.is(asked.prompts().length, 2)
})

client('after three wrong passwords ssh is sent away', async () => {
  const auth: ServerOptions['auth'] = { password: () => false }
  const { ran, inside } = await login(auth, 'password', ['a', 'b', 'c', 'd', 'e'], {
    authFailuresMax: 3,
  })
  assert.is(ran.code, 255)
  assert.match(ran.stderr, /too many authentication failures/i)
  assert.is(inside, 0)
})

client('a password is changed when the server asks for it', async () => {
  let changed: string | undefined
  const auth: ServerOptions['auth'] = {
    password: ({ password: given, newPassword }) => {
      if (given !== 'old') return false
      if (newPassword === undefined || newPassword === 'old') {
        return { changePassword: 'Your password has expired.' }
      }
      changed = newPassword
      return true
    },
  }
  // It asks for the present password, the old one again, and the new one twice.
  const answers = ['old', 'old', 'fresh', 'fresh']
  const { ran, asked } = await login(auth, 'password', answers)
  assert.is(ran.code, 0, `${ran.stderr}${asked.prompts().join('\n')}`)
  assert.is(changed, 'fresh')
})

client('several questions in several rounds are answered', async () => {
  const rounds: (readonly string[])[] = []
  const auth: ServerOptions['auth'] = {
    keyboardInteractive: async ({ username }, ask) => {
      assert.is(username, 'ada')
      const instruction = 'Have your token ready.'
      const hidden = { prompt: 'Password: ', echo: false }
      const shown = { prompt: 'Favourite colour: ', echo: true }
      rounds.push(await ask({ name: 'First', instruction, prompts: [hidden, shown] }))
      // A round without a question only tells something.
      rounds.push(await ask({ name: 'Note', instruction: 'Well done.', prompts: [] }))
      rounds.push(await ask({ prompts: [{ prompt: 'Code: ', echo: true }] }))
      return rounds.flat().join() === 'secret,blue,123456'
    },
  }
  const answers = ['secret', 'blue', '123456']
  const { ran, asked } = await login(auth, 'keyboard-interactive', answers)
  assert.is(ran.code, 0, ran.stderr)
  assert.equal(rounds, [['secret', 'blue'], [], ['123456']])
  const prompts = asked.prompts().map((prompt) => prompt.replace(/^\(.*?\) /, ''))
  assert.equal(prompts, ['Password: ', 'Favourite colour: ', 'Code: '])
})

client('a wrong answer to the last of several rounds is refused', async () => {
  const auth: ServerOptions['auth'] = {
    keyboardInteractive: async (_, ask) => {
      const [first] = await ask({ prompts: [{ prompt: 'Password: ', echo: false }] })
      const [second] = await ask({ prompts: [{ prompt: 'Code: ', echo: true }] })
      return first === 'secret' && second === '123456'
    },
  }
  const { ran, inside } = await login(auth, 'keyboard-interactive', ['secret', '0'])
  assert.is(ran.code, 255)
  assert.is(inside, 0)
})

client('a key and then a password, of which neither is enough', async () => {
  const second: ServerOptions['auth'] = {
    publickey: () => ({ continueWith: ['password'] }),
    password: ({ password: given }) => given === 'right',
  }
  const both = await login(second, 'publickey,password', ['right'])
  assert.is(both.ran.code, 0, both.ran.stderr)
  const one = await login(second, 'publickey', [])
  assert.is(one.ran.code, 255)
  assert.match(one.ran.stderr, /Permission denied \(password\)/)
  assert.is(one.inside, 0)
})

client('two keys, of which neither is enough', async () => {
  const other = await keygen('ecdsa')
  const seen = new Set<string>()
  const auth: ServerOptions['auth'] = {
    publickey: ({ key, probe }) => {
      if (seen.has(key.fingerprint())) return false
      if (!probe) seen.add(key.fingerprint())
      return seen.size === 2 ? true : { continueWith: ['publickey'] }
    },
  }
  const { ran } = await login(auth, 'publickey', [], {}, [`IdentityFile ${other}`])
  assert.is(ran.code, 0, ran.stderr)
  assert.is(seen.size, 2)
})

client('a password and then questions', async () => {
  const auth: ServerOptions['auth'] = {
    password: ({ password: given }) =>
      given === 'right' && { continueWith: ['keyboard-interactive'] },
    keyboardInteractive: async (_, ask) =>
      (await ask({ prompts: [{ prompt: 'Code: ', echo: true }] }))[0] === '1',
  }
  const methods = 'password,keyboard-interactive'
  const { ran } = await login(auth, methods, ['right', '1'])
  assert.is(ran.code, 0, ran.stderr)
})

client('a banner is shown', async () => {
  const auth: ServerOptions['auth'] = { publickey: () => true }
  const banner = 'Authorized use only.\r\n'
  const { ran } = await login(auth, 'publickey', [], { banner }, ['LogLevel INFO'])
  assert.match(ran.stderr, /Authorized use only\./)
})

client('the method none lets in where the server says so', async () => {
  const { ran } = await login({ none: () => true }, 'publickey', [])
  assert.is(ran.code, 0, ran.stderr)
})

client(
  'its host vouches for the user',
  async () => {
    // ssh-keysign knows one place only for the host's keys and for its leave to use them.
    const etc = temporaryFolder()
    const path = await keygen('ed25519')
    const key = PublicKey.parse(readFileSync(`${path}.pub`, 'utf8'))
    for (const suffix of ['', '.pub']) {
      writeFileSync(join(etc, `ssh_host_ed25519_key${suffix}`), readFileSync(`${path}${suffix}`), {
        mode: 0o600,
      })
    }
    writeFileSync(join(etc, 'ssh_config'), 'EnableSSHKeysign yes\nHostbasedAuthentication yes\n')
    const claims: string[] = []
    const own = await startOwnServer({
      auth: {
        hostbased: (claim) => {
          claims.push(claim.clientUser)
          return claim.key.equals(key) && claim.clientUser === 'root'
        },
      },
    })
    try {
      const options = ['HostbasedAuthentication yes', 'PreferredAuthentications hostbased']
      const openssh = new OpenSsh(own, options)
      const bind = ['bwrap', '--dev-bind', '/', '/', '--bind', etc, '/etc/ssh']
      const ran = await run([...bind, ...openssh.command([], ['true'])])
      assert.is(ran.code, 0, ran.stderr)
      assert.equal(claims, ['root'])
    } finally {
      await own.stop()
    }
  },
  { missing: missing('bubblewrap', ['bwrap']) ?? asRoot() },
)

function asRoot(): string | undefined {
  return process.getuid?.() === 0 ? undefined : 'only root has host keys'
}
client.run()

const server = features('OpenSSH', 'server', 'authentication')
const key = generateKey('ed25519')
const secondKey = generateKey('ecdsa-nistp256')

/** A running sshd with a user, passwords asked for one after the other, and this configuration. */
async function withSshd(
  configuration: readonly string[],
  body: (port: number, home: string) => Promise<void>,
): Promise<void> {
  const folder = temporaryFolder()
  const hostKey = await keygen('ed25519')
  const file = (one: typeof key): { key: typeof key; path: string } => ({ key: one, path: '' })
  const setup = { username: 'ada', password: 'first', userKeys: [file(key), file(secondKey)] }
  const user = await madeUpUser(folder, setup)
  const env = madeUpPam(folder, 'sshd', 'ada', ['first', 'second'], user)
  const common = [`HostKey ${hostKey}`, 'UsePAM yes', 'PermitRootLogin yes']
  const { daemon, port } = await startSshdWith([...configuration, ...common], env)
  try {
    await body(port, folder)
  } finally {
    await daemon.stop()
  }
}

function enter(port: number, auth: readonly AuthMethod[]): Promise<Client> {
  return connect(nodeSocket(connectTcp(port, '127.0.0.1')), {
    ...{ username: 'ada', hostKey: () => true, auth },
  })
}

/** Logs in, and does not with any one step left out. */
async function needsAll(port: number, steps: readonly AuthMethod[]): Promise<void> {
  const inside = await enter(port, steps)
  assert.is((await inside.run('echo in')).text(), 'in\n')
  await inside.close()
  for (const left of steps) {
    const rest = steps.filter((step) => step !== left)
    const outcome = await enter(port, rest).catch((error: unknown) => error)
    assert.instance(outcome, AuthenticationError)
    assert.ok(
      (outcome as AuthenticationError).partialSuccess === (rest.length > 0 && left !== steps[0]),
    )
  }
}

const pamMissing =
  missing('libnss-wrapper', ['libnss_wrapper.so']) ??
  (pamMatrix() === undefined
    ? 'pam_matrix.so not installed (apt install libpam-wrapper)'
    : undefined)
const rounds = (): AuthMethod => {
  let round = 0
  return keyboardInteractive(({ prompts }) =>
    prompts.map(() => (round++ === 0 ? 'first' : 'second')),
  )
}

server(
  'PAM asks in two rounds',
  () =>
    withSshd([], async (port) => {
      const inside = await enter(port, [rounds()])
      await inside.close()
      const once = keyboardInteractive(({ prompts }) => prompts.map(() => 'first'))
      const outcome = await enter(port, [once]).catch((error: unknown) => error)
      assert.instance(outcome, AuthenticationError)
    }),
  { missing: pamMissing },
)

server(
  'AuthenticationMethods publickey,keyboard-interactive',
  () =>
    withSshd(['AuthenticationMethods publickey,keyboard-interactive'], async (port) => {
      const inside = await enter(port, [publickey(key), rounds()])
      await inside.close()
      const outcome = await enter(port, [publickey(key)]).catch((error: unknown) => error)
      assert.instance(outcome, AuthenticationError)
      assert.ok((outcome as AuthenticationError).partialSuccess)
      assert.equal((outcome as AuthenticationError).methods, ['keyboard-interactive'])
    }),
  { missing: pamMissing },
)

server(
  'AuthenticationMethods publickey,password, and publickey,publickey',
  async () => {
    const folder = temporaryFolder()
    const file = (one: typeof key): { key: typeof key; path: string } => ({ key: one, path: '' })
    const setup = { username: 'ada', password: 'first', userKeys: [file(key), file(secondKey)] }
    const env = await madeUpUser(folder, setup)
    const common = [`HostKey ${await keygen('ed25519')}`, 'UsePAM no', 'PermitRootLogin yes']
    const methods = 'AuthenticationMethods publickey,password publickey,publickey'
    const { daemon, port } = await startSshdWith([methods, ...common], env)
    try {
      await needsAll(port, [publickey(key), password('first')])
      const inside = await enter(port, [publickey([key, secondKey])])
      await inside.close()
      const outcome = await enter(port, [publickey(key)]).catch((error: unknown) => error)
      assert.instance(outcome, AuthenticationError)
    } finally {
      await daemon.stop()
    }
  },
  { missing: missing('libnss-wrapper', ['libnss_wrapper.so']) },
)

server(
  'a banner is heard',
  async () => {
    const text = join(temporaryFolder(), 'banner')
    writeFileSync(text, 'Authorized use only.\n')
    await withSshd([`Banner ${text}`], async (port) => {
      let heard = ''
      const inside = await connect(nodeSocket(connectTcp(port, '127.0.0.1')), {
        ...{ username: 'ada', hostKey: () => true, auth: [publickey(key)] },
        onBanner: (banner) => {
          heard += banner
        },
      })
      await inside.close()
      assert.match(heard, /Authorized use only\./)
    })
  },
  { missing: pamMissing },
)

server(
  'our host vouches for the user',
  async () => {
    const host = generateKey('ed25519')
    const options = [
      'HostbasedAuthentication yes',
      'HostbasedUsesNameFromPacketOnly yes',
      'IgnoreRhosts no',
    ]
    await withSshd(options, async (port, home) => {
      writeFileSync(join(home, '.shosts'), 'gate.example ada\n', { mode: 0o600 })
      writeFileSync(join(home, '.ssh/known_hosts'), `gate.example ${host.publicKey}\n`)
      const names = { hostName: 'gate.example', clientUser: 'ada' }
      const inside = await enter(port, [hostbased(host, names)])
      assert.is((await inside.run('echo in')).text(), 'in\n')
      await inside.close()
      const other = { ...names, clientUser: 'eve' }
      const outcome = await enter(port, [hostbased(host, other)]).catch((error: unknown) => error)
      assert.instance(outcome, AuthenticationError)
    })
  },
  { missing: pamMissing },
)
server.run()
