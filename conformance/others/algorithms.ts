// What we have, family by family, and how to leave a single one of it.

import { type Algorithms, defaultCrypto, modern } from '@sandbox-ssh/protocol'
import { zlibOpenssh } from '@sandbox-ssh/protocol/compression'
import * as legacy from '@sandbox-ssh/protocol/legacy'
import { umac64, umac64Etm, umac128, umac128Etm } from '@sandbox-ssh/protocol/umac'
import type { PeerClient } from '../peers/peer.ts'
import type { Proposal } from './proposal.ts'

/** One algorithm that both sides have. */
export interface Choice {
  /** What it is for, in words. */
  readonly family: string
  readonly name: string
  /** Leaves this one of its family; a MAC also needs a cipher that uses it. */
  readonly narrow: (algorithms: Algorithms) => Algorithms
}

const sound = modern(defaultCrypto())
const ours: Algorithms = {
  ...sound,
  kex: [...sound.kex, legacy.group14Sha1],
  hostKeys: [...sound.hostKeys, legacy.rsaSha1],
  ciphers: [...sound.ciphers, legacy.aes256Cbc, legacy.aes192Cbc, legacy.aes128Cbc],
  macs: [
    ...[...sound.macs, umac128Etm, umac64Etm, umac128, umac64],
    ...[legacy.hmacSha1Etm, legacy.hmacSha1],
  ],
  compression: [zlibOpenssh],
  userKeys: [...sound.userKeys, legacy.rsaSha1],
}

/** Every algorithm of ours that a peer proposes too. */
export function shared(proposal: Proposal): readonly Choice[] {
  const choices = (
    family: string,
    key: keyof Proposal,
    also: (algorithms: Algorithms) => Partial<Algorithms> = () => ({}),
  ): Choice[] =>
    ours[key]
      .filter(({ name }) => proposal[key].includes(name))
      .filter(({ name }) => key !== 'hostKeys' || kindOf(name) !== undefined)
      .map(({ name }) => ({
        family,
        name,
        narrow: (algorithms) => ({ ...algorithms, ...also(algorithms), [key]: only(key, name) }),
      }))
  return [
    ...choices('key exchange', 'kex'),
    ...choices('ciphers', 'ciphers'),
    // Only these ciphers have a MAC beside them.
    ...choices('MACs', 'macs', ({ ciphers }) => ({
      ciphers: ciphers.filter(({ authenticated }) => !authenticated),
    })),
    ...choices('compression', 'compression'),
    ...choices('host keys', 'hostKeys'),
  ]
}

/**
 * Signature algorithms to try for users. KEXINIT does not tell them, but who verifies one in a host
 * key makes it with a user key too.
 */
export function sharedSignatures(proposal: Proposal): readonly string[] {
  return shared(proposal)
    .filter(({ family }) => family === 'host keys')
    .map(({ name }) => name)
}

/** Leaves one algorithm for users to sign with. */
export function narrowUserKeys(name: string): (algorithms: Algorithms) => Algorithms {
  const userKeys = ours.userKeys.filter((spec) => spec.name === name)
  return (algorithms) => ({ ...algorithms, userKeys })
}

/** RSA with SHA-1, which we verify but never make. */
export const RSA_SHA1: string = legacy.rsaSha1.name

/** Those that a client makes for its user, certified ones among them if it knows such. */
export function signaturesOf(
  { certificates = false }: PeerClient,
  known: readonly string[],
): readonly string[] {
  const plain = known.filter((name) => !isCertified(name))
  const shown = plain.filter((name) => name !== RSA_SHA1).map((name) => `${name}${CERTIFIED}`)
  const all = { true: known, 'of users': [...plain, ...shown], false: plain }
  return all[`${certificates}`]
}

function only<Key extends keyof Proposal>(key: Key, name: string): Algorithms[Key] {
  return ours[key].filter((spec) => spec.name === name) as unknown as Algorithms[Key]
}

const kinds = {
  'ssh-ed25519': 'ed25519',
  'ecdsa-sha2-nistp256': 'ecdsa-nistp256',
  'ecdsa-sha2-nistp384': 'ecdsa-nistp384',
  'ecdsa-sha2-nistp521': 'ecdsa-nistp521',
  'rsa-sha2-256': 'rsa-3072',
  'rsa-sha2-512': 'rsa-3072',
  'ssh-rsa': 'rsa-3072',
} as const

const CERTIFIED = '-cert-v01@openssh.com'

/** The kind of key that makes such signatures, by itself or certified, if we generate one. */
export function kindOf(signature: string): (typeof kinds)[keyof typeof kinds] | undefined {
  const plain = signature.replace(CERTIFIED, '')
  return Object.hasOwn(kinds, plain) ? kinds[plain as keyof typeof kinds] : undefined
}

/** Whether it is by a key that shows a certificate. */
export function isCertified(signature: string): boolean {
  return signature.endsWith(CERTIFIED)
}

/** One of each. */
export const keyKinds: readonly (typeof kinds)[keyof typeof kinds][] = [
  ...new Set(Object.values(kinds)),
]
