// A TCP proxy on loopback that makes the way long: what enters leaves so much later, in order and at
// whatever rate it came. Nothing else is changed: bytes on the way are not limited, so a window that
// is too small for the way shows, and a pipeline that fills it does too.
//
//     node scripts/run.mjs bench/delay.ts PORT ONE-WAY-MS
//
// It prints the port it listens on, and ends when its stdin does. A process of its own, so that it
// takes no time from the event loops it stands between.

import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

const [port = 0, oneWayMs = 0] = process.argv.slice(2).map(Number)

interface Held {
  readonly chunk: Buffer | undefined
  readonly dueMs: number
}

/** Passes on what `from` sends, its end included. */
function passOn(from: Socket, to: Socket): void {
  const held: Held[] = []
  let isArmed = false
  const release = (): void => {
    isArmed = false
    // A timer may come a little early.
    const nowMs = performance.now() + 0.5
    to.cork()
    while (held[0] !== undefined && held[0].dueMs <= nowMs) {
      const chunk = held.shift()?.chunk
      if (chunk === undefined) to.end()
      else to.write(chunk)
    }
    to.uncork()
    arm()
  }
  const arm = (): void => {
    const first = held[0]
    if (isArmed || first === undefined) return
    isArmed = true
    setTimeout(release, Math.max(0, first.dueMs - performance.now()))
  }
  const hold = (chunk: Buffer | undefined): void => {
    held.push({ chunk, dueMs: performance.now() + oneWayMs })
    arm()
  }
  from.on('data', hold)
  from.on('end', () => hold(undefined))
  from.on('error', () => to.destroy())
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
  passOn(near, far)
  passOn(far, near)
})
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`)
})
process.stdin.resume().once('end', () => process.exit())
