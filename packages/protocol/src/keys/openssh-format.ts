/** The file format `openssh-key-v1`, OpenSSH PROTOCOL.key. */
import type { CryptoProvider } from '../crypto/provider.ts'
import { Reader } from '../wire/reader.ts'
import { Writer } from '../wire/writer.ts'
import { encodeBase64 } from './base64.ts'
import type { KeyMaterial } from './key-material.ts'
import type { PublicKey } from './public-key.ts'

const MAGIC = 'openssh-key-v1\0'
const LABEL = 'OPENSSH PRIVATE KEY'
/** What an unencrypted private section is padded to. */
const PLAIN_BLOCK_BYTES = 8

/** Writes a key without encryption. */
export function encodeOpenSshKey(
  crypto: CryptoProvider,
  material: KeyMaterial,
  publicKey: PublicKey,
  comment: string,
): string {
  const secret = encodePrivateSection(crypto, material, publicKey, comment, PLAIN_BLOCK_BYTES)
  const writer = new Writer()
    .bytes(new TextEncoder().encode(MAGIC))
    .string('none')
    .string('none')
    .string('')
    .uint32(1)
    .string(publicKey.blob)
    .string(secret)
  return armor(writer.finish())
}

function armor(bytes: Uint8Array): string {
  const lines = encodeBase64(bytes).match(/.{1,70}/g) ?? []
  return `-----BEGIN ${LABEL}-----\n${lines.join('\n')}\n-----END ${LABEL}-----\n`
}

/** Two equal check numbers, the key, its comment, and padding 1, 2, 3… */
function encodePrivateSection(
  crypto: CryptoProvider,
  material: KeyMaterial,
  publicKey: PublicKey,
  comment: string,
  blockBytes: number,
): Uint8Array {
  const check = crypto.random(4)
  const writer = new Writer().bytes(check).bytes(check).string(publicKey.type)
  writeSecrets(writer, material, publicKey)
  writer.string(comment)
  for (let pad = 1; writer.length % blockBytes !== 0; pad++) writer.uint8(pad)
  return writer.finish()
}

function writeSecrets(writer: Writer, material: KeyMaterial, publicKey: PublicKey): void {
  const fields = new Reader(publicKey.blob)
  fields.string()
  switch (material.kind) {
    case 'ed25519': {
      const point = fields.string()
      const both = new Uint8Array(64)
      both.set(material.seed)
      both.set(point, 32)
      writer.string(point).string(both)
      return
    }
    case 'ecdsa':
      writer.string(fields.string()).string(fields.string()).mpint(material.scalar)
      return
  }
}
