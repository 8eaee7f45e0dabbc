/** What `-L`, `-D`, `-W` and `--permit-open` are given. */
import type { PermittedAddress } from '@sandbox-ssh/protocol'

/** An address to listen on; an empty host stands for all addresses of this machine. */
export interface ListenAddress {
  readonly host: string
  /** 0 for a free one. */
  readonly port: number
}

/** A destination as the sandbox sees it. */
export interface Destination {
  readonly host: string
  readonly port: number
}

/** A port here that leads to one destination, or, without one, wherever its clients say by SOCKS. */
export interface ForwardSpec {
  readonly listen: ListenAddress
  readonly to: Destination | undefined
}

/** Where `msb ssh serve` listens unless it is told otherwise. */
export const SERVER_PORT = 2222

/** A port inside, 0 for a free one, that leads to a destination as it is seen from here. */
export interface RemoteForward {
  readonly port: number
  readonly to: Destination
}

/** Loopback unless told otherwise: whoever reaches the port reaches into the sandbox. */
const BIND_DEFAULT = '127.0.0.1'

/** Reads `[bind:]port:host:hostport`. Throws RangeError saying what is allowed. */
export function parseLocalForward(text: string): ForwardSpec {
  const fields = splitFields(text)
  const [host, port, toHost, toPort] = fields.length === 3 ? [undefined, ...fields] : fields
  if (fields.length < 3 || fields.length > 4 || toHost === undefined || toHost === '') {
    throw new RangeError('it is [BIND:]PORT:HOST:HOSTPORT, with IPv6 addresses in brackets')
  }
  return { listen: listenAddress(host, port), to: { host: toHost, port: targetPort(toPort) } }
}

/** Reads `port:host:hostport`, also with a loopback address before it. Throws RangeError. */
export function parseRemoteForward(text: string): RemoteForward {
  const { listen, to } = parseLocalForward(text)
  if (to !== undefined && ['127.0.0.1', 'localhost'].includes(listen.host)) {
    return { port: listen.port, to }
  }
  throw new RangeError('in the sandbox only its loopback is listened on')
}

/** Reads `[bind:]port`. Throws RangeError. */
export function parseDynamicForward(text: string): ForwardSpec {
  const fields = splitFields(text)
  const [host, port] = fields.length === 1 ? [undefined, ...fields] : fields
  if (fields.length > 2) {
    throw new RangeError('it is [BIND:]PORT, with IPv6 addresses in brackets')
  }
  return { listen: listenAddress(host, port), to: undefined }
}

/** Reads `host:port`. Throws RangeError. */
export function parseDestination(text: string): Destination {
  const fields = splitFields(text)
  const [host, port] = fields
  if (fields.length !== 2 || host === undefined || host === '') {
    throw new RangeError('it is HOST:PORT, with IPv6 addresses in brackets')
  }
  return { host, port: targetPort(port) }
}

/** Reads `host[:port]` of an SSH server of ours. Throws RangeError. */
export function parseGatewayAddress(text: string): Destination {
  const fields = splitFields(text)
  const [host, port = String(SERVER_PORT)] = fields
  if (fields.length > 2 || host === undefined || host === '') {
    throw new RangeError('it is HOST[:PORT], with IPv6 addresses in brackets')
  }
  return { host, port: targetPort(port) }
}

/** Reads `host:port` where either may be `*`, or `none`. Throws RangeError. */
export function parsePermitted(text: string): readonly PermittedAddress[] {
  if (text === 'none') return []
  const [host, port] = splitFields(text)
  if (host === undefined || host === '' || splitFields(text).length !== 2) {
    throw new RangeError('it is HOST:PORT, * for any, or none')
  }
  return [
    {
      host: host === '*' ? undefined : host,
      port: port === '*' ? undefined : targetPort(port),
    },
  ]
}

/** The parts between colons; those in brackets may hold colons themselves. */
function splitFields(text: string): readonly string[] {
  if (!/^(\[[^[\]]*\]|[^:[\]]*)(:(\[[^[\]]*\]|[^:[\]]*))*$/.test(text)) {
    throw new RangeError('its brackets do not match')
  }
  return (text.match(/(\[[^\]]*\]|[^:[\]]+|(?<=^|:)(?=:|$))/g) ?? ['']).map((field) =>
    field.startsWith('[') ? field.slice(1, -1) : field,
  )
}

function listenAddress(host: string | undefined, port: string | undefined): ListenAddress {
  return { host: host === undefined ? BIND_DEFAULT : host === '*' ? '' : host, port: number(port) }
}

function targetPort(text: string | undefined): number {
  const port = number(text)
  if (port === 0) throw new RangeError('a port is a number from 1 to 65535')
  return port
}

function number(text: string | undefined): number {
  const port = /^\d{1,5}$/.test(text ?? '') ? Number(text) : Number.NaN
  if (!(port <= 65535)) throw new RangeError('a port is a number from 0 to 65535')
  return port
}
