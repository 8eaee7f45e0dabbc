// A client and a server of ours, joined in memory, for tests of everything above the machine.

import { publickey } from '../src/auth-methods.ts'
import { type Client, connect } from '../src/client.ts'
import type { ClientOptions } from '../src/client-options.ts'
import { nativeCrypto } from '../src/crypto/native.ts'
import { nobleCrypto } from '../src/crypto/noble.ts'
import type { CryptoProvider } from '../src/crypto/provider.ts'
import { memoryPair } from '../src/io/memory.ts'
import type { Transport } from '../src/io/transport.ts'
import { pinned } from '../src/keys/known-hosts.ts'
import { generateKey, type PrivateKey } from '../src/keys/private-key.ts'
import { type ServerConnection, serve } from '../src/server.ts'
import type { ServerOptions } from '../src/server-options.ts'

export const hostKey: PrivateKey = generateKey('ed25519')
export const userKey: PrivateKey = generateKey('ed25519')

/** The portable provider, and the native one where this runtime has it. */
export const providers: readonly CryptoProvider[] = [nobleCrypto, nativeCrypto()].filter(
  (provider, at, all) => all.indexOf(provider) === at,
)

export interface Connected {
  readonly client: Client
  readonly server: ServerConnection
  /** What server handlers threw. */
  readonly errors: unknown[]
  /** Message lines of the server, such as `> CHANNEL_EOF (5 bytes)`. */
  readonly trace: string[]
}

export interface Setup {
  readonly client?: Partial<ClientOptions>
  readonly server?: Partial<ServerOptions>
  /** Default: a memory pair. */
  readonly transports?: readonly [Transport, Transport]
  readonly crypto?: CryptoProvider
}

export function clientOptions(options: Partial<ClientOptions> = {}): ClientOptions {
  return {
    username: 'ada',
    hostKey: pinned(hostKey.publicKey),
    auth: [publickey(userKey)],
    ...options,
  }
}

export function serverOptions(options: Partial<ServerOptions> = {}): ServerOptions {
  return {
    hostKeys: [hostKey],
    auth: { publickey: ({ key }) => key.equals(userKey.publicKey) },
    ...options,
  }
}

/** Connects both; the server options' handlers serve. */
export async function connected(setup: Setup = {}): Promise<Connected> {
  const [left, right] = setup.transports ?? memoryPair()
  const errors: unknown[] = []
  const trace: string[] = []
  const crypto = setup.crypto && { crypto: setup.crypto }
  const [server, client] = await Promise.all([
    serve(
      right,
      serverOptions({
        onError: (error) => errors.push(error),
        trace: (line) => trace.push(line),
        ...crypto,
        ...setup.server,
      }),
    ),
    connect(left, clientOptions({ ...crypto, ...setup.client })),
  ])
  return { client, server, errors, trace }
}

/** Ends both sides, for the end of a test. */
export async function hangUp({ client, server }: Connected): Promise<void> {
  await Promise.all([client.close(), server.closed])
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
export const text = (bytes: Uint8Array | undefined): string =>
  new TextDecoder().decode(bytes ?? new Uint8Array(0))

/** The `code` of an SshError. */
export const codeOf = (error: unknown): string | undefined => (error as { code?: string }).code

/** A promise settled from outside, for handlers that wait. */
export function gate<T = void>(): { readonly opened: Promise<T>; open(value: T): void } {
  let open!: (value: T) => void
  const opened = new Promise<T>((resolve) => {
    open = resolve
  })
  return { opened, open }
}
