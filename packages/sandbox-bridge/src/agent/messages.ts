/**
 * Every message of the agent protocol, generation 7: type, direction, flags, the generation that
 * brought it, and its payload. Field names are the wire's own. Fields marked *extension* are ours:
 * optional, written only to guests that announce them in `core.ready`, ignored by every other.
 */
import type { CoreErrorKind, ExecFailureKind } from './error.ts'
import { SESSION_START, SHUTDOWN, TERMINAL } from './frame.ts'
import {
  bool,
  bytes,
  type Codec,
  defaulted,
  i32,
  i64,
  list,
  mapOf,
  name,
  nothing,
  type OneOf,
  omitted,
  option,
  struct,
  text,
  u16,
  u32,
  u64,
  variant,
  wideU64,
} from './payload.ts'

/** The generation this code speaks, stamped on every frame of a current connection. */
export const GENERATION = 7

/** What a guest can do beyond generation 7; see `Ready.features`. */
export type Feature =
  /** `core.ping.after`: an acknowledgement of one session's input, not of the whole carrier. */
  | 'input-ack'
  /** `window` and `core.ping.credit`: output is sent only as far as it was asked for. */
  | 'window'
  /** `core.exec.exited.signal`. */
  | 'exit-signal'
  /** `core.exec.request.modes`. */
  | 'pty-modes'
  /** `exec.request` may name a variable that tells the program its terminal. */
  | 'tty-env'

/** `core.ready`: the guest's first word, cached by the relay for every client. */
export interface Ready {
  readonly boot_time_ns: number | bigint
  readonly init_time_ns: number | bigint
  readonly ready_time_ns: number | bigint
  readonly agent_version?: string | undefined
  /** Extension: names of `Feature`; absent on microsandbox's agent. */
  readonly features?: readonly string[] | undefined
  /**
   * Extension: the user the guest itself runs as, and his home as it sees it. One that is not root
   * can run programs as nobody else.
   */
  readonly user?: ReadyUser | undefined
}

/** The guest's own user. */
export interface ReadyUser {
  readonly uid: number
  readonly gid: number
  readonly home: string
}

/** The guest tells whom its commands run as by default. */
export interface InitResolved {
  readonly default_user: { readonly uid: number; readonly gid: number }
  /** Our own guest: it has heard no bootstrap yet, so this answers none. */
  readonly unasked?: boolean | undefined
}

/** Asks for a sign of life, or with an extension for more; answered by `core.pong`. */
export interface Ping {
  /** Extension `input-ack`: answer once all input of this session has been taken, or it ended. */
  readonly after?: number | undefined
  /** Extension `window`: the session that may send `credit` more bytes of output. */
  readonly session?: number | undefined
  readonly credit?: number | undefined
}

/** How often the guest has been active, for idle timeouts. */
export interface Touched {
  readonly activity_seq: number
}

/** The host tells the time, in nanoseconds since 1970. */
export interface ClockSync {
  readonly unix_time_nanos: number | bigint
}

/** The relay tells that a client is gone: its range of ids is free. */
export interface ClientDisconnected {
  readonly id_start: number
  readonly id_end_exclusive: number
}

/** Answer to a message that the guest could not take. */
export interface CoreError {
  readonly kind: CoreErrorKind
  readonly message: string
  readonly offending_type?: string | undefined
}

/** A resource limit; 2^64 - 1 is "no limit". */
export interface ResourceLimit {
  readonly resource: string
  readonly soft: number | bigint
  readonly hard: number | bigint
}

/** Starts a program. */
export interface ExecRequest {
  readonly cmd: string
  readonly args: readonly string[]
  /** `NAME=value`; entries without `=` are dropped by the guest. */
  readonly env: readonly string[]
  readonly cwd?: string | undefined
  /** `USER[:GROUP]`, names or numbers. */
  readonly user?: string | undefined
  readonly tty: boolean
  readonly rows: number
  readonly cols: number
  readonly rlimits: readonly ResourceLimit[]
  /** Extension `pty-modes`: names of RFC 4254 §8 (`ECHO`, `VINTR`, `TTY_OP_OSPEED`) to values. */
  readonly modes?: ReadonlyMap<string, number> | undefined
  /** Extension: size in pixels. */
  readonly xpixel?: number | undefined
  readonly ypixel?: number | undefined
  /** Extension `tty-env`: the variable that is set to the path of the terminal. */
  readonly tty_env?: string | undefined
  /** Extension `window`: bytes of output the guest may send before more credit comes. */
  readonly window?: number | undefined
}

/** The program runs, under this process id in the guest. */
export interface ExecStarted {
  readonly pid: number
}

/** The program takes no more input. */
export interface StdinError {
  readonly errno?: number | undefined
  readonly errno_name?: string | undefined
  readonly message: string
}

/** The program has ended. */
export interface ExecExited {
  /** Exit status 0 to 255, or -1 for death by a signal. */
  readonly code: number
  /** Extension `exit-signal`: the signal's name without `SIG`. */
  readonly signal?: string | undefined
}

/** The program could not be started. */
export interface ExecFailed {
  readonly kind: ExecFailureKind
  readonly errno?: number | undefined
  readonly errno_name?: string | undefined
  readonly message: string
  readonly stage?: string | undefined
}

/** The terminal has a new size. */
export interface Resize {
  readonly rows: number
  readonly cols: number
  /** Extension: size in pixels. */
  readonly xpixel?: number | undefined
  readonly ypixel?: number | undefined
}

/** Bytes of a stream; empty is the end of stdin and of a write stream. */
export interface Data {
  readonly data: Uint8Array
}

/** What may be changed about a file; times are whole seconds since 1970. */
export interface Attributes {
  readonly mode?: number | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  readonly size?: number | undefined
  readonly atime?: number | undefined
  readonly mtime?: number | undefined
}

/** How to open a file; `create_new` implies create and exclusive. */
export interface OpenOptions {
  readonly read: boolean
  readonly write: boolean
  readonly append: boolean
  readonly create: boolean
  readonly truncate: boolean
  readonly create_new: boolean
  readonly mode?: number | undefined
}

/** The filesystem operations and their fields. */
export interface FsOps {
  readonly RealPath: { readonly path: string }
  readonly Stat: { readonly path: string; readonly follow_symlink: boolean }
  readonly SetStat: {
    readonly path: string
    readonly follow_symlink: boolean
    readonly attrs: Attributes
  }
  readonly List: { readonly path: string }
  readonly ReadLink: { readonly path: string }
  readonly Symlink: { readonly target: string; readonly link_path: string }
  readonly Mkdir: { readonly path: string; readonly mode?: number | undefined }
  readonly Remove: { readonly path: string }
  readonly RemoveDir: { readonly path: string; readonly recursive: boolean }
  readonly Copy: { readonly src: string; readonly dst: string }
  readonly Rename: { readonly src: string; readonly dst: string }
  readonly OpenFile: { readonly path: string; readonly options: OpenOptions }
  readonly OpenDir: { readonly path: string }
  readonly CloseHandle: { readonly handle: number }
  readonly Read: {
    readonly handle: number
    readonly offset: number
    readonly len?: number | undefined
  }
  readonly Write: {
    readonly handle: number
    readonly offset: number
    readonly len?: number | undefined
  }
  readonly ReadDir: { readonly handle: number; readonly limit?: number | undefined }
  readonly FStat: { readonly handle: number }
  readonly FSetStat: { readonly handle: number; readonly attrs: Attributes }
}

/** One operation on files: an object with the operation as its only key. */
export type FsOp = OneOf<FsOps>

/** A file as the guest sees it. `mode` is the whole `st_mode`, type bits included. */
export interface FsEntry {
  readonly path: string
  readonly kind: 'file' | 'dir' | 'symlink' | 'other'
  readonly size: number
  readonly mode: number
  readonly modified?: number | undefined
  readonly uid: number
  readonly gid: number
  readonly atime?: number | undefined
  readonly mtime?: number | undefined
}

/** What an operation on files may give back. */
export interface FsData {
  readonly Stat: FsEntry
  readonly List: readonly FsEntry[]
  readonly Handle: number
  readonly Path: string
}

/** Asks for an operation on files. */
export interface FsRequest {
  readonly op: FsOp
}

/** Its outcome; `error` is text for people. */
export interface FsResponse {
  readonly ok: boolean
  readonly error?: string | undefined
  readonly data?: OneOf<FsData> | undefined
}

/** Opens a connection as the guest sees the network. */
export interface TcpConnect {
  readonly host: string
  readonly port: number
  /** Extension `window`: bytes the guest may send before more credit comes. */
  readonly window?: number | undefined
}

/** The connection could not be opened. */
export interface TcpFailed {
  readonly error: string
}

/** `core.bootstrap`: what the relay tells the guest at boot; nobody here looks into it. */
export interface Bootstrap {
  readonly fields: unknown
}

/** No fields. */
export type Nothing = Record<string, never>

/** Payload by wire type. */
export interface Payloads {
  readonly 'core.bootstrap': Bootstrap
  readonly 'core.init.resolved': InitResolved
  readonly 'core.init.ack': Nothing
  readonly 'core.ready': Ready
  readonly 'core.shutdown': null
  readonly 'core.relay.client.disconnected': ClientDisconnected
  readonly 'core.clock.sync': ClockSync
  readonly 'core.ping': Ping
  readonly 'core.pong': Nothing
  readonly 'core.touch': Nothing
  readonly 'core.touched': Touched
  readonly 'core.error': CoreError
  readonly 'core.exec.request': ExecRequest
  readonly 'core.exec.started': ExecStarted
  readonly 'core.exec.stdin': Data
  readonly 'core.exec.stdin.error': StdinError
  readonly 'core.exec.stdout': Data
  readonly 'core.exec.stderr': Data
  readonly 'core.exec.exited': ExecExited
  readonly 'core.exec.failed': ExecFailed
  readonly 'core.exec.resize': Resize
  readonly 'core.exec.signal': { readonly signal: number }
  readonly 'core.fs.request': FsRequest
  readonly 'core.fs.response': FsResponse
  readonly 'core.fs.data': Data
  readonly 'core.tcp.connect': TcpConnect
  readonly 'core.tcp.connected': Nothing
  readonly 'core.tcp.data': Data
  readonly 'core.tcp.eof': Nothing
  readonly 'core.tcp.close': Nothing
  readonly 'core.tcp.closed': Nothing
  readonly 'core.tcp.failed': TcpFailed
}

/** Names of all messages. */
export type MessageType = keyof Payloads

/** Types whose payload is one byte string; they are framed in place. */
export type DataType =
  | 'core.exec.stdin'
  | 'core.exec.stdout'
  | 'core.exec.stderr'
  | 'core.fs.data'
  | 'core.tcp.data'

/** One message with its id; a union over `type`. */
export type Message = {
  readonly [T in MessageType]: {
    readonly id: number
    readonly type: T
    readonly payload: Payloads[T]
  }
}[MessageType]

/** What is fixed about a type. */
export interface MessageSpec<T> {
  /** The only flags a frame of this type may carry. */
  readonly flags: number
  /** First generation that knows the type. */
  readonly generation: number
  /** Who may send it; the other side ignores it. */
  readonly from: 'host' | 'guest' | 'both' | 'relay'
  readonly payload: Codec<T>
}

const attributes = struct<Attributes>({
  mode: option(u32),
  uid: option(u32),
  gid: option(u32),
  size: option(u64),
  atime: option(i64),
  mtime: option(i64),
})

const openOptions = struct<OpenOptions>({
  read: bool,
  write: bool,
  append: bool,
  create: bool,
  truncate: bool,
  create_new: bool,
  mode: option(u32),
})

const fsOp: Codec<FsOp> = variant<FsOps>({
  RealPath: struct<FsOps['RealPath']>({ path: text }),
  Stat: struct<FsOps['Stat']>({ path: text, follow_symlink: bool }),
  SetStat: struct<FsOps['SetStat']>({ path: text, follow_symlink: bool, attrs: attributes }),
  List: struct<FsOps['List']>({ path: text }),
  ReadLink: struct<FsOps['ReadLink']>({ path: text }),
  Symlink: struct<FsOps['Symlink']>({ target: text, link_path: text }),
  Mkdir: struct<FsOps['Mkdir']>({ path: text, mode: option(u32) }),
  Remove: struct<FsOps['Remove']>({ path: text }),
  RemoveDir: struct<FsOps['RemoveDir']>({ path: text, recursive: bool }),
  Copy: struct<FsOps['Copy']>({ src: text, dst: text }),
  Rename: struct<FsOps['Rename']>({ src: text, dst: text }),
  OpenFile: struct<FsOps['OpenFile']>({ path: text, options: openOptions }),
  OpenDir: struct<FsOps['OpenDir']>({ path: text }),
  CloseHandle: struct<FsOps['CloseHandle']>({ handle: u64 }),
  Read: struct<FsOps['Read']>({ handle: u64, offset: u64, len: option(u64) }),
  Write: struct<FsOps['Write']>({ handle: u64, offset: u64, len: option(u64) }),
  ReadDir: struct<FsOps['ReadDir']>({ handle: u64, limit: option(u32) }),
  FStat: struct<FsOps['FStat']>({ handle: u64 }),
  FSetStat: struct<FsOps['FSetStat']>({ handle: u64, attrs: attributes }),
})

const fsEntry = struct<FsEntry>({
  path: text,
  kind: name('file', 'dir', 'symlink', 'other'),
  size: u64,
  mode: u32,
  modified: option(i64),
  uid: u32,
  gid: u32,
  atime: option(i64),
  mtime: option(i64),
})

const data = struct<Data>({ data: bytes })

/** Start, end, plain: the three sets of flags. */
const START = SESSION_START
const END = TERMINAL

/** The whole protocol, by wire type. */
export const messages: { readonly [T in MessageType]: MessageSpec<Payloads[T]> } = {
  'core.bootstrap': spec('relay', 0, 7, {
    toCbor: ({ fields }) => fields,
    fromCbor: (fields) => ({ fields }),
  }),
  'core.init.resolved': spec(
    'guest',
    0,
    1,
    struct<InitResolved>({
      default_user: struct({ uid: u32, gid: u32 }),
      unasked: omitted(bool),
    }),
  ),
  'core.init.ack': spec('relay', 0, 1, nothing),
  'core.ready': spec(
    'guest',
    0,
    1,
    struct<Ready>({
      boot_time_ns: wideU64,
      init_time_ns: wideU64,
      ready_time_ns: wideU64,
      agent_version: omitted(text),
      features: omitted(list(text)),
      user: omitted(struct<ReadyUser>({ uid: u32, gid: u32, home: text })),
    }),
  ),
  'core.shutdown': spec('host', SHUTDOWN, 1, { toCbor: () => null, fromCbor: () => null }),
  'core.relay.client.disconnected': spec(
    'relay',
    0,
    1,
    struct<ClientDisconnected>({ id_start: u32, id_end_exclusive: u32 }),
  ),
  'core.clock.sync': spec('relay', 0, 1, struct<ClockSync>({ unix_time_nanos: wideU64 })),
  'core.ping': spec(
    'host',
    0,
    6,
    struct<Ping>({ after: omitted(u32), session: omitted(u32), credit: omitted(u32) }),
  ),
  'core.pong': spec('guest', END, 6, nothing),
  'core.touch': spec('host', 0, 6, nothing),
  'core.touched': spec('guest', END, 6, struct<Touched>({ activity_seq: u64 })),
  'core.error': spec(
    'guest',
    END,
    5,
    struct<CoreError>({
      kind: name<CoreErrorKind>(
        'malformed_message',
        'unsupported_message_type',
        'unsupported_protocol_generation',
        'invalid_flags',
        'invalid_payload',
        'invalid_session',
      ),
      message: text,
      offending_type: omitted(text),
    }),
  ),
  'core.exec.request': spec(
    'host',
    START,
    1,
    struct<ExecRequest>({
      cmd: text,
      args: defaulted(list(text), []),
      env: defaulted(list(text), []),
      cwd: option(text),
      user: option(text),
      tty: defaulted(bool, false),
      rows: defaulted(u16, 24),
      cols: defaulted(u16, 80),
      rlimits: defaulted(
        list(struct<ResourceLimit>({ resource: text, soft: wideU64, hard: wideU64 })),
        [],
      ),
      modes: omitted(mapOf(u32)),
      xpixel: omitted(u16),
      ypixel: omitted(u16),
      tty_env: omitted(text),
      window: omitted(u32),
    }),
  ),
  'core.exec.started': spec('guest', 0, 1, struct<ExecStarted>({ pid: u32 })),
  'core.exec.stdin': spec('host', 0, 1, data),
  'core.exec.stdin.error': spec(
    'guest',
    0,
    1,
    struct<StdinError>({ errno: option(i32), errno_name: option(text), message: text }),
  ),
  'core.exec.stdout': spec('guest', 0, 1, data),
  'core.exec.stderr': spec('guest', 0, 1, data),
  'core.exec.exited': spec(
    'guest',
    END,
    1,
    struct<ExecExited>({ code: i32, signal: omitted(text) }),
  ),
  'core.exec.failed': spec(
    'guest',
    END,
    1,
    struct<ExecFailed>({
      kind: name<ExecFailureKind>(
        'not_found',
        'permission_denied',
        'not_executable',
        'bad_cwd',
        'bad_args',
        'resource_limit',
        'user_setup_failed',
        'out_of_memory',
        'pty_setup_failed',
        'other',
      ),
      errno: option(i32),
      errno_name: option(text),
      message: text,
      stage: option(text),
    }),
  ),
  'core.exec.resize': spec(
    'host',
    0,
    1,
    struct<Resize>({ rows: u16, cols: u16, xpixel: omitted(u16), ypixel: omitted(u16) }),
  ),
  'core.exec.signal': spec('host', 0, 1, struct<{ readonly signal: number }>({ signal: i32 })),
  'core.fs.request': spec('host', START, 2, struct<FsRequest>({ op: fsOp })),
  'core.fs.response': spec(
    'guest',
    END,
    2,
    struct<FsResponse>({
      ok: bool,
      error: option(text),
      data: option(
        variant<FsData>({ Stat: fsEntry, List: list(fsEntry), Handle: u64, Path: text }),
      ),
    }),
  ),
  'core.fs.data': spec('both', 0, 2, data),
  'core.tcp.connect': spec(
    'host',
    START,
    4,
    struct<TcpConnect>({ host: text, port: u16, window: omitted(u32) }),
  ),
  'core.tcp.connected': spec('guest', 0, 4, nothing),
  'core.tcp.data': spec('both', 0, 4, data),
  'core.tcp.eof': spec('both', 0, 4, nothing),
  'core.tcp.close': spec('host', 0, 4, nothing),
  'core.tcp.closed': spec('guest', END, 4, nothing),
  'core.tcp.failed': spec('guest', END, 4, struct<TcpFailed>({ error: text })),
}

function spec<T>(
  from: MessageSpec<T>['from'],
  flags: number,
  generation: number,
  payload: Codec<T>,
): MessageSpec<T> {
  return { from, flags, generation, payload }
}

/** True for a type of this protocol; an own key of the table, whatever the peer sent. */
export function isMessageType(type: string): type is MessageType {
  return Object.hasOwn(messages, type)
}
