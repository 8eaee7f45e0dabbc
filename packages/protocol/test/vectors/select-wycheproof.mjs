// Makes wycheproof.json from a checkout of https://github.com/C2SP/wycheproof (Apache-2.0):
//
//     node select-wycheproof.mjs PATH/testvectors_v1 > wycheproof.json
//
// Of each file every case that must be refused is kept up to a number, and some of the others of
// each kind, so that the result stays small enough to be read by a person.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = process.argv[2]

function cases(name) {
  const file = JSON.parse(readFileSync(join(folder, `${name}_test.json`), 'utf8'))
  return file.testGroups.flatMap((group) => group.tests.map((test) => ({ ...test, group })))
}

/** At most `each` cases of every combination of result and flags. */
function some(all, each) {
  const seen = new Map()
  return all.filter(({ result, flags = [] }) => {
    const kind = `${result} ${flags.join()}`
    seen.set(kind, (seen.get(kind) ?? 0) + 1)
    return seen.get(kind) <= each
  })
}

const curves = { nistp256: 'secp256r1', nistp384: 'secp384r1', nistp521: 'secp521r1' }
const hashes = { nistp256: 'sha256', nistp384: 'sha384', nistp521: 'sha512' }
const perCurve = (make) => Object.fromEntries(Object.keys(curves).map((name) => [name, make(name)]))

const selection = {
  origin: 'C2SP/wycheproof dac1dd4, testvectors_v1; made by select-wycheproof.mjs',
  aesGcm: some(
    cases('aes_gcm').filter(({ group }) => group.ivSize === 96 && group.tagSize === 128),
    12,
  ).map(({ key, iv, aad, msg, ct, tag, result }) => ({ key, iv, aad, msg, ct, tag, result })),
  x25519: some(cases('x25519'), 4).map((test) => ({
    public: test.public,
    private: test.private,
    shared: test.shared,
    zero: test.flags.includes('ZeroSharedSecret'),
  })),
  ed25519: some(cases('ed25519'), 14).map(({ group, msg, sig, result }) => ({
    key: group.publicKey.pk,
    msg,
    sig,
    result,
  })),
  ecdh: perCurve((name) =>
    some(cases(`ecdh_${curves[name]}_ecpoint`), 5).map((test) => ({
      public: test.public,
      private: test.private,
      shared: test.shared,
      result: test.result,
      compressed: test.flags.some((flag) => flag.startsWith('Compressed')),
    })),
  ),
  ecdsa: perCurve((name) =>
    some(cases(`ecdsa_${curves[name]}_${hashes[name]}_p1363`), 5).map(
      ({ group, msg, sig, result }) => ({
        key: group.publicKey.uncompressed,
        msg,
        sig,
        result,
      }),
    ),
  ),
  hmac: Object.fromEntries(
    ['sha256', 'sha512'].map((hash) => [
      hash,
      cases(`hmac_${hash}`)
        .filter(({ group, msg, result }) => {
          const whole = group.tagSize === Number(hash.slice(3))
          return whole && result === 'valid' && msg.length >= 8
        })
        .slice(0, 20)
        .map(({ key, msg, tag }) => ({ key, msg, tag })),
    ]),
  ),
  rsa: Object.fromEntries(
    ['sha256', 'sha512'].map((hash) => [
      hash,
      // A DigestInfo without its NULL is `acceptable` to them; no signer of SSH makes one.
      some(cases(`rsa_signature_2048_${hash}`), 10).map(({ group, msg, sig, result }) => ({
        n: group.publicKey.modulus,
        e: group.publicKey.publicExponent,
        msg,
        sig,
        result,
      })),
    ]),
  ),
  mlKem: Object.fromEntries(
    [768, 1024].map((size) => [
      size,
      {
        decapsulation: cases(`mlkem_${size}_semi_expanded_decaps`).map(({ dk, c, K, result }) => ({
          dk,
          c,
          K: K ?? '',
          result,
        })),
        fromSeed: cases(`mlkem_${size}`)
          .filter(({ seed, K }) => seed?.length === 128 && K)
          .slice(0, 4)
          .map(({ seed, ek, c, K }) => ({ seed, ek, c, K })),
        invalidKeys: some(
          cases(`mlkem_${size}_encaps`).filter(({ result }) => result === 'invalid'),
          3,
        ).map(({ ek }) => ek),
      },
    ]),
  ),
}

process.stdout.write(
  `${JSON.stringify(selection, null, 1)}\n`,
)
