/**
 * The server's side of SOCKS 4, 4a and 5 (RFC 1928), as far as `ssh -D` needs it: CONNECT, without
 * authentication. Whoever speaks it is local, but may be a browser that somebody else's page
 * directs, so everything is bounded and what is not SOCKS gets no answer.
 */
import { ChannelOpenError, OPEN_FAILURE, SshError, type Transport } from '@sandbox-ssh/protocol'

/** Longest user name of SOCKS 4, which nobody needs, and longest host name. */
const FIELD_BYTES_MAX = 255

/** SOCKS 5 replies, RFC 1928 §6. */
const REPLY = {
  SUCCEEDED: 0,
  FAILURE: 1,
  NOT_ALLOWED: 2,
  REFUSED: 5,
  UNKNOWN_COMMAND: 7,
  UNKNOWN_ADDRESS: 8,
} as const

/** SOCKS 4 replies. */
const GRANTED = 0x5a
const REJECTED = 0x5b

/** What a client wants, and how it is told what became of it. */
export interface SocksRequest {
  /** A name or an address. */
  readonly host: string
  readonly port: number
  /** The connection behind the request; what the client sent early is read first. */
  readonly transport: Transport
  /** Tells the client that it is connected. */
  accept(): Promise<void>
  /** Tells the client why it is not, as well as the protocol can. */
  refuse(error: unknown): Promise<void>
}

/**
 * Reads a request from a connection that has just come in. Rejects with SshError `SSH_PROTOCOL` for
 * what is no such request; a client that asks properly for what is not offered was told so.
 */
export async function readSocksRequest(transport: Transport): Promise<SocksRequest> {
  const reader = new FieldReader(transport)
  const version = await reader.byte()
  if (version === 4) return readVersion4(reader)
  if (version === 5) return readVersion5(reader)
  throw malformed('neither SOCKS 4 nor SOCKS 5')
}

async function readVersion4(reader: FieldReader): Promise<SocksRequest> {
  const { transport } = reader
  const reply = (code: number): Promise<void> =>
    transport.write(Uint8Array.of(0, code, 0, 0, 0, 0, 0, 0))
  const [command = 0, high = 0, low = 0, ...address] = await reader.bytes(7)
  await reader.untilZero()
  const [a, b, c, d] = address
  const isName = a === 0 && b === 0 && c === 0 && d !== 0
  const host = isName ? name(await reader.untilZero()) : address.join('.')
  if (command !== 1) {
    await reply(REJECTED)
    throw malformed(`SOCKS 4 command ${command}, and only CONNECT is offered`)
  }
  return {
    host,
    port: high * 256 + low,
    transport: reader.rest(),
    accept: () => reply(GRANTED),
    refuse: () => reply(REJECTED),
  }
}

async function readVersion5(reader: FieldReader): Promise<SocksRequest> {
  const { transport } = reader
  const methods = await reader.bytes(await reader.byte())
  if (!methods.includes(0)) {
    await transport.write(Uint8Array.of(5, 0xff))
    throw malformed('a SOCKS 5 client that insists on authentication')
  }
  await transport.write(Uint8Array.of(5, 0))
  const reply = (code: number): Promise<void> =>
    transport.write(Uint8Array.of(5, code, 0, 1, 0, 0, 0, 0, 0, 0))
  const [version, command = 0, , kind = 0] = await reader.bytes(4)
  if (version !== 5) throw malformed('a SOCKS 5 greeting without a request')
  const host = await readAddress(reader, kind)
  const [high = 0, low = 0] = await reader.bytes(2)
  if (command !== 1) {
    await reply(REPLY.UNKNOWN_COMMAND)
    throw malformed(`SOCKS 5 command ${command}, and only CONNECT is offered`)
  }
  if (host === undefined) {
    await reply(REPLY.UNKNOWN_ADDRESS)
    throw malformed(`SOCKS 5 address type ${kind}`)
  }
  return {
    host,
    port: high * 256 + low,
    transport: reader.rest(),
    accept: () => reply(REPLY.SUCCEEDED),
    refuse: (error) => reply(replyFor(error)),
  }
}

async function readAddress(reader: FieldReader, kind: number): Promise<string | undefined> {
  switch (kind) {
    case 1:
      return (await reader.bytes(4)).join('.')
    case 3:
      return name(await reader.bytes(await reader.byte()))
    case 4: {
      const bytes = await reader.bytes(16)
      const groups = Array.from({ length: 8 }, (_, index) => {
        const [high = 0, low = 0] = bytes.subarray(2 * index)
        return (high * 256 + low).toString(16)
      })
      return groups.join(':')
    }
    default:
      return undefined
  }
}

function replyFor(error: unknown): number {
  if (!(error instanceof ChannelOpenError)) return REPLY.FAILURE
  if (error.reason === OPEN_FAILURE.ADMINISTRATIVELY_PROHIBITED) return REPLY.NOT_ALLOWED
  return error.reason === OPEN_FAILURE.CONNECT_FAILED ? REPLY.REFUSED : REPLY.FAILURE
}

/** A host name goes into a message to the sandbox: visible ASCII, as all of them are on the wire. */
function name(bytes: Uint8Array): string {
  if (bytes.length === 0 || bytes.some((byte) => byte <= 0x20 || byte >= 0x7f)) {
    throw malformed('an impossible host name')
  }
  return String.fromCharCode(...bytes)
}

function malformed(what: string): SshError {
  return new SshError('SSH_PROTOCOL', `not a request to the proxy: ${what}`)
}

/** Reads fields off a stream and leaves what follows them to others. */
class FieldReader {
  readonly transport: Transport
  #chunk: Uint8Array = new Uint8Array(0)

  constructor(transport: Transport) {
    this.transport = transport
  }

  async byte(): Promise<number> {
    const [byte = 0] = await this.bytes(1)
    return byte
  }

  async bytes(count: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(count)
    for (let filled = 0; filled < count; ) {
      if (this.#chunk.length === 0) await this.#fill()
      const some = this.#chunk.subarray(0, count - filled)
      bytes.set(some, filled)
      filled += some.length
      this.#chunk = this.#chunk.subarray(some.length)
    }
    return bytes
  }

  async untilZero(): Promise<Uint8Array> {
    const bytes: number[] = []
    for (let byte = await this.byte(); byte !== 0; byte = await this.byte()) {
      if (bytes.push(byte) > FIELD_BYTES_MAX) throw malformed('an endless field')
    }
    return Uint8Array.from(bytes)
  }

  /** The stream from here on. */
  rest(): Transport {
    const { transport } = this
    let early: Uint8Array | undefined = this.#chunk.length > 0 ? this.#chunk : undefined
    return {
      read: () => {
        const chunk = early
        early = undefined
        return chunk === undefined ? transport.read() : Promise.resolve(chunk)
      },
      write: (chunk) => transport.write(chunk),
      close: () => transport.close(),
      abort: (reason) => transport.abort(reason),
    }
  }

  async #fill(): Promise<void> {
    const chunk = await this.transport.read()
    if (chunk === undefined) throw malformed('it ended early')
    this.#chunk = chunk
  }
}
