/**
 * Poly1305 (RFC 8439 §2.5) in floating point. OpenSSH clients prefer ChaCha20-Poly1305, no runtime
 * offers the bare MAC, and the portable library computes it in limbs of 13 bits, 100 products a
 * block. In doubles, which are exact to 2^53, limbs of 22 bits make do with 36: about 2.5 times as
 * fast (see `bench/packets.ts`). No branch and no index depends on data.
 */

/** 2^-22 and 2^22: taking a carry out of a limb and the rest that stays. */
const DOWN_22 = 2 ** -22
const UP_22 = 2 ** 22
/** The top limb holds bits 110 to 129, so its carry is at 2^130, which is 5. */
const DOWN_20 = 2 ** -20
const UP_20 = 2 ** 20
const MASK_22 = 0x3fffff

/**
 * The tag of `data` under a one-time key of 32 bytes.
 * Throws RangeError for a key of another length.
 */
export function poly1305(key: Uint8Array, data: Uint8Array): Uint8Array {
  if (key.length !== 32) throw new RangeError('key must have 32 bytes')
  // r with the bits cleared that RFC 8439 §2.5.1 wants cleared.
  const k0 = word(key, 0) & 0x0fffffff
  const k1 = word(key, 4) & 0x0ffffffc
  const k2 = word(key, 8) & 0x0ffffffc
  const k3 = word(key, 12) & 0x0ffffffc
  const r0 = k0 & MASK_22
  const r1 = ((k0 >>> 22) | (k1 << 10)) & MASK_22
  const r2 = ((k1 >>> 12) | (k2 << 20)) & MASK_22
  const r3 = (k2 >>> 2) & MASK_22
  const r4 = ((k2 >>> 24) | (k3 << 8)) & MASK_22
  const r5 = k3 >>> 14
  // Six limbs of 22 bits reach 2^132, which is 4 × 5 modulo the prime.
  const s1 = r1 * 20
  const s2 = r2 * 20
  const s3 = r3 * 20
  const s4 = r4 * 20
  const s5 = r5 * 20

  let h0 = 0
  let h1 = 0
  let h2 = 0
  let h3 = 0
  let h4 = 0
  let h5 = 0
  let block = data
  let at = 0
  // 2^128, the bit behind a whole block.
  let high = 2 ** 18
  const end = data.length
  while (at < end) {
    if (end - at < 16) {
      // The last, short block: a one behind it, then zeros.
      block = new Uint8Array(16)
      block.set(data.subarray(at))
      block[end - at] = 1
      high = 0
      at = 0
    }
    const t0 = block[at]! | (block[at + 1]! << 8) | (block[at + 2]! << 16) | (block[at + 3]! << 24)
    const t1 =
      block[at + 4]! | (block[at + 5]! << 8) | (block[at + 6]! << 16) | (block[at + 7]! << 24)
    const t2 =
      block[at + 8]! | (block[at + 9]! << 8) | (block[at + 10]! << 16) | (block[at + 11]! << 24)
    const t3 =
      block[at + 12]! | (block[at + 13]! << 8) | (block[at + 14]! << 16) | (block[at + 15]! << 24)
    h0 += t0 & MASK_22
    h1 += ((t0 >>> 22) | (t1 << 10)) & MASK_22
    h2 += ((t1 >>> 12) | (t2 << 20)) & MASK_22
    h3 += (t2 >>> 2) & MASK_22
    h4 += ((t2 >>> 24) | (t3 << 8)) & MASK_22
    h5 += (t3 >>> 14) + high

    // Each h is below 2^24, each s below 2^27: six products stay below 2^53.
    const d0 = h0 * r0 + h1 * s5 + h2 * s4 + h3 * s3 + h4 * s2 + h5 * s1
    const d1 = h0 * r1 + h1 * r0 + h2 * s5 + h3 * s4 + h4 * s3 + h5 * s2
    const d2 = h0 * r2 + h1 * r1 + h2 * r0 + h3 * s5 + h4 * s4 + h5 * s3
    const d3 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + h4 * s5 + h5 * s4
    const d4 = h0 * r4 + h1 * r3 + h2 * r2 + h3 * r1 + h4 * r0 + h5 * s5
    const d5 = h0 * r5 + h1 * r4 + h2 * r3 + h3 * r2 + h4 * r1 + h5 * r0

    // Two chains of carries at once, so that neither waits for all of the other.
    let c = Math.floor(d0 * DOWN_22)
    h0 = d0 - c * UP_22
    const e1 = d1 + c
    let g = Math.floor(d3 * DOWN_22)
    h3 = d3 - g * UP_22
    const e4 = d4 + g
    c = Math.floor(e1 * DOWN_22)
    h1 = e1 - c * UP_22
    const e2 = d2 + c
    g = Math.floor(e4 * DOWN_22)
    h4 = e4 - g * UP_22
    const e5 = d5 + g
    c = Math.floor(e2 * DOWN_22)
    h2 = e2 - c * UP_22
    h3 += c
    g = Math.floor(e5 * DOWN_20)
    h5 = e5 - g * UP_20
    h0 += g * 5
    c = Math.floor(h0 * DOWN_22)
    h0 -= c * UP_22
    h1 += c
    c = Math.floor(h3 * DOWN_22)
    h3 -= c * UP_22
    h4 += c
    at += 16
    if (high === 0) break
  }
  return finish(key, [h0, h1, h2, h3, h4, h5])
}

/** Reduces the sum fully, adds the second half of the key and keeps 128 bits. */
function finish(key: Uint8Array, limbs: readonly number[]): Uint8Array {
  const h = carried(limbs, 0)
  // h − p = h + 5 − 2^130: if adding 5 carries out of the top, h was at least p.
  const g = carried(h, 5)
  const overflow = Math.floor(g[5]! * DOWN_20)
  g[5] = g[5]! - overflow * UP_20
  const mask = -overflow
  const n = h.map((limb, at) => (limb & ~mask) | (g[at]! & mask))

  const tag = new Uint8Array(16)
  const view = new DataView(tag.buffer)
  const words = [
    (n[0]! | (n[1]! << 22)) >>> 0,
    ((n[1]! >>> 10) | (n[2]! << 12)) >>> 0,
    ((n[2]! >>> 20) | (n[3]! << 2) | (n[4]! << 24)) >>> 0,
    ((n[4]! >>> 8) | (n[5]! << 14)) >>> 0,
  ]
  let carry = 0
  for (const [at, own] of words.entries()) {
    const sum = own + (word(key, 16 + 4 * at) >>> 0) + carry
    view.setUint32(4 * at, sum >>> 0, true)
    carry = sum > 0xffffffff ? 1 : 0
  }
  return tag
}

/**
 * Adds a small number and carries through all limbs, without folding what leaves the top one.
 * Applied to a sum whose top may exceed 20 bits, the fold is done first.
 */
function carried(limbs: readonly number[], add: number): number[] {
  const h = limbs.slice()
  h[0]! += add
  for (let pass = 0; pass < 2; pass++) {
    for (let at = 0; at < 5; at++) {
      const carry = Math.floor(h[at]! * DOWN_22)
      h[at]! -= carry * UP_22
      h[at + 1]! += carry
    }
    // While 5 is only being tried, the carry out of the top is the answer and must stay.
    if (add !== 0) return h
    const carry = Math.floor(h[5]! * DOWN_20)
    h[5]! -= carry * UP_20
    h[0]! += carry * 5
  }
  const carry = Math.floor(h[0]! * DOWN_22)
  h[0]! -= carry * UP_22
  h[1]! += carry
  return h
}

function word(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
}
