/** Every bound on what a peer may make us hold or do, with unit and source. */

/** Largest packet, without its length field, accepted and sent. OpenSSH's SFTP_MAX_MSG_LENGTH. */
export const PACKET_BYTES_MAX: number = 256 * 1024
/** Most data in one READ or WRITE, as OpenSSH has it: room is left for the header. */
export const DATA_BYTES_MAX: number = PACKET_BYTES_MAX - 1024
/** Data every server takes in one READ or WRITE. Draft 02 §3. */
export const DATA_BYTES_SAFE: number = 32 * 1024
/** Handles open at once in one session; the guest agent has the same limit. */
export const HANDLES_MAX: number = 1024
/** Requests of one session being worked on; reading stops until one is answered. */
export const REQUESTS_MAX: number = 128
/** Request and reply bytes of one session in memory at once; reading stops past it. */
export const IN_FLIGHT_BYTES_MAX: number = 4 * 1024 * 1024
/**
 * Window of a session's channel, so that a transfer is not held up by how far the peer is. What is
 * in flight has room in it.
 */
export const SESSION_WINDOW_BYTES: number = 4 * 1024 * 1024
/** Entries in one NAME reply. OpenSSH sends 100. */
export const READDIR_ENTRIES_MAX: number = 100
/** Bytes of one NAME reply, entries whole. */
export const READDIR_BYTES_MAX: number = 128 * 1024
/** Extension pairs in INIT or VERSION. */
export const EXTENSIONS_MAX: number = 64
/** Ids in one users-groups-by-id request. */
export const IDS_MAX: number = 4096
/** Symbolic links followed in one path before ELOOP, as Linux. */
export const SYMLINKS_MAX: number = 40
/** Names of users and groups remembered for `ls -l` lines. */
export const OWNER_NAMES_MAX: number = 1024
/** Longest path we look at. Linux's PATH_MAX is 4096; some room for other systems. */
export const PATH_BYTES_MAX: number = 32 * 1024
/** Names that the patterns of one scp command may match. */
export const SCP_MATCHES_MAX: number = 100_000
/** Levels of directories copied. OpenSSH's MAX_DIR_DEPTH. */
export const TREE_DEPTH_MAX: number = 64
/** Files of a tree copied at once, so that small ones do not wait for each other's round trips. */
export const TREE_FILES_AT_ONCE: number = 32
/** Most bytes `read` collects unless told otherwise. */
export const READ_BYTES_MAX: number = 1024 * 1024 * 1024
/** How long a client that ends its session waits for the server to end it too. */
export const CLOSE_MS: number = 10_000
