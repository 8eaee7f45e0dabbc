/** The host's half of the handshake on an agent's raw console, which happens once per boot. */
import type { Transport } from '@sandbox-ssh/protocol'
import { decodeEnvelope, decodePayload, encodeMessage } from '../agent/envelope.ts'
import { AgentError } from '../agent/error.ts'
import type { Frame, FrameDecoder } from '../agent/frame.ts'
import { RestartSign, typeOf } from '../agent/restart-sign.ts'

/** What is known of an agent that is up. */
export interface Booted {
  /** Its `core.ready`, as it came, for every client. */
  readonly ready: Uint8Array
  readonly generation: number
  /** It announced extensions. */
  readonly extended: boolean
}

/**
 * Has the agent boot: `core.bootstrap`, then the answer to `core.init.resolved`, until
 * `core.ready`. What else comes is of an earlier life and dropped. Our own guest program answers
 * a second bootstrap, of a host that has come back, with `core.ready` at once; microsandbox's
 * agent ignores it, see `resume`.
 * @throws AgentError `closed`, `protocol`; PayloadError for a broken `core.ready`
 */
export async function boot(transport: Transport, decoder: FrameDecoder): Promise<Booted> {
  // An empty map: everything in it is optional, and what the VM mounts is not our business.
  const bootstrap = encodeMessage(0, 'core.bootstrap', { fields: new Map() })
  await transport.write(bootstrap)
  const sign = new RestartSign('core.init.resolved')
  for (;;) {
    const frame = await nextFrame(transport, decoder, sign)
    const type = frame.id === 0 ? typeOf(frame) : undefined
    if (type === 'core.init.resolved') {
      // Said unasked, it means that our bootstrap was lost: in what was under way to a guest that
      // has restarted, or before it listened. Others say it once, and bear no second bootstrap.
      const answer = isUnasked(frame) ? bootstrap : encodeMessage(0, 'core.init.ack', {})
      await transport.write(answer)
    } else if (type === 'core.ready') {
      const { generation, payload } = decodeEnvelope(frame.body)
      const { features = [] } = decodePayload('core.ready', payload)
      return { ready: frame.bytes, generation, extended: features.length > 0 }
    }
  }
}

/**
 * Takes over an agent that has booted and does not say so again: a pong shows that it lives, and
 * its generation. To one that still waits for its bootstrap this would be fatal.
 * @throws AgentError `closed`, `protocol`
 */
export async function resume(transport: Transport, decoder: FrameDecoder): Promise<Booted> {
  const id = 1 + Math.floor(Math.random() * 0xffff)
  await transport.write(encodeMessage(id, 'core.ping', {}))
  const sign = new RestartSign('core.init.resolved')
  for (;;) {
    const frame = await nextFrame(transport, decoder, sign)
    const type = typeOf(frame)
    // Our own guest says this as long as it has heard no bootstrap.
    if (frame.id === 0 && type === 'core.init.resolved') return boot(transport, decoder)
    if (frame.id !== id || type !== 'core.pong') continue
    const { generation } = decodeEnvelope(frame.body)
    const times = { boot_time_ns: 0, init_time_ns: 0, ready_time_ns: 0 }
    return { ready: encodeMessage(0, 'core.ready', times, generation), generation, extended: false }
  }
}

function isUnasked(frame: Frame): boolean {
  try {
    const { payload } = decodeEnvelope(frame.body)
    return decodePayload('core.init.resolved', payload).unasked === true
  } catch {
    return false
  }
}

async function nextFrame(
  transport: Transport,
  decoder: FrameDecoder,
  sign: RestartSign,
): Promise<Frame> {
  for (;;) {
    const frame = decoder.next()
    if (frame !== undefined) return frame
    const chunk = await transport.read()
    if (chunk === undefined) throw new AgentError('closed', 'the console was closed')
    if (sign.isGivenBy(chunk, decoder)) decoder.reset()
    decoder.push(chunk)
  }
}
