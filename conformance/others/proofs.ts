// Trials of proofs in several parts: questions in rounds, a password that has to be changed, a key
// and a password of which neither is enough.

import {
  AuthenticationError,
  type AuthMethod,
  keyboardInteractive,
  password,
  publickey,
  type ServerOptions,
} from '@sandbox-ssh/protocol'
import * as assert from 'uvu/assert'
import { bytes, sha256 } from '../data.ts'
import { areaOf } from '../feature.ts'
import type { Login, PeerClient, PeerServer, RunningPeer, ServerSetup } from '../peers/peer.ts'
import type { Keys } from './keys.ts'
import { withOurClient } from './our-client.ts'
import { withOurServer } from './our-server.ts'
import type { Trial } from './trial.ts'
import { use } from './use.ts'
import { secret, username } from './user.ts'

const data = bytes(1000)
const rounds = [['secret', 'blue'], ['123456']] as const
const changed = 'fresh'

/** The rows, in both roles. */
export const proofNames = [
  'several questions in several rounds',
  'a wrong answer in the last round is refused',
  'a password is changed on demand',
  'a key and then a password, of which neither is enough',
] as const

type Name = (typeof proofNames)[number]

const trials = (side: string, run: Readonly<Record<Name, () => Promise<void>>>): readonly Trial[] =>
  proofNames.map((name) => ({ area: `${side}: proofs`, name, run: run[name] }))

/** A client answers our server. */
export function proofsOfClient(client: PeerClient, keys: Keys): readonly Trial[] {
  const first = keys.usual
  const attempt = async (
    auth: ServerOptions['auth'],
    login: Pick<Login, 'proof' | 'second'>,
    isIn: boolean,
  ): Promise<void> =>
    withOurServer(first.key, { auth }, async (server) => {
      const all = { port: server.port, username, hostKey: first.key, ...login }
      const came = await use(client, all, data).catch((error: unknown) => error as Error)
      if (isIn) {
        assert.instance(came, Uint8Array, `${came}\n${server.report()}`)
        assert.is(sha256(came as Uint8Array), sha256(data), server.report())
      } else {
        assert.instance(came, Error, 'it came in')
        assert.is(server.connections.length, 0, 'it came in')
      }
    })
  const ask: ServerOptions['auth'] = {
    keyboardInteractive: async (_, question) => {
      const prompts = [
        { prompt: 'Password: ', echo: false },
        { prompt: 'Colour: ', echo: true },
      ]
      const one = await question({ name: 'First', instruction: 'Have your token ready.', prompts })
      // Without a question it only tells something.
      const none = await question({ name: 'Note', instruction: 'Well done.', prompts: [] })
      const two = await question({ prompts: [{ prompt: 'Code: ', echo: true }] })
      return [...one, ...none, ...two].join() === rounds.flat().join()
    },
  }
  const answering = (answers: readonly string[]): Pick<Login, 'proof'> => ({
    proof: { method: 'keyboard-interactive', secret, answers },
  })
  return trials(areaOf.client, {
    'several questions in several rounds': () => attempt(ask, answering(rounds.flat()), true),
    'a wrong answer in the last round is refused': () =>
      attempt(ask, answering(['secret', 'blue', '0']), false),
    'a password is changed on demand': async () => {
      let given: string | undefined
      const auth: ServerOptions['auth'] = {
        password: ({ password: old, newPassword }) => {
          if (old !== secret) return false
          if (newPassword === undefined) return { changePassword: 'Your password has expired.' }
          given = newPassword
          return true
        },
      }
      const proof = { method: 'password', secret, newPassword: changed } as const
      await attempt(auth, { proof }, true)
      assert.is(given, changed)
    },
    'a key and then a password, of which neither is enough': async () => {
      const auth: ServerOptions['auth'] = {
        publickey: ({ key }) => key.equals(first.key.publicKey) && { continueWith: ['password'] },
        password: ({ password: given }) => given === secret,
      }
      await attempt(auth, { proof: first, second: secret }, true)
      await attempt(auth, { proof: first }, false)
    },
  })
}

/** Our client answers a server. */
export function proofsOfServer(peer: PeerServer, setup: ServerSetup, keys: Keys): readonly Trial[] {
  const served = async (
    more: Partial<ServerSetup>,
    body: (server: RunningPeer) => Promise<void>,
  ): Promise<void> => {
    const server = await peer.start({ ...setup, hostKeys: [keys.usual], ...more })
    try {
      await body(server)
    } finally {
      await server.stop()
    }
  }
  const enter = (server: RunningPeer, auth: readonly AuthMethod[]): Promise<void> =>
    withOurClient(server, keys, { auth }, async (client) => {
      assert.is((await client.run('exit 7')).code, 7)
    })
  const refused = async (server: RunningPeer, auth: readonly AuthMethod[]): Promise<void> => {
    const outcome = await enter(server, auth).catch((error: unknown) => error)
    assert.instance(outcome, AuthenticationError, String(outcome))
  }
  const answering = (answers: readonly string[], asked: (readonly boolean[])[]): AuthMethod => {
    const left = [...answers]
    return keyboardInteractive(({ prompts }) => {
      if (prompts.length > 0) asked.push(prompts.map(({ echo }) => echo))
      return prompts.map(() => left.shift() ?? '')
    })
  }
  return trials(areaOf.server, {
    'several questions in several rounds': () =>
      served({ rounds }, async (server) => {
        const asked: (readonly boolean[])[] = []
        await enter(server, [answering(rounds.flat(), asked)])
        assert.equal(asked, [[false, true], [true]])
      }),
    'a wrong answer in the last round is refused': () =>
      served({ rounds }, (server) => refused(server, [answering(['secret', 'blue', '0'], [])])),
    'a password is changed on demand': () =>
      served({ newPassword: changed }, async (server) => {
        await refused(server, [password(secret)])
        await enter(server, [password(secret, { newPassword: () => changed })])
      }),
    'a key and then a password, of which neither is enough': () =>
      served({ bothProofs: true }, async (server) => {
        await refused(server, [publickey(keys.usual.key)])
        await refused(server, [password(secret)])
        await enter(server, [publickey(keys.usual.key), password(secret)])
      }),
  })
}
