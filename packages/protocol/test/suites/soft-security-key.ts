/** A security key in software: an Ed25519 key that says of itself what a test wants to hear. */
import { defaultCrypto } from '../../src/crypto/native.ts'
import { generateKey } from '../../src/keys/private-key.ts'
import { PublicKey, type Signer } from '../../src/keys/public-key.ts'
import { Reader } from '../../src/wire/reader.ts'
import { Writer } from '../../src/wire/writer.ts'

const NAME = 'sk-ssh-ed25519@openssh.com'

export interface SoftSecurityKey extends Signer {
  /** Flags of the next signatures: 1 touched, 4 user verified. */
  flags: number
  counter: number
}

/** One with a fresh key, touched, whose counter grows by one with each signature. */
export function softSecurityKey(application = 'ssh:'): SoftSecurityKey {
  const crypto = defaultCrypto()
  const inner = generateKey('ed25519')
  const fields = new Reader(inner.publicKey.blob)
  fields.string()
  const blob = new Writer().string(NAME).string(fields.string()).string(application).finish()
  return {
    flags: 1,
    counter: 0,
    publicKey: PublicKey.fromBlob(blob),
    algorithms: [NAME],
    async sign(data) {
      this.counter++
      const attested = new Writer()
        .bytes(crypto.hash('sha256', new TextEncoder().encode(application)))
        .uint8(this.flags)
        .uint32(this.counter)
        .bytes(crypto.hash('sha256', data))
        .finish()
      const reader = new Reader(await inner.sign(attested, 'ssh-ed25519'))
      reader.string()
      return new Writer()
        .string(NAME)
        .string(reader.string())
        .uint8(this.flags)
        .uint32(this.counter)
        .finish()
    },
  }
}
