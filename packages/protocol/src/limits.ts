/**
 * Every bound on what a peer may make us hold, do or wait for, with unit and source.
 * No queue and no loop over peer input exists without one of these.
 */

/** Longest identification line, including CR LF. RFC 4253 §4.2. */
export const VERSION_LINE_BYTES_MAX: number = 255
/**
 * How long a server waits for the client to identify itself first, so that it can answer in kind.
 * Clients that wait for the server in turn lose this much and no more.
 */
export const GREETING_MS: number = 250
/** Lines a server may send before its identification. OpenSSH allows 1024. */
export const VERSION_BANNER_LINES_MAX: number = 1024
/** Longest such line; RFC 4253 sets none, OpenSSH 8192. */
export const VERSION_BANNER_LINE_BYTES_MAX: number = 8192
/** Largest `packet_length` accepted. RFC 4253 §6.1 asks for 35000 at least; OpenSSH takes 256 KiB. */
export const PACKET_BYTES_MAX: number = 256 * 1024
/** Longest name-list. The longest real ones are about 1 KiB. */
export const NAME_LIST_BYTES_MAX: number = 16 * 1024
/** Names in one list. */
export const NAME_LIST_NAMES_MAX: number = 512
/** Channel window we grant. */
export const WINDOW_BYTES: number = 2 * 1024 * 1024
/** The widest window a channel may be given on request. */
export const WINDOW_BYTES_MAX: number = 64 * 1024 * 1024
/**
 * Largest CHANNEL_DATA payload we accept. OpenSSH's server fills it where data is plenty, and each
 * packet costs the setting up of a cipher at both ends.
 */
export const CHANNEL_PACKET_BYTES: number = 128 * 1024
/** The most we send in one, so that a keystroke never waits long for its turn. RFC 4253 §6.1. */
export const CHANNEL_SEND_BYTES: number = 32 * 1024
/** Channels open at once on one connection. */
export const CHANNELS_MAX: number = 256
/** Requests of ours waiting for a reply, per channel and global. */
export const PENDING_REQUESTS_MAX: number = 256
/** Requests of the peer waiting for our answer, per connection. Past it, disconnect. */
export const UNANSWERED_REQUESTS_MAX: number = 256
/** Ports and sockets that a server listens on for one client. */
export const FORWARDS_MAX: number = 64
/** Connections that a listener keeps waiting to be accepted; more are refused, as by a socket. */
export const BACKLOG_MAX: number = 64
/** Failed authentication attempts on a server. OpenSSH's MaxAuthTries is 6. */
export const AUTH_FAILURES_MAX: number = 6
/** Requests of any kind before authentication ends, so that probing keys is bounded too. */
export const AUTH_REQUESTS_MAX: number = 64
/** Unsent output at which `sendData` stops granting; control messages still pass. */
export const OUTPUT_BYTES_SOFT: number = 512 * 1024
/** Unsent output at which the peer is provoking replies without reading them: disconnect. */
export const OUTPUT_BYTES_HARD: number = 8 * 1024 * 1024
/** EXT_INFO messages of one peer: RFC 8308 §2.4 knows two, the second during authentication. */
export const EXT_INFOS_MAX: number = 2
/** From the first byte to the end of key exchange and authentication. OpenSSH's LoginGraceTime. */
export const HANDSHAKE_MS: number = 120_000
/** From the start to the peer's identification line. */
export const IDENTIFICATION_MS: number = 60_000
/** From the first NEWKEYS to the end of authentication. */
export const AUTHENTICATION_MS: number = 120_000
/** From CHANNEL_OPEN to its answer; a server may have to connect somewhere first. */
export const CHANNEL_OPEN_MS: number = 120_000
/** What a program has to end after TERM, and again after KILL. */
export const TERMINATE_GRACE_MS: number = 2000
/** From a request, global or on a channel, to its answer. */
export const REPLY_MS: number = 120_000
/** Key exchange, initial or repeated, from KEXINIT to NEWKEYS. */
export const KEY_EXCHANGE_MS: number = 60_000
/** Messages that may be held back while a re-exchange is under way. */
export const HELD_MESSAGES_MAX: number = 4096
/** Bytes of them: a peer can ask for long answers before it sends its own KEXINIT. */
export const HELD_BYTES_MAX: number = 4 * 1024 * 1024
/** Bytes after which keys are replaced. RFC 4253 §9. */
export const REKEY_BYTES: number = 1024 * 1024 * 1024
/** Packets after which keys are replaced, for every cipher. RFC 4344 §3.1 sets 2^31. */
export const REKEY_PACKETS: number = 2 ** 31
/** Time after which keys are replaced. RFC 4253 §9. */
export const REKEY_MS: number = 3_600_000
