/** Counting what passes, without being in its way. */
import type { Transport } from '@sandbox-ssh/protocol'

/** Bytes so far. */
export interface TrafficCount {
  bytesIn: number
  bytesOut: number
}

/** The transport, with what is read from it counted as in and what is written as out. */
export function counted(transport: Transport, count: TrafficCount): Transport {
  return {
    read: async () => {
      const chunk = await transport.read()
      count.bytesIn += chunk?.length ?? 0
      return chunk
    },
    write: (chunk) => {
      count.bytesOut += chunk.length
      return transport.write(chunk)
    },
    close: () => transport.close(),
    abort: (reason) => transport.abort(reason),
  }
}
