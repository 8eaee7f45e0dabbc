/** What waits for readers, of all sessions of one connection to an agent. */

/** Somebody who holds bytes for a reader. */
export interface Holder {
  /** Too many are held in all, and of all holders this one has most: it drops them. */
  overflow(): void
}

/**
 * The sum of what is held, and its bound. An agent that cannot be told to wait goes on sending to
 * sessions that nobody reads; each has a bound of its own, but one client may have many of them.
 */
export class HeldBytes {
  readonly #bytesMax: number
  readonly #holders = new Map<Holder, number>()
  #total = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Of all holders together. */
  get total(): number {
    return this.#total
  }

  /** Notes what a holder has now; whoever has most is made to drop it while the sum is too large. */
  set(holder: Holder, bytes: number): void {
    this.#total += bytes - (this.#holders.get(holder) ?? 0)
    if (bytes === 0) this.#holders.delete(holder)
    else this.#holders.set(holder, bytes)
    while (this.#total > this.#bytesMax) this.#cut()
  }

  #cut(): void {
    let largest: Holder | undefined
    let most = 0
    for (const [holder, bytes] of this.#holders) {
      if (bytes > most) [largest, most] = [holder, bytes]
    }
    if (largest === undefined) return
    // Counted as gone before it is told, so that what it does about it cannot come back here.
    this.#holders.delete(largest)
    this.#total -= most
    largest.overflow()
  }
}
