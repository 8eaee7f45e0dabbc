/** Joining two transports: what one reads the other writes, until both sides ended. */
import type { Transport } from './io/transport.ts'

/**
 * Copies both ways with half-close: the end of one direction is passed on, and the other goes on.
 * Resolves when both have ended. If either fails, both transports are aborted; never rejects.
 */
export async function splice(left: Transport, right: Transport): Promise<void> {
  try {
    await Promise.all([copy(left, right), copy(right, left)])
  } catch (error) {
    left.abort(error)
    right.abort(error)
  }
}

/** Copies `from` to its end, then ends the writing side of `to`. */
async function copy(from: Transport, to: Transport): Promise<void> {
  for (let chunk = await from.read(); chunk !== undefined; chunk = await from.read()) {
    await to.write(chunk)
  }
  await to.close()
}
