/**
 * The key files of OpenSSL: PKCS #1 (RSA), SEC 1 (ECDSA) and PKCS #8 (any), plain and encrypted.
 */
import { cbc } from '@noble/ciphers/aes.js'
import { sha1 } from '@noble/hashes/legacy.js'
import { pbkdf2Async } from '@noble/hashes/pbkdf2.js'
import { scryptAsync } from '@noble/hashes/scrypt.js'
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js'
import { integer, shortBytesOf } from '../crypto/big-integers.ts'
import { fromHex } from '../crypto/hex.ts'
import type { CryptoProvider, CurveName, RsaPrivateKey } from '../crypto/provider.ts'
import { Reader } from '../wire/reader.ts'
import { encodeBase64 } from './base64.ts'
import { DER, DerReader, der, derInteger } from './der.ts'
import { invalidKey, passphraseNeeded, passphraseWrong } from './key-errors.ts'
import { EC_BYTES, type KeyMaterial, unsigned } from './key-material.ts'
import type { PublicKey } from './public-key.ts'

const OID = {
  RSA: '1.2.840.113549.1.1.1',
  EC: '1.2.840.10045.2.1',
  ED25519: '1.3.101.112',
  PBES2: '1.2.840.113549.1.5.13',
  PBKDF2: '1.2.840.113549.1.5.12',
  SCRYPT: '1.3.6.1.4.1.11591.4.11',
} as const

const CURVE_OIDS: Readonly<Record<string, CurveName>> = {
  '1.2.840.10045.3.1.7': 'nistp256',
  '1.3.132.0.34': 'nistp384',
  '1.3.132.0.35': 'nistp521',
}

/** Contents of the OBJECT IDENTIFIER of each curve. */
const CURVE_OID_BYTES: Readonly<Record<CurveName, Uint8Array>> = {
  nistp256: fromHex('2a8648ce3d030107'),
  nistp384: fromHex('2b81040022'),
  nistp521: fromHex('2b81040023'),
}

const PBKDF2_HASHES = new Map([
  ['1.2.840.113549.2.7', sha1],
  ['1.2.840.113549.2.9', sha256],
  ['1.2.840.113549.2.10', sha384],
  ['1.2.840.113549.2.11', sha512],
])

/** Key bytes of AES-CBC by its identifier. */
const AES_CBC_OIDS: ReadonlyMap<string, number> = new Map([
  ['2.16.840.1.101.3.4.1.2', 16],
  ['2.16.840.1.101.3.4.1.22', 24],
  ['2.16.840.1.101.3.4.1.42', 32],
])

/** More would keep us busy for minutes. OpenSSL writes 2048, cautious people some 600,000. */
const PBKDF2_ITERATIONS_MAX = 10_000_000
/** Memory that scrypt may take; OpenSSL writes 16 MiB. */
const SCRYPT_BYTES_MAX = 256 * 1024 * 1024

/** `PRIVATE KEY`: PrivateKeyInfo, RFC 5958. Throws SshError `SSH_KEY_INVALID`. */
export function decodePkcs8(bytes: Uint8Array): KeyMaterial {
  const info = new DerReader(bytes).sequence()
  info.small()
  const algorithm = info.sequence()
  const name = algorithm.objectIdentifier()
  const content = info.element(DER.OCTET_STRING)
  switch (name) {
    case OID.RSA:
      return decodePkcs1(content)
    case OID.EC:
      return decodeSec1(content, curveOf(algorithm.objectIdentifier()))
    case OID.ED25519: {
      const seed = new DerReader(content).element(DER.OCTET_STRING)
      if (seed.length !== 32) throw invalidKey('the ed25519 secret has a wrong length')
      return { kind: 'ed25519', seed: seed.slice() }
    }
    default:
      throw invalidKey(
        `a PKCS #8 file with a key of type ${name}, which SSH has no use for: make a new one`,
      )
  }
}

/** `RSA PRIVATE KEY`: RFC 8017 §A.1.2. Throws SshError `SSH_KEY_INVALID`. */
export function decodePkcs1(bytes: Uint8Array): KeyMaterial {
  const numbers = new DerReader(bytes).sequence()
  if (numbers.small() !== 0) throw invalidKey('an RSA key of more than two primes')
  const next = (): Uint8Array => numbers.integer().slice()
  const [modulus, publicExponent, privateExponent] = [next(), next(), next()]
  const [primeP, primeQ] = [next(), next()]
  numbers.integer()
  numbers.integer()
  const coefficient = next()
  return {
    kind: 'rsa',
    numbers: { modulus, publicExponent, privateExponent, primeP, primeQ, coefficient },
  }
}

/** `EC PRIVATE KEY`: RFC 5915. Throws SshError `SSH_KEY_INVALID`. */
export function decodeSec1(bytes: Uint8Array, known?: CurveName): KeyMaterial {
  const fields = new DerReader(bytes).sequence()
  fields.small()
  const scalar = fields.element(DER.OCTET_STRING)
  // [0] parameters; within PKCS #8 they stand outside instead.
  const named =
    fields.nextTag === 0xa0
      ? curveOf(new DerReader(fields.element(0xa0)).objectIdentifier())
      : undefined
  const curve = named ?? known
  if (curve === undefined) throw invalidKey('the EC key does not name its curve')
  return { kind: 'ecdsa', curve, scalar: unsigned(scalar, EC_BYTES[curve]) }
}

function curveOf(identifier: string): CurveName {
  const curve = Object.hasOwn(CURVE_OIDS, identifier) ? CURVE_OIDS[identifier] : undefined
  if (curve === undefined) {
    throw invalidKey(
      `the EC key is on the curve ${identifier}; SSH has nistp256, 384 and 521: make a new one`,
    )
  }
  return curve
}

/**
 * `ENCRYPTED PRIVATE KEY`: PBES2 (RFC 8018 §6.2) with PBKDF2 or scrypt, and AES.
 * Rejects with SshError `SSH_KEY_INVALID` or `SSH_KEY_PASSPHRASE`.
 */
export async function decryptPkcs8(
  bytes: Uint8Array,
  passphrase: Uint8Array | undefined,
): Promise<KeyMaterial> {
  const info = new DerReader(bytes).sequence()
  const algorithm = info.sequence()
  const data = info.element(DER.OCTET_STRING)
  if (algorithm.objectIdentifier() !== OID.PBES2) {
    throw invalidKey(
      'the key file is encrypted in an outdated way; convert it with ' +
        '"openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE"',
    )
  }
  if (passphrase === undefined) throw passphraseNeeded()
  const parameters = algorithm.sequence()
  const derivation = parameters.sequence()
  const scheme = parameters.sequence()
  const keyBytes = AES_CBC_OIDS.get(scheme.objectIdentifier())
  if (keyBytes === undefined) throw invalidKey('the key file is not encrypted with AES-CBC')
  const iv = scheme.element(DER.OCTET_STRING)
  const key = await deriveKey(derivation, passphrase, keyBytes)
  const plain = openCbc(key, iv, data)
  try {
    return decodePkcs8(plain)
  } catch {
    // One wrong passphrase in 256 gives a padding that looks right, but never a whole key.
    throw passphraseWrong()
  }
}

async function deriveKey(
  derivation: DerReader,
  passphrase: Uint8Array,
  dkLen: number,
): Promise<Uint8Array> {
  const name = derivation.objectIdentifier()
  const fields = derivation.sequence()
  const salt = fields.element(DER.OCTET_STRING)
  if (name === OID.SCRYPT) {
    const [N, r, p] = [fields.small(), fields.small(), fields.small()]
    const isPower = N >= 2 && (N & (N - 1)) === 0
    if (!isPower || 128 * N * r > SCRYPT_BYTES_MAX || r < 1 || p < 1 || p > 16) {
      throw invalidKey(`the key file wants scrypt with N=${N}, r=${r}, p=${p}`)
    }
    return scryptAsync(passphrase, salt, { N, r, p, dkLen, maxmem: 2 * SCRYPT_BYTES_MAX })
  }
  if (name !== OID.PBKDF2) throw invalidKey('the key file derives its key in an unknown way')
  const iterations = fields.small()
  if (iterations < 1 || iterations > PBKDF2_ITERATIONS_MAX) {
    throw invalidKey(`the key file wants ${iterations} iterations of PBKDF2`)
  }
  if (fields.nextTag === DER.INTEGER) fields.small()
  const hash = fields.done ? sha1 : PBKDF2_HASHES.get(fields.sequence().objectIdentifier())
  if (hash === undefined) throw invalidKey('the key file uses PBKDF2 with an unknown hash')
  return pbkdf2Async(hash, passphrase, salt, { c: iterations, dkLen })
}

/** AES-CBC with the padding of RFC 5652 §6.3; a wrong padding means a wrong passphrase. */
function openCbc(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array {
  if (iv.length !== 16 || data.length === 0 || data.length % 16 !== 0) {
    throw invalidKey('the encrypted part of the key file has an impossible length')
  }
  try {
    return cbc(key, iv).decrypt(data)
  } catch {
    throw passphraseWrong()
  }
}

/**
 * The old encryption of PEM, told in its headers (`DEK-Info: AES-128-CBC,IV`), whose key is one
 * round of MD5. Read because ssh-keygen wrote it until 2019; never written.
 * Throws SshError `SSH_KEY_INVALID` or `SSH_KEY_PASSPHRASE`.
 */
export function decryptPem(
  crypto: CryptoProvider,
  info: string,
  data: Uint8Array,
  passphrase: Uint8Array | undefined,
): Uint8Array {
  const [, bits, ivHex] = /^AES-(128|192|256)-CBC,([0-9A-Fa-f]{32})$/.exec(info.trim()) ?? []
  if (bits === undefined || ivHex === undefined) {
    throw invalidKey(
      `the key file is encrypted with ${info.split(',')[0]}, which is not supported; ` +
        'convert it with "ssh-keygen -p -f FILE"',
    )
  }
  if (passphrase === undefined) throw passphraseNeeded()
  const iv = fromHex(ivHex)
  const salt = iv.subarray(0, 8)
  const key = new Uint8Array(Number(bits) / 8)
  let block = new Uint8Array(0) as Uint8Array
  for (let at = 0; at < key.length; at += 16) {
    block = crypto.hash('md5', block, passphrase, salt)
    key.set(block.subarray(0, key.length - at), at)
  }
  return openCbc(key, iv, data)
}

/** Writes `PRIVATE KEY`, unencrypted PKCS #8 in PEM. */
export function encodePkcs8(material: KeyMaterial, publicKey: PublicKey): string {
  const [algorithm, content] = pkcs8Parts(material, publicKey)
  const bytes = der(
    DER.SEQUENCE,
    derInteger(new Uint8Array(1)),
    algorithm,
    der(DER.OCTET_STRING, content),
  )
  const lines = encodeBase64(bytes).match(/.{1,64}/g) ?? []
  return `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`
}

function pkcs8Parts(material: KeyMaterial, publicKey: PublicKey): [Uint8Array, Uint8Array] {
  switch (material.kind) {
    case 'ed25519':
      return [
        der(DER.SEQUENCE, der(DER.OBJECT_IDENTIFIER, fromHex('2b6570'))),
        der(DER.OCTET_STRING, material.seed),
      ]
    case 'ecdsa': {
      const curve = der(DER.OBJECT_IDENTIFIER, CURVE_OID_BYTES[material.curve])
      const fields = new Reader(publicKey.blob)
      fields.string()
      fields.string()
      const point = der(DER.BIT_STRING, new Uint8Array(1), fields.string())
      return [
        der(DER.SEQUENCE, der(DER.OBJECT_IDENTIFIER, fromHex('2a8648ce3d0201')), curve),
        der(
          DER.SEQUENCE,
          derInteger(new Uint8Array([1])),
          der(DER.OCTET_STRING, material.scalar),
          der(0xa1, point),
        ),
      ]
    }
    case 'rsa':
      return [
        der(DER.SEQUENCE, der(DER.OBJECT_IDENTIFIER, fromHex('2a864886f70d010101')), der(DER.NULL)),
        encodePkcs1(material.numbers),
      ]
  }
}

function encodePkcs1(numbers: RsaPrivateKey): Uint8Array {
  const d = integer(numbers.privateExponent)
  const remainder = (prime: Uint8Array): Uint8Array => shortBytesOf(d % (integer(prime) - 1n))
  const all = [
    new Uint8Array(1),
    numbers.modulus,
    numbers.publicExponent,
    numbers.privateExponent,
    numbers.primeP,
    numbers.primeQ,
    remainder(numbers.primeP),
    remainder(numbers.primeQ),
    numbers.coefficient,
  ]
  return der(DER.SEQUENCE, ...all.map(derInteger))
}
