// npm's ssh2 as peers that are tried with all they have.

import { readFileSync } from 'node:fs'
import ssh2, { type AuthContext, type ConnectConfig, type ParsedKey } from 'ssh2'
import type { Login, PeerClient, PeerServer } from './peer.ts'
import { execSsh2, listenSsh2, openSsh2, proves } from './ssh2.ts'

/** Settings of a client for a login. */
export function settingsFor({ port, username, hostKey, proof }: Login): ConnectConfig {
  const expected = Buffer.from(hostKey.publicKey.blob)
  return {
    ...{ host: '127.0.0.1', port, username },
    hostVerifier: (key: Buffer) => key.equals(expected),
    // Offers it; whether it is used is for the server to say.
    algorithms: { compress: ['zlib@openssh.com', 'none'] },
    ...('key' in proof && { privateKey: readFileSync(proof.path) }),
    ...('secret' in proof && proof.method === 'password' && { password: proof.secret }),
    ...('secret' in proof && proof.method === 'keyboard-interactive' && { tryKeyboard: true }),
  }
}

/** `Client` of ssh2. */
export const ssh2Client: PeerClient = {
  name: 'ssh2',
  missing: undefined,
  secrets: ['password', 'keyboard-interactive'],
  rekeys: false,
  exec: async (login, command, stdin) => {
    const { proof } = login
    const client = await openSsh2(settingsFor(login), (made) => {
      made.on('keyboard-interactive', (_name, _instructions, _lang, prompts, finish) =>
        finish(prompts.map(() => ('secret' in proof ? proof.secret : ''))),
      )
    })
    try {
      return await execSsh2(client, command, stdin)
    } finally {
      client.end()
    }
  },
}

/** `Server` of ssh2. */
export const ssh2Server: PeerServer = {
  name: 'ssh2',
  missing: undefined,
  secrets: ['password', 'keyboard-interactive'],
  rekeys: true,
  unable: {
    'diffie-hellman-group-exchange-sha256': 'its server proposes group exchange without having it',
  },
  start: async ({ username, password, hostKeys, userKeys, rekeyBytes }) => {
    const keys = userKeys.map(({ path }) => publicKeyIn(path))
    const authenticate = (context: AuthContext): void => {
      if (context.username !== username) return context.reject()
      switch (context.method) {
        case 'publickey':
          return proves(context, keys) ? context.accept() : context.reject()
        case 'password':
          return context.password === password ? context.accept() : context.reject()
        case 'keyboard-interactive':
          return context.prompt([{ prompt: 'Password: ', echo: false }], ([answer]) =>
            answer === password ? context.accept() : context.reject(),
          )
        default:
          return context.reject(['publickey', 'password', 'keyboard-interactive'])
      }
    }
    const paths = hostKeys.map(({ path }) => path)
    return listenSsh2(paths, authenticate, rekeyBytes === undefined ? {} : { rekeyBytes })
  },
}

function publicKeyIn(path: string): ParsedKey {
  const key = ssh2.utils.parseKey(readFileSync(`${path}.pub`))
  if (key instanceof Error) throw key
  return key
}
