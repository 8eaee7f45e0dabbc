/** What may arrive when: phase and role → message numbers. Anything absent is a protocol error. */
import { MSG } from '../wire/numbers.ts'

/** How far a connection has come. */
export type Phase =
  /** Waiting for the peer's identification line. */
  | 'version'
  /** The first key exchange. */
  | 'key-exchange'
  /** Keys are in force; ssh-userauth has not been granted. */
  | 'service'
  | 'authentication'
  | 'connection'

type Role = 'client' | 'server'
/** Inclusive ranges of message numbers. */
type Ranges = readonly (readonly [number, number])[]

const TRANSPORT: Ranges = [[MSG.DISCONNECT, MSG.DEBUG]]
/** 20 to 49; which of them is decided by the state of the exchange, see `KeyExchange.permits`. */
const EXCHANGE: Ranges = [[20, 49]]
const PING: Ranges = [[MSG.PING, MSG.PONG]]
const one = (number: number): Ranges => [[number, number]]
/** 50 to 79; which of them is decided by the method in use, see `ServerAuth.permits`. */
const USERAUTH: Ranges = [[50, 79]]
const CONNECTION: Ranges = [
  [MSG.GLOBAL_REQUEST, MSG.REQUEST_FAILURE],
  [MSG.CHANNEL_OPEN, MSG.CHANNEL_FAILURE],
]

const PERMITTED: Readonly<Record<Phase, Readonly<Record<Role, Ranges>>>> = {
  version: { client: [], server: [] },
  'key-exchange': {
    client: [...TRANSPORT, ...EXCHANGE],
    server: [...TRANSPORT, ...EXCHANGE],
  },
  service: {
    client: [...TRANSPORT, ...EXCHANGE, ...PING, ...one(MSG.EXT_INFO), ...one(MSG.SERVICE_ACCEPT)],
    server: [...TRANSPORT, ...EXCHANGE, ...PING, ...one(MSG.EXT_INFO), ...one(MSG.SERVICE_REQUEST)],
  },
  authentication: {
    client: [...TRANSPORT, ...EXCHANGE, ...PING, ...one(MSG.EXT_INFO), ...USERAUTH],
    // paramiko asks for the service before each attempt, and OpenSSH grants it each time.
    server: [...TRANSPORT, ...EXCHANGE, ...PING, ...one(MSG.SERVICE_REQUEST), ...USERAUTH],
  },
  connection: {
    client: [...TRANSPORT, ...EXCHANGE, ...PING, ...CONNECTION],
    // Requests sent before the client saw its success are to be ignored (RFC 4252 §5.1).
    server: [...TRANSPORT, ...EXCHANGE, ...PING, ...CONNECTION, ...one(MSG.USERAUTH_REQUEST)],
  },
}

/** Between the peer's KEXINIT and its NEWKEYS: transport and exchange only (RFC 4253 §7.1). */
const EXCHANGING: Ranges = [...TRANSPORT, ...EXCHANGE]

/** Whether `number` may arrive in `phase`; `exchanging` while the peer is between its keys. */
export function isPermitted(
  role: Role,
  phase: Phase,
  exchanging: boolean,
  number: number,
): boolean {
  const allowed = PERMITTED[phase][role]
  return within(allowed, number) && (!exchanging || within(EXCHANGING, number))
}

/** Whether we know what `number` means at all; if not, UNIMPLEMENTED is the answer. */
export function isKnown(number: number): boolean {
  return (
    (number >= MSG.DISCONNECT && number <= MSG.EXT_INFO) ||
    within(EXCHANGE, number) ||
    within(USERAUTH, number) ||
    within(CONNECTION, number) ||
    within(PING, number)
  )
}

function within(ranges: Ranges, number: number): boolean {
  return ranges.some(([first, last]) => number >= first && number <= last)
}
