// What other implementations have to be able to do so that each can be tried with all it has.

import type { PrivateKey, PublicKey, Signer } from '@sandbox-ssh/protocol'

/**
 * A key pair that a peer knows, with its private half as a file in OpenSSH's format. That of a
 * security key tells only where the secret is.
 */
export interface KeyFile<Key extends Signer = PrivateKey> {
  readonly key: Key
  readonly path: string
  /** To be shown in place of the public key; it is in the file `PATH-cert.pub`. */
  readonly certificate?: PublicKey
}

/** How users may prove who they are without a key. */
export type SecretMethod = 'password' | 'keyboard-interactive'

/** An end of a forward: a TCP port of the loopback interface, or a Unix socket. */
export type Place = { readonly port: number } | { readonly path: string }

/**
 * Which ways of forwarding there are, in OpenSSH's letters. With `-D` a client speaks SOCKS, with
 * `-J` it reaches another server through the first.
 */
export const forwardKinds = [
  '-L to a TCP port',
  '-L to a Unix socket',
  '-R of a TCP port',
  '-R of a Unix socket',
  '-D',
  '-J',
] as const

/** One of them. */
export type ForwardKind = (typeof forwardKinds)[number]

/** A secret and the method that it is for. */
export interface SecretProof {
  readonly method: SecretMethod
  readonly secret: string
  /** Instead of the secret: what to answer to questions, in their order. */
  readonly answers?: readonly string[]
  /** What to change the password to, if that is demanded. */
  readonly newPassword?: string
}

/** Where a client is to log in, and with what. */
export interface Login {
  readonly port: number
  readonly username: string
  /** The host key that it has to insist on. */
  readonly hostKey: Pick<Signer, 'publicKey'>
  /** Instead: whose certificates it has to insist on, if it knows `certificates`. */
  readonly hostAuthority?: PublicKey
  readonly proof: KeyFile<Signer> | SecretProof
  /** A server to reach the other one through, for clients that forward with `-J`. */
  readonly through?: Login
  /** A password that is asked for once the key was taken. */
  readonly second?: string
  /** What to sign with, for clients that ask neither their key nor the server. */
  readonly signature?: string
  /** Socket of an agent that is to sign with that key, in place of its file. */
  readonly agent?: string
  /** Socket of an agent that the command may use. */
  readonly forwardedAgent?: string
  /** Bytes after which the client exchanges keys anew, if it `rekeys`. */
  readonly rekeyBytes?: number
}

/** What became of a command. */
export interface Executed {
  readonly code: number | undefined
  readonly stdout: Uint8Array
  /** What the client has to say about a failure. */
  readonly problem?: string
}

interface Peer {
  readonly name: string
  /** Why it cannot be tried here, if so. */
  readonly missing: string | undefined
  readonly secrets: readonly SecretMethod[]
  /** Whether it can be told to exchange keys anew. */
  readonly rekeys: boolean
  /** What to send so that keys at every MiB are exchanged anew three times at least. 5 MiB. */
  readonly loadBytes?: number
  /**
   * Names of trials that it cannot pass though it says that it can, and why; of one topic alone as
   * `TOPIC: NAME`.
   */
  readonly unable?: Readonly<Record<string, string>>
  /** What key is used where any will do, by the name of its signatures; Ed25519 by default. */
  readonly usualKey?: string
  /**
   * Whether it takes certificates and can be told whose; not by default. Some clients only show them.
   */
  readonly certificates?: boolean | 'of users'
  /** Those it is asked for; see `unable`. */
  readonly forwards?: readonly ForwardKind[]
  /** Whether it can have an agent sign for its user. */
  readonly usesAgent?: boolean
  /** Whether a command gets to use an agent on the client's side. */
  readonly forwardsAgent?: boolean
}

/** A client of another implementation; it runs commands, or copies files if that is all it does. */
export interface PeerClient extends Peer {
  /** False if `exec` cannot tell how a command ended: its `code` is then always undefined. */
  readonly tellsStatus?: boolean
  readonly exec?: (login: Login, command: string, stdin: Uint8Array) => Promise<Executed>
  /** Puts a file on the server and gets it back, in one connection if it can. */
  readonly copy?: (login: Login, data: Uint8Array) => Promise<Uint8Array>
  /** Has the server connect to a place, sends data, and gives what comes back. */
  readonly reach?: (login: Login, place: Place, data: Uint8Array) => Promise<Uint8Array>
  /**
   * Has the server listen, on a port that it chooses if that is 0, and sends back what comes. Goes
   * on until it is stopped.
   */
  readonly listen?: (login: Login, place: Place) => Promise<Forward>
  /** True if it proposes only such host keys as it knows of the host. */
  readonly proposesKnown?: boolean
  /** Speaks SOCKS at a place of its own, until it is stopped. */
  readonly socks?: (login: Login) => Promise<Forward>
  /** Runs several commands at once on one connection, each with the same input. */
  readonly together?: (
    login: Login,
    commands: readonly string[],
    stdin: Uint8Array,
  ) => Promise<readonly Executed[]>
  /** How it logs in with security keys, if it does. */
  readonly securityKeys?: 'by file' | 'by agent'
  readonly stop?: () => Promise<void>
}

/** A place where a server listens for a client. */
export interface Forward {
  readonly place: Place
  readonly stop: () => Promise<void>
}

/** Who may log in to a peer's server, and what the server is. */
export interface ServerSetup {
  readonly username: string
  readonly password: string
  readonly hostKeys: readonly KeyFile<Signer>[]
  readonly userKeys: readonly KeyFile[]
  /** More keys of users, for a server that knows `securityKeys`. */
  readonly securityKeys?: readonly PublicKey[]
  /** Whose certificates let the user in, if it knows `certificates`. */
  readonly userAuthority: PublicKey
  readonly rekeyBytes?: number
  /**
   * By keyboard-interactive it asks for these, a round after the other, instead of the password. Only
   * the first answer is not to be seen.
   */
  readonly rounds?: readonly (readonly string[])[]
  /** The password lets in only whoever changes it to this one. */
  readonly newPassword?: string
  /** It lets in only whoever has a key and the password. */
  readonly bothProofs?: boolean
}

/** A server of another implementation that listens on a loopback port. */
export interface RunningPeer {
  readonly port: number
  readonly stop: () => Promise<void>
}

/** A server of another implementation. It runs `cat`, `exit N` and `cat; exit N` as a shell does. */
export interface PeerServer extends Peer {
  /** How many host keys it takes; any number by default. */
  readonly hostKeysMax?: number
  /** True if it refuses to stop listening on a port that it chose. */
  readonly keepsListening?: boolean
  /** True if one direction of a forward does not end before the other. */
  readonly endsWhole?: boolean
  /** Whose security keys it knows, if it knows such. */
  readonly securityKeys?: 'of users' | 'of users and hosts'
  readonly start: (setup: ServerSetup) => Promise<RunningPeer>
}
