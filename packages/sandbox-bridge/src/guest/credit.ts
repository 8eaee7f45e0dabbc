/** How much output a session may send. */

/** A counter that producers wait for; without a limit it never runs out. */
export class Credit {
  #bytes: number
  #waiting: (() => void)[] = []
  #closed = false

  constructor(window: number | undefined) {
    this.#bytes = window ?? Number.POSITIVE_INFINITY
  }

  /** Takes up to `wanted` bytes as soon as there are any. Returns `wanted` once closed. */
  async take(wanted: number): Promise<number> {
    while (this.#bytes <= 0 && !this.#closed) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    if (this.#closed) return wanted
    const taken = Math.min(wanted, this.#bytes)
    this.#bytes -= taken
    return taken
  }

  give(bytes: number): void {
    this.#bytes += bytes
    this.#wake()
  }

  /** The session is over: nobody waits any more. */
  close(): void {
    this.#closed = true
    this.#wake()
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
