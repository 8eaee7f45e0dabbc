/**
 * Host keys beyond the one that a connection was made with: a server tells them after
 * authentication and proves that it holds them, so that clients can learn its new keys before the
 * old ones go. OpenSSH's PROTOCOL §2.5.
 */
import { UNATTENDED } from './algorithms/security-keys.ts'
import type { SignatureSpec } from './algorithms/spec.ts'
import { GLOBAL_REQUEST } from './connection/requests.ts'
import type { CryptoProvider } from './crypto/provider.ts'
import { SshError } from './errors.ts'
import { PublicKey, type Signer } from './keys/public-key.ts'
import type { Link } from './link.ts'
import { Reader } from './wire/reader.ts'
import { Writer } from './wire/writer.ts'

/** Keys in one announcement; servers have a handful. */
const HOST_KEYS_MAX = 64

/** Strings one behind the other: keys in a request, signatures in a reply. */
function encodeStrings(strings: readonly Uint8Array[]): Uint8Array {
  const writer = new Writer()
  for (const string of strings) writer.string(string)
  return writer.finish()
}

/** Throws SshError `SSH_PROTOCOL` if malformed, `SSH_LIMIT` if too many. */
function decodeStrings(data: Uint8Array): readonly Uint8Array[] {
  const reader = new Reader(data)
  const strings: Uint8Array[] = []
  while (reader.remaining > 0) {
    if (strings.length >= HOST_KEYS_MAX) throw new SshError('SSH_LIMIT', 'too many host keys')
    strings.push(reader.string())
  }
  return strings
}

/** What a key signs to prove itself. */
function proofData(sessionId: Uint8Array, key: Uint8Array): Uint8Array {
  return new Writer().string(GLOBAL_REQUEST.HOSTKEYS_PROVE).string(sessionId).string(key).finish()
}

/** Server: tells the client all keys. Certificates are not keys of their own. */
export function announceHostKeys(link: Link, signers: readonly Signer[]): void {
  const blobs = signers
    .filter(({ publicKey: { type } }) => !type.includes('-cert-v0'))
    .map(({ publicKey: { blob } }) => blob)
  link.notifyGlobal(GLOBAL_REQUEST.HOSTKEYS, encodeStrings(blobs))
}

/**
 * Server: signatures by the keys that the client asks about. Rejects with SshError if one of them is
 * not ours or does not sign; the request is then to be failed as a whole.
 */
export async function proveHostKeys(
  link: Link,
  signers: readonly Signer[],
  request: Uint8Array,
): Promise<Uint8Array> {
  const proofs: Uint8Array[] = []
  const agreed = link.negotiated.hostKey
  for (const blob of decodeStrings(request)) {
    const key = PublicKey.fromBlob(blob)
    const signer = signers.find(({ publicKey }) => publicKey.equals(key))
    // OpenSSH wants an RSA key to sign as it did in the key exchange, if one did there.
    const algorithm = signer?.algorithms.includes(agreed) ? agreed : signer?.algorithms[0]
    if (signer === undefined || algorithm === undefined) {
      throw new SshError('SSH_SIGN', 'asked to prove a host key that is not ours')
    }
    proofs.push(await signer.sign(proofData(sessionOf(link), key.blob), algorithm))
  }
  return encodeStrings(proofs)
}

/**
 * Client: of the keys announced, those that we can verify, once the server has proved all of them.
 * Rejects with SshError if it will not or cannot prove one: then none is to be believed.
 */
export async function verifyHostKeys(
  link: Link,
  crypto: CryptoProvider,
  specs: readonly SignatureSpec[],
  announcement: Uint8Array,
): Promise<readonly PublicKey[]> {
  const keys = decodeStrings(announcement)
    .map((blob) => PublicKey.fromBlob(blob))
    .filter(({ type }) => !type.includes('-cert-v0') && specs.some((spec) => spec.keyType === type))
    .filter((key, at, all) => all.findIndex((other) => other.equals(key)) === at)
  if (keys.length === 0) return []
  const request = encodeStrings(keys.map(({ blob }) => blob))
  const proofs = decodeStrings(await link.globalRequest(GLOBAL_REQUEST.HOSTKEYS_PROVE, request))
  const sessionId = sessionOf(link)
  const proven = keys.every((key, at) => {
    const proof = proofs[at]
    if (proof === undefined) return false
    const name = new Reader(proof).ascii()
    const spec = specs.find((known) => known.name === name && known.keyType === key.type)
    return spec?.verify(crypto, key, proofData(sessionId, key.blob), proof, UNATTENDED) === true
  })
  if (!proven || proofs.length !== keys.length) {
    throw new SshError('SSH_PROTOCOL', 'the server does not hold the host keys that it announced')
  }
  return keys
}

function sessionOf(link: Link): Uint8Array {
  const { sessionId } = link.machine
  if (sessionId === undefined) throw new SshError('SSH_INTERNAL', 'no keys are in force')
  return sessionId
}
