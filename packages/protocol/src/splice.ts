/** Joining two transports: what one reads the other writes, until both sides ended. */
import { ignore } from './deferred.ts'
import type { Transport } from './io/transport.ts'

/**
 * Copies both ways with half-close: the end of one direction is passed on, and the other goes on.
 * Resolves when both have ended. If either fails, both transports are aborted; never rejects.
 *
 * `leftGone`, if given, resolves when `left` is gone altogether, as a channel is after CLOSE. Then
 * `right` is let go once what had come was passed on, though it might never end by itself.
 *
 * @example
 * import { memoryPair, splice } from '@sandbox-ssh/protocol'
 *
 * const [browser, proxyLeft] = memoryPair()
 * const [proxyRight, site] = memoryPair()
 * const passing = splice(proxyLeft, proxyRight)
 * await browser.write(new TextEncoder().encode('GET /'))
 * console.log(new TextDecoder().decode(await site.read())) // GET /
 * await browser.close()
 * await site.close()
 * await passing
 */
export async function splice(
  left: Transport,
  right: Transport,
  leftGone?: Promise<void>,
): Promise<void> {
  const there = copy(left, right)
  leftGone
    ?.then(() => there)
    .then(() => right.abort())
    .catch(ignore)
  try {
    await Promise.all([there, copy(right, left)])
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
