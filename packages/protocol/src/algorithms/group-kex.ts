/**
 * Diffie-Hellman over the groups of RFC 3526, RFC 4253 §8 and RFC 8268: for peers without elliptic
 * curves. e and f are mpints, whose bodies stand here for the strings of other methods.
 */
import { bytesOf, integer } from '../crypto/big-integers.ts'
import { type ModpBits, modpPrimeBytes } from '../crypto/modp-groups.ts'
import type { CryptoProvider, HashName } from '../crypto/provider.ts'
import { Writer } from '../wire/writer.ts'
import { agreed } from './agreed.ts'
import type { DhGroup, KexInitiator, KexResponse, KexSpec } from './spec.ts'

/** Twice the strength of the strongest cipher, as RFC 4253 §8 and OpenSSH choose it. */
const EXPONENT_BYTES = 64

/** A method that always uses the same group. */
export function fixedGroup(name: string, bits: ModpBits, hash: HashName): KexSpec {
  return {
    name,
    hash,
    postQuantum: false,
    initiate: (crypto) => initiateIn(name, crypto, modpGroup(bits)),
    respond: (crypto, init) => respondIn(name, crypto, modpGroup(bits), init),
  }
}

/** The group of RFC 3526 with a prime of that many bits. */
export function modpGroup(bits: ModpBits): DhGroup {
  return { prime: modpPrimeBytes(bits), generator: Uint8Array.of(2) }
}

/** The client's half in a group. */
export function initiateIn(name: string, crypto: CryptoProvider, group: DhGroup): KexInitiator {
  const { exponent, value } = generate(crypto, group)
  return { init: value, finish: (reply) => finish(name, crypto, group, exponent, reply) }
}

/** The server's half in a group. */
export function respondIn(
  name: string,
  crypto: CryptoProvider,
  group: DhGroup,
  init: Uint8Array,
): KexResponse {
  const { exponent, value } = generate(crypto, group)
  return { reply: value, sharedSecret: finish(name, crypto, group, exponent, init) }
}

/** Our exponent and, as the body of an mpint, what it makes of the generator. */
function generate(
  crypto: CryptoProvider,
  { prime, generator }: DhGroup,
): { exponent: Uint8Array; value: Uint8Array } {
  const exponent = crypto.random(EXPONENT_BYTES)
  return { exponent, value: body(crypto.modPow(generator, exponent, prime)) }
}

function finish(
  name: string,
  crypto: CryptoProvider,
  { prime }: DhGroup,
  exponent: Uint8Array,
  peer: Uint8Array,
): Uint8Array {
  return agreed(name, () => {
    const value = integer(peer)
    checkForm(peer)
    // RFC 4253 §8 and RFC 8268 §4: 1 and p − 1 would make the secret known to everybody.
    if (value <= 1n || value >= integer(prime) - 1n) throw new RangeError('out of range')
    const secret = crypto.modPow(bytesOf(value, prime.length), exponent, prime)
    exponent.fill(0)
    return new Writer(secret.length + 5).mpint(secret).finish()
  })
}

/** Not negative and without needless zeros, RFC 4251 §5. */
function checkForm(body: Uint8Array): void {
  const [first = 0, second = 0] = body
  if (first & 0x80) throw new RangeError('negative')
  if (body.length > 1 && first === 0 && !(second & 0x80)) throw new RangeError('not minimal')
}

/** What an mpint holds behind its length. */
function body(magnitude: Uint8Array): Uint8Array {
  return new Writer(magnitude.length + 5).mpint(magnitude).finish().subarray(4)
}

/** 2048 bits; RFC 8268. */
export const group14Sha256: KexSpec = fixedGroup('diffie-hellman-group14-sha256', 2048, 'sha256')
/** 4096 bits; RFC 8268. */
export const group16Sha512: KexSpec = fixedGroup('diffie-hellman-group16-sha512', 4096, 'sha512')
/** 8192 bits; RFC 8268. */
export const group18Sha512: KexSpec = fixedGroup('diffie-hellman-group18-sha512', 8192, 'sha512')
