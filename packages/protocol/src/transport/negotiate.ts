/** What two KEXINITs agree on: RFC 4253 §7.1, strict key exchange, RFC 8308 signalling. */
import type {
  Algorithms,
  CipherSpec,
  CompressionSpec,
  KexSpec,
  MacSpec,
  SignatureSpec,
} from '../algorithms/spec.ts'
import { SshError } from '../errors.ts'
import type { Kexinit } from '../wire/transport.ts'

/** Which side we are. */
export type Role = 'client' | 'server'

/** Pseudo-algorithms in the first KEXINIT; never negotiated. */
const EXT_INFO = { client: 'ext-info-c', server: 'ext-info-s' } as const
const STRICT = {
  client: 'kex-strict-c-v00@openssh.com',
  server: 'kex-strict-s-v00@openssh.com',
} as const

/** The algorithms in force, as values. */
export interface Agreement {
  readonly kex: KexSpec
  readonly hostKey: SignatureSpec
  readonly clientToServer: DirectionAgreement
  readonly serverToClient: DirectionAgreement
  /** The peer sent a guessed packet and it must be thrown away. */
  readonly ignoreGuess: boolean
}

/** The algorithms of one direction. */
export interface DirectionAgreement {
  readonly cipher: CipherSpec
  /** Undefined under a cipher that authenticates by itself. */
  readonly mac: MacSpec | undefined
  readonly compression: CompressionSpec
}

/**
 * Our KEXINIT. `initial` adds the pseudo-algorithms, which count in the first exchange only.
 * `hostKeyTypes` are those a server really has keys for.
 */
export function makeKexinit(
  role: Role,
  algorithms: Algorithms,
  hostKeys: readonly SignatureSpec[],
  cookie: Uint8Array,
  initial: boolean,
): Kexinit {
  const ciphers = names(algorithms.ciphers)
  const macs = names(algorithms.macs)
  const compression = names(algorithms.compression)
  const kexAlgorithms = names(algorithms.kex)
  return {
    cookie,
    kexAlgorithms: initial ? [...kexAlgorithms, EXT_INFO[role], STRICT[role]] : kexAlgorithms,
    serverHostKeyAlgorithms: names(hostKeys),
    encryptionAlgorithmsClientToServer: ciphers,
    encryptionAlgorithmsServerToClient: ciphers,
    macAlgorithmsClientToServer: macs,
    macAlgorithmsServerToClient: macs,
    compressionAlgorithmsClientToServer: compression,
    compressionAlgorithmsServerToClient: compression,
    languagesClientToServer: [],
    languagesServerToClient: [],
    firstKexPacketFollows: false,
    reserved: 0,
  }
}

/** Whether the peer's first KEXINIT asks for strict key exchange (we always do). */
export function peerIsStrict(role: Role, peer: Kexinit): boolean {
  return peer.kexAlgorithms.includes(STRICT[other(role)])
}

/** Whether the peer wants EXT_INFO. */
export function peerWantsExtInfo(role: Role, peer: Kexinit): boolean {
  return peer.kexAlgorithms.includes(EXT_INFO[other(role)])
}

/**
 * The first of the client's names that the server has too, for each list.
 * Throws SshError `SSH_NO_COMMON_ALGORITHM` with both lists.
 */
export function negotiate(
  role: Role,
  algorithms: Algorithms,
  hostKeys: readonly SignatureSpec[],
  own: Kexinit,
  peer: Kexinit,
): Agreement {
  const client = role === 'client' ? own : peer
  const server = role === 'client' ? peer : own
  const pick = <T extends { readonly name: string }>(
    family: Family,
    specs: readonly T[],
    list: (kexinit: Kexinit) => readonly string[],
  ): T => {
    const spec = choose(specs, list(client), list(server))
    if (spec !== undefined) return spec
    throw noCommon(role, family, list(own), list(peer))
  }
  const kex = pick('kex', algorithms.kex, (k) => k.kexAlgorithms)
  const hostKey = pick('hostKeys', hostKeys, (k) => k.serverHostKeyAlgorithms)
  const direction = (which: 'ClientToServer' | 'ServerToClient'): DirectionAgreement => {
    const cipher = pick('ciphers', algorithms.ciphers, (k) => k[`encryptionAlgorithms${which}`])
    return {
      cipher,
      mac: cipher.authenticated
        ? undefined
        : pick('macs', algorithms.macs, (k) => k[`macAlgorithms${which}`]),
      compression: pick(
        'compression',
        algorithms.compression,
        (k) => k[`compressionAlgorithms${which}`],
      ),
    }
  }
  return {
    kex,
    hostKey,
    clientToServer: direction('ClientToServer'),
    serverToClient: direction('ServerToClient'),
    ignoreGuess: peer.firstKexPacketFollows && !guessedRight(own, peer),
  }
}

/** RFC 4253 §7: a guess is right if the first kex and first host key names of both are equal. */
function guessedRight(own: Kexinit, peer: Kexinit): boolean {
  return (
    own.kexAlgorithms[0] === peer.kexAlgorithms[0] &&
    own.serverHostKeyAlgorithms[0] === peer.serverHostKeyAlgorithms[0]
  )
}

function choose<T extends { readonly name: string }>(
  specs: readonly T[],
  client: readonly string[],
  server: readonly string[],
): T | undefined {
  for (const name of client) {
    if (!server.includes(name)) continue
    const spec = specs.find((candidate) => candidate.name === name)
    if (spec !== undefined) return spec
  }
  return undefined
}

type Family = 'kex' | 'hostKeys' | 'ciphers' | 'macs' | 'compression'

const FAMILY: Readonly<Record<Family, string>> = {
  kex: 'key exchange',
  hostKeys: 'host key',
  ciphers: 'cipher',
  macs: 'MAC',
  compression: 'compression',
}

/** What is implemented but in nobody's list unless it is put there: where it is to be had. */
export const EXTRAS: ReadonlyMap<string, string> = new Map([
  ['diffie-hellman-group14-sha1', 'legacy: group14Sha1'],
  ['ssh-rsa', 'legacy: rsaSha1'],
  ['aes256-cbc', 'legacy: aes256Cbc'],
  ['aes192-cbc', 'legacy: aes192Cbc'],
  ['aes128-cbc', 'legacy: aes128Cbc'],
  ['hmac-sha1', 'legacy: hmacSha1'],
  ['hmac-sha1-etm@openssh.com', 'legacy: hmacSha1Etm'],
  ['umac-64-etm@openssh.com', 'umac: umac64Etm'],
  ['umac-128-etm@openssh.com', 'umac: umac128Etm'],
  ['umac-64@openssh.com', 'umac: umac64'],
  ['umac-128@openssh.com', 'umac: umac128'],
  ['zlib@openssh.com', 'compression: zlibOpenssh'],
])

/** Says both lists, and what could be added on our side, or must be on the other. */
function noCommon(
  role: Role,
  family: Family,
  own: readonly string[],
  peer: readonly string[],
): SshError {
  const [client, server] = role === 'client' ? [own, peer] : [peer, own]
  const extras = peer.flatMap((name) => {
    const from = EXTRAS.get(name)
    return from === undefined ? [] : [`${name} (@sandbox-ssh/protocol/${from})`]
  })
  const add =
    extras.length > 0
      ? `add ${extras.join(' or ')} to "algorithms.${family}" here if you must`
      : `the ${other(role)} must be given one of ours`
  return new SshError(
    'SSH_NO_COMMON_ALGORITHM',
    `no common ${FAMILY[family]}: the client offers ${quote(client)}, ` +
      `the server ${quote(server)}; ${add}`,
  )
}

function quote(list: readonly string[]): string {
  const text = list.filter((name) => !name.startsWith('kex-strict-') && !/^ext-info-/.test(name))
  return text.length === 0 ? 'nothing' : text.join(', ').slice(0, 1024)
}

function names(specs: readonly { readonly name: string }[]): readonly string[] {
  return specs.map((spec) => spec.name)
}

function other(role: Role): Role {
  return role === 'client' ? 'server' : 'client'
}
