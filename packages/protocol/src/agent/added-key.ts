/** A private key with constraints, as it travels to an agent: draft-miller-ssh-agent §4.2. */
import type { CryptoProvider } from '../crypto/provider.ts'
import { SshError } from '../errors.ts'
import { certified, decodeCertificate, isCertificate } from '../keys/certificate.ts'
import { parseKeyMaterial } from '../keys/key-file.ts'
import { readPrivateKey, writePrivateKey } from '../keys/openssh-format.ts'
import { PrivateKey } from '../keys/private-key.ts'
import { PublicKey, type Signer } from '../keys/public-key.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'
import {
  type DestinationConstraint,
  decodeDestinations,
  encodeDestinations,
} from './destinations.ts'
import { CONSTRAIN, RESTRICT_DESTINATION } from './messages.ts'

/** Limits on the use of a key in an agent, §4.2.6. */
export interface KeyConstraints {
  /** Seconds after which the agent forgets the key. */
  readonly lifetimeSeconds?: number
  /** Whether somebody must agree to each use. */
  readonly confirm?: boolean
  /**
   * The hops that the key may be used for, and nothing but logging in; default: anything. They are
   * kept by agents that know of the connections they are used for, see `agentKeys`.
   */
  readonly destinations?: readonly DestinationConstraint[]
}

/** What an agent is given. */
export interface AddedKey {
  readonly signer: Signer
  readonly comment: string
  readonly constraints: KeyConstraints
}

const utf8 = new TextDecoder()

/** The body of a request that adds `key`, under its certificate if there is one. */
export async function encodeAddedKey(
  crypto: CryptoProvider,
  key: PrivateKey,
  certificate: PublicKey | undefined,
  comment: string,
  constraints: KeyConstraints,
): Promise<Uint8Array> {
  // Its file format is the one way a key gives away its secret.
  const { material } = await parseKeyMaterial(crypto, key.toOpenSsh(), undefined)
  const writer = new Writer(2048)
  if (certificate === undefined) {
    writePrivateKey(writer, material, key.publicKey)
  } else {
    // Throws if it is for another key.
    certified(key, certificate)
    writer.string(certificate.type).string(certificate.blob)
    switch (material.kind) {
      case 'ed25519': {
        const whole = new Writer()
        writePrivateKey(whole, material, key.publicKey)
        const fields = new Reader(whole.finish())
        fields.string()
        writer.bytes(fields.rest())
        break
      }
      case 'ecdsa':
        writer.mpint(material.scalar)
        break
      case 'rsa': {
        const { privateExponent, coefficient, primeP, primeQ } = material.numbers
        writer.mpint(privateExponent).mpint(coefficient).mpint(primeP).mpint(primeQ)
      }
    }
  }
  writer.string(comment)
  const { lifetimeSeconds, confirm, destinations } = constraints
  if (lifetimeSeconds !== undefined) writer.uint8(CONSTRAIN.LIFETIME).uint32(lifetimeSeconds)
  if (confirm === true) writer.uint8(CONSTRAIN.CONFIRM)
  if (destinations !== undefined) {
    writer.uint8(CONSTRAIN.EXTENSION).string(RESTRICT_DESTINATION)
    writer.bytes(encodeDestinations(destinations))
  }
  return writer.finish()
}

/**
 * Reads such a body. Throws SshError `SSH_KEY_INVALID` or `SSH_PROTOCOL` if there is anything in it
 * that is not understood: a constraint that is not kept must not be accepted.
 */
export function decodeAddedKey(
  crypto: CryptoProvider,
  body: Uint8Array,
  constrained: boolean,
): AddedKey {
  const reader = new Reader(body)
  const type = new Reader(body).ascii()
  const certificate = type.includes('-cert-v0') ? readCertificate(reader, type) : undefined
  const material = readPrivateKey(
    certificate === undefined ? reader : withPublicPart(reader, certificate),
  )
  const comment = utf8.decode(reader.string(1024))
  const constraints = constrained ? readConstraints(reader) : {}
  reader.end()
  const key = new PrivateKey(material, { comment, crypto })
  const signer = certificate === undefined ? key : certified(key, certificate)
  return { signer, comment, constraints }
}

function readCertificate(reader: Reader, type: string): PublicKey {
  reader.string()
  const certificate = PublicKey.fromBlob(reader.string())
  if (certificate.type !== type || !isCertificate(certificate)) {
    throw new SshError('SSH_KEY_INVALID', 'the certificate is of another type than it says')
  }
  return certificate
}

/** What follows a certificate lacks the public numbers that are in it; puts them back. */
function withPublicPart(reader: Reader, certificate: PublicKey): Reader {
  const fields = new Reader(decodeCertificate(certificate).key.blob)
  const type = fields.ascii()
  const whole = new Writer(2048).string(type)
  if (type === 'ssh-ed25519') {
    whole.string(reader.string(32)).string(reader.string(64))
  } else if (type.startsWith('ecdsa-sha2-')) {
    whole.string(fields.string()).string(fields.string()).mpint(reader.mpint())
  } else if (type === 'ssh-rsa') {
    const publicExponent = fields.mpint()
    whole.mpint(fields.mpint()).mpint(publicExponent)
    for (let number = 0; number < 4; number++) whole.mpint(reader.mpint())
  } else {
    throw new SshError('SSH_KEY_INVALID', `keys of type ${type} are not supported`)
  }
  return new Reader(whole.finish())
}

function readConstraints(reader: Reader): KeyConstraints {
  let constraints: KeyConstraints = {}
  while (reader.remaining > 0) {
    const constraint = reader.uint8()
    switch (constraint) {
      case CONSTRAIN.LIFETIME:
        constraints = { ...constraints, lifetimeSeconds: reader.uint32() }
        break
      case CONSTRAIN.CONFIRM:
        constraints = { ...constraints, confirm: true }
        break
      case CONSTRAIN.EXTENSION: {
        const name = reader.ascii()
        if (name !== RESTRICT_DESTINATION || constraints.destinations !== undefined) {
          throw new SshError('SSH_KEY_INVALID', `the constraint ${name} is not supported, or twice`)
        }
        constraints = { ...constraints, destinations: decodeDestinations(reader) }
        break
      }
      default:
        throw new SshError('SSH_KEY_INVALID', `constraint ${constraint} is not supported`)
    }
  }
  return constraints
}
