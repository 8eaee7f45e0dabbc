/**
 * Signatures of FIDO security keys, OpenSSH PROTOCOL.u2f. The key signs not the data but a hash of
 * it, between the hash of its application and what it saw: flags (was it touched, did it verify its
 * user) and a counter.
 */
import { equalBytes } from '../crypto/equal-bytes.ts'
import type { CryptoProvider } from '../crypto/provider.ts'
import { encodeBase64 } from '../keys/base64.ts'
import type { PublicKey } from '../keys/public-key.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'
import { verifyEcdsa } from './signatures.ts'
import type { SignaturePolicy, SignatureSpec } from './spec.ts'

const SK_ED25519 = 'sk-ssh-ed25519@openssh.com'
const SK_ECDSA = 'sk-ecdsa-sha2-nistp256@openssh.com'
const WEBAUTHN = 'webauthn-sk-ecdsa-sha2-nistp256@openssh.com'

/** Flags of the authenticator data, FIDO CTAP2 §6.1 (WebAuthn §6.1). */
const FLAG_TOUCHED = 0x01
const FLAG_VERIFIED = 0x04
const FLAG_EXTENSIONS = 0x80

/** What a security key attested along with a signature. */
export interface Attestation {
  readonly touched: boolean
  readonly verified: boolean
  /** Counts signatures; one that does not grow may mean a cloned key. Zero means: not counted. */
  readonly counter: number
}

/**
 * Reads the attestation of a signature blob; undefined if it is not one of a security key.
 *
 * @example
 * import { attestationOf, attests, Writer } from '@sandbox-ssh/protocol'
 *
 * // A signature as a security key makes it: touched, the 7th of its life.
 * const signature = new Writer()
 *   .string('sk-ssh-ed25519@openssh.com')
 *   .string(new Uint8Array(64))
 *   .uint8(1)
 *   .uint32(7)
 *   .finish()
 * const attestation = attestationOf(signature)
 * console.log(attestation) // { touched: true, verified: false, counter: 7 }
 * console.log(attests(attestation, {}), attests(attestation, { verifyRequired: true })) // true false
 */
export function attestationOf(signature: Uint8Array): Attestation | undefined {
  try {
    const reader = new Reader(signature)
    if (![SK_ED25519, SK_ECDSA, WEBAUTHN].includes(reader.ascii())) return undefined
    reader.string()
    const flags = reader.uint8()
    const counter = reader.uint32()
    return attestationIn(flags, counter)
  } catch {
    return undefined
  }
}

/** For the key of a host, which nobody sits beside to touch; OpenSSH asks for no more either. */
export const UNATTENDED: SignaturePolicy = { touchRequired: false }

function attestationIn(flags: number, counter: number): Attestation {
  return {
    touched: (flags & FLAG_TOUCHED) !== 0,
    verified: (flags & FLAG_VERIFIED) !== 0,
    counter,
  }
}

/**
 * Whether a security key attested what is asked of it. A key of another kind, which attests nothing
 * (undefined), is not concerned.
 *
 * @example
 * import { attests } from '@sandbox-ssh/protocol'
 *
 * const untouched = { touched: false, verified: false, counter: 1 }
 * console.log(attests(untouched, {}), attests(untouched, { touchRequired: false })) // false true
 */
export function attests(attestation: Attestation | undefined, policy: SignaturePolicy): boolean {
  if (attestation === undefined) return true
  if ((policy.touchRequired ?? true) && !attestation.touched) return false
  return policy.verifyRequired !== true || attestation.verified
}

function satisfies(flags: number, policy: SignaturePolicy): boolean {
  return attests(attestationIn(flags, 0), policy)
}

/** What is signed: hash of application, flags, counter, extensions, hash of the message. */
function signedBytes(
  crypto: CryptoProvider,
  application: Uint8Array,
  flags: number,
  counter: number,
  extensions: Uint8Array,
  message: Uint8Array,
): Uint8Array {
  return new Writer(128)
    .bytes(crypto.hash('sha256', application))
    .uint8(flags)
    .uint32(counter)
    .bytes(extensions)
    .bytes(crypto.hash('sha256', message))
    .finish()
}

const nothing = new Uint8Array(0)

/** Ed25519 on a security key. */
export const skEd25519: SignatureSpec = {
  name: SK_ED25519,
  keyType: SK_ED25519,
  verify(crypto, key, data, signature, policy = {}) {
    return quietly(() => {
      const fields = keyFields(key, SK_ED25519)
      const point = fields.string(32)
      const application = fields.string(1024)
      fields.end()
      const reader = signatureFields(signature, SK_ED25519)
      const value = reader.string(64)
      const flags = reader.uint8()
      const counter = reader.uint32()
      reader.end()
      if (value.length !== 64 || !satisfies(flags, policy)) return false
      const signed = signedBytes(crypto, application, flags, counter, nothing, data)
      return crypto.ed25519.verify(point, signed, value)
    })
  },
}

/** ECDSA on a security key. */
export const skEcdsaNistp256: SignatureSpec = {
  name: SK_ECDSA,
  keyType: SK_ECDSA,
  verify(crypto, key, data, signature, policy = {}) {
    return quietly(() => {
      const { point, application } = ecdsaKey(key)
      const reader = signatureFields(signature, SK_ECDSA)
      const value = reader.string(256)
      const flags = reader.uint8()
      const counter = reader.uint32()
      reader.end()
      if (!satisfies(flags, policy)) return false
      const signed = signedBytes(crypto, application, flags, counter, nothing, data)
      return verifyEcdsa(crypto, 'nistp256', point, signed, value)
    })
  },
}

/** ECDSA on a security key behind a browser, which signs a JSON text that names the data. */
export const webauthnEcdsaNistp256: SignatureSpec = {
  name: WEBAUTHN,
  keyType: SK_ECDSA,
  verify(crypto, key, data, signature, policy = {}) {
    return quietly(() => {
      const { point, application } = ecdsaKey(key)
      const reader = signatureFields(signature, WEBAUTHN)
      const value = reader.string(256)
      const flags = reader.uint8()
      const counter = reader.uint32()
      const origin = reader.utf8(1024)
      const clientData = reader.string(16 * 1024)
      const extensions = reader.string(1024)
      reader.end()
      // Extensions that are not flagged would be bytes of the signer's choice within the hash.
      if (extensions.length > 0 !== ((flags & FLAG_EXTENSIONS) !== 0)) return false
      if (origin.includes('"') || !satisfies(flags, policy)) return false
      // RFC 8259 has many ways to write a text, WebAuthn §5.8.1.1 has one, so that bytes compare.
      const challenge = encodeBase64(data).replaceAll('+', '-').replaceAll('/', '_')
      const start =
        `{"type":"webauthn.get","challenge":"${challenge.replace(/=+$/, '')}",` +
        `"origin":"${origin}"`
      const expected = new TextEncoder().encode(start)
      const next = clientData[expected.length]
      // The member that follows begins with a comma, the end of the text is a brace.
      if (next !== 0x2c && next !== 0x7d) return false
      if (!equalBytes(clientData.subarray(0, expected.length), expected)) return false
      const signed = signedBytes(crypto, application, flags, counter, extensions, clientData)
      return verifyEcdsa(crypto, 'nistp256', point, signed, value)
    })
  },
}

function ecdsaKey(key: PublicKey): { point: Uint8Array; application: Uint8Array } {
  const fields = keyFields(key, SK_ECDSA)
  if (fields.ascii() !== 'nistp256') throw new TypeError('wrong curve')
  const point = fields.string(160)
  const application = fields.string(1024)
  fields.end()
  return { point, application }
}

function keyFields(key: PublicKey, type: string): Reader {
  const fields = new Reader(key.blob)
  if (fields.ascii() !== type) throw new TypeError('wrong type of key')
  return fields
}

function signatureFields(signature: Uint8Array, name: string): Reader {
  const reader = new Reader(signature)
  if (reader.ascii() !== name) throw new TypeError('wrong name of signature')
  return reader
}

/** Anything malformed is simply not a valid signature. */
function quietly(verify: () => boolean): boolean {
  try {
    return verify()
  } catch {
    return false
  }
}
