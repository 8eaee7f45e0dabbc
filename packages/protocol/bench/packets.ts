/**
 * How fast packets are sealed and opened, for each cipher and provider.
 *
 *     node scripts/run.mjs packages/protocol/bench/packets.ts [--once]
 */
import { aes256Ctr, aes256Gcm, chacha20Poly1305 } from '../src/algorithms/ciphers.ts'
import { hmacSha256Etm, hmacSha512 } from '../src/algorithms/macs.ts'
import type { CipherSpec, MacSpec } from '../src/algorithms/spec.ts'
import { umac64Etm, umac128Etm } from '../src/algorithms/umac.ts'
import { nativeCrypto } from '../src/crypto/native.ts'
import { nobleCrypto } from '../src/crypto/noble.ts'
import type { CryptoProvider } from '../src/crypto/provider.ts'

const ROUNDS = 5
const ROUND_MS = 150

const cases: readonly (readonly [CipherSpec, MacSpec | undefined])[] = [
  [aes256Gcm, undefined],
  [chacha20Poly1305, undefined],
  [aes256Ctr, hmacSha256Etm],
  [aes256Ctr, hmacSha512],
  [aes256Ctr, umac64Etm],
  [aes256Ctr, umac128Etm],
]

/** Microseconds to seal and open one packet: median, and half the spread. */
function measure(
  crypto: CryptoProvider,
  cipher: CipherSpec,
  mac: MacSpec | undefined,
  payloadBytes: number,
  once: boolean,
): { median: number; spread: number } {
  const keys = {
    iv: crypto.random(cipher.ivBytes),
    key: crypto.random(cipher.keyBytes),
    macKey: crypto.random(mac?.keyBytes ?? 0),
  }
  const sealer = cipher.seal(crypto, keys, mac)
  const opener = cipher.open(crypto, keys, mac)
  // Rounded up to whole blocks, with or without the length.
  const length = (Math.ceil((payloadBytes + 9) / 16) + 1) * 16 - (sealer.lengthCounts ? 4 : 0)
  const packet = new Uint8Array(4 + length + sealer.tagBytes)
  const view = new DataView(packet.buffer)
  let sequenceNumber = 0
  const step = (): void => {
    view.setUint32(0, length)
    sealer.seal(packet, sequenceNumber)
    const told = opener.packetLength(packet.subarray(0, opener.headBytes), sequenceNumber)
    if (told !== length || !opener.open(packet, sequenceNumber)) throw new Error('not authentic')
    sequenceNumber++
  }
  const rounds: number[] = []
  for (let round = 0; round < (once ? 1 : ROUNDS + 1); round++) {
    const start = performance.now()
    let count = 0
    do {
      step()
      count++
    } while (!once && performance.now() - start < ROUND_MS)
    // The first round warms up.
    if (round > 0 || once) rounds.push(((performance.now() - start) * 1000) / count)
  }
  rounds.sort((a, b) => a - b)
  const median = rounds[rounds.length >> 1] ?? 0
  return { median, spread: ((rounds.at(-1) ?? 0) - (rounds[0] ?? 0)) / 2 }
}

const once = process.argv.includes('--once')
console.log(`Node ${process.version}; microseconds to seal and open, median ± half the spread`)
for (const crypto of [nativeCrypto(), nobleCrypto]) {
  for (const [cipher, mac] of cases) {
    const name = mac === undefined ? cipher.name : `${cipher.name} ${mac.name}`
    const results = [64, 32 * 1024].map((bytes) => {
      const { median, spread } = measure(crypto, cipher, mac, bytes, once)
      return `${bytes} B ${median.toFixed(1)} ±${spread.toFixed(1)} (${(bytes / median).toFixed(0)} MB/s)`
    })
    console.log(`${crypto.name.padEnd(7)} ${name.padEnd(42)} ${results.join('   ')}`)
  }
}
