import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { group14Sha256, group16Sha512, group18Sha512 } from '../../src/algorithms/group-kex.ts'
import {
  mlkem768nistp256Sha256,
  mlkem768x25519Sha256,
  mlkem1024nistp384Sha384,
  sntrup761x25519Sha512,
  sntrup761x25519Sha512OpenSsh,
} from '../../src/algorithms/hybrid.ts'
import {
  curve25519Sha256,
  curve25519Sha256Libssh,
  ecdhNistp256,
  ecdhNistp384,
  ecdhNistp521,
} from '../../src/algorithms/kex.ts'
import type { KexSpec } from '../../src/algorithms/spec.ts'
import { bytesOf } from '../../src/crypto/big-integers.ts'
import { modpPrime } from '../../src/crypto/modp-groups.ts'
import { nativeCrypto } from '../../src/crypto/native.ts'
import { nobleCrypto } from '../../src/crypto/noble.ts'
import type { CryptoProvider } from '../../src/crypto/provider.ts'
import { SshError } from '../../src/errors.ts'
import { Reader } from '../../src/wire/reader.ts'
import { Writer } from '../../src/wire/writer.ts'

const native = nativeCrypto()

interface Expectation {
  readonly spec: KexSpec
  readonly initBytes: number
  readonly replyBytes: number
  /** Of the curve point at the end of both. */
  readonly pointBytes: number
}

const all: readonly Expectation[] = [
  { spec: mlkem768x25519Sha256, initBytes: 1184 + 32, replyBytes: 1088 + 32, pointBytes: 32 },
  { spec: mlkem768nistp256Sha256, initBytes: 1184 + 65, replyBytes: 1088 + 65, pointBytes: 65 },
  { spec: mlkem1024nistp384Sha384, initBytes: 1568 + 97, replyBytes: 1568 + 97, pointBytes: 97 },
  { spec: sntrup761x25519Sha512, initBytes: 1158 + 32, replyBytes: 1039 + 32, pointBytes: 32 },
  {
    spec: sntrup761x25519Sha512OpenSsh,
    initBytes: 1158 + 32,
    replyBytes: 1039 + 32,
    pointBytes: 32,
  },
  { spec: curve25519Sha256, initBytes: 32, replyBytes: 32, pointBytes: 32 },
  { spec: curve25519Sha256Libssh, initBytes: 32, replyBytes: 32, pointBytes: 32 },
  { spec: ecdhNistp256, initBytes: 65, replyBytes: 65, pointBytes: 65 },
  { spec: ecdhNistp384, initBytes: 97, replyBytes: 97, pointBytes: 97 },
  { spec: ecdhNistp521, initBytes: 133, replyBytes: 133, pointBytes: 133 },
]

for (const spec of [group14Sha256, group16Sha512, group18Sha512]) {
  test(`${spec.name}: both sides agree, on bodies of mpints`, () => {
    for (const [one, two] of [
      [native, nobleCrypto],
      [nobleCrypto, native],
    ] as const) {
      const initiator = spec.initiate(one)
      const { reply, sharedSecret } = spec.respond(two, initiator.init)
      for (const value of [initiator.init, reply]) {
        const reader = new Reader(new Writer().string(value).finish())
        assert.ok(reader.mpint().length > 0)
      }
      assert.equal(initiator.finish(reply), sharedSecret)
    }
  })

  test(`${spec.name}: values that give the secret away are refused`, () => {
    const bits = { 14: 2048, 16: 4096, 18: 8192 }[spec.name.slice(20, 22)] as 2048 | 4096 | 8192
    const mpint = (value: bigint): Uint8Array =>
      new Writer()
        .mpint(bytesOf(value, bits / 8 + 1))
        .finish()
        .subarray(4)
    const prime = modpPrime(bits)
    for (const value of [0n, 1n, prime - 1n, prime, prime + 1n]) {
      refuses(() => spec.respond(native, mpint(value)), `e = ${value.toString(16).slice(0, 9)}`)
      refuses(() => spec.initiate(native).finish(mpint(value)), 'f')
    }
    refuses(() => spec.respond(native, new Uint8Array([0x80])), 'a negative e')
    refuses(() => spec.respond(native, new Uint8Array([0, 2])), 'e with a needless zero')
    refuses(() => spec.respond(native, new Uint8Array(0)), 'no e')
  })
}

function refuses(action: () => unknown, what: string): void {
  try {
    action()
  } catch (error) {
    assert.instance(error, SshError, what)
    assert.is((error as SshError).code, 'SSH_KEY_EXCHANGE', what)
    return
  }
  assert.unreachable(`${what} was accepted`)
}

for (const { spec, initBytes, replyBytes, pointBytes } of all) {
  test(`${spec.name}: both sides get the same secret, whichever provider they use`, () => {
    for (const [one, two] of [
      [native, nobleCrypto],
      [nobleCrypto, native],
    ] as const) {
      const initiator = spec.initiate(one)
      assert.is(initiator.init.length, initBytes)
      const { reply, sharedSecret } = spec.respond(two, initiator.init)
      assert.is(reply.length, replyBytes)
      assert.equal(initiator.finish(reply), sharedSecret)
    }
  })

  test(`${spec.name}: K is one whole field, fresh each time`, () => {
    const secrets = [1, 2].map(() => spec.respond(native, spec.initiate(native).init).sharedSecret)
    assert.not.equal(secrets[0], secrets[1])
    for (const secret of secrets) {
      const reader = new Reader(secret)
      if (spec.postQuantum) assert.is(reader.string().length, native.hash(spec.hash).length)
      else reader.mpint()
      reader.end()
    }
  })

  test(`${spec.name}: values of a wrong length or off the curve are refused`, () => {
    const initiator = spec.initiate(native)
    const { reply } = spec.respond(native, initiator.init)
    for (const crypto of [native, nobleCrypto]) {
      for (const length of [0, 1, initBytes - 1, initBytes + 1]) {
        refuses(() => spec.respond(crypto, new Uint8Array(length)), `INIT of ${length} bytes`)
      }
      // All zeros: a low-order point of Curve25519, no point at all of the others.
      refuses(() => spec.respond(crypto, new Uint8Array(initBytes)), 'INIT of zeros')
    }
    for (const length of [0, replyBytes - 1, replyBytes + 1]) {
      refuses(() => initiator.finish(new Uint8Array(length)), `REPLY of ${length} bytes`)
    }
    const zeroPoint = reply.slice()
    zeroPoint.fill(0, replyBytes - pointBytes)
    refuses(() => initiator.finish(zeroPoint), 'REPLY with a point of zeros')
  })
}

for (const { spec, replyBytes } of all.filter(({ spec }) => spec.postQuantum)) {
  test(`${spec.name}: a reply tampered with in either part gives another secret or none`, () => {
    const initiator = spec.initiate(native)
    const { reply, sharedSecret } = spec.respond(native, initiator.init)
    for (const at of [0, 1000, replyBytes - 1]) {
      const damaged = reply.slice()
      damaged[at]! ^= 1
      try {
        assert.not.equal(initiator.finish(damaged), sharedSecret)
      } catch (error) {
        assert.is((error as SshError).code, 'SSH_KEY_EXCHANGE')
      }
    }
    assert.equal(initiator.finish(reply), sharedSecret)
  })
}

test('mlkem768x25519 is the hash of both secrets, the ML-KEM one first', () => {
  // Recomputed from the parts by a provider that keeps what it hands out.
  const secrets: { kem?: Uint8Array; curve?: Uint8Array } = {}
  const recording: CryptoProvider = {
    ...native,
    mlKem: {
      ...native.mlKem,
      encapsulate(parameters, publicKey) {
        const result = native.mlKem.encapsulate(parameters, publicKey)
        secrets.kem = result.sharedSecret.slice()
        return result
      },
    },
    x25519: {
      ...native.x25519,
      agree(secretKey, peer) {
        secrets.curve = native.x25519.agree(secretKey, peer)
        return secrets.curve
      },
    },
  }
  const { init } = mlkem768x25519Sha256.initiate(native)
  const { sharedSecret } = mlkem768x25519Sha256.respond(recording, init)
  const { kem, curve } = secrets
  assert.ok(kem !== undefined && curve !== undefined)
  if (kem === undefined || curve === undefined) return
  assert.equal(new Reader(sharedSecret).string(), native.hash('sha256', kem, curve))
})

test.run()
