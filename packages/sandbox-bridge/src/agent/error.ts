/** What can go wrong between us and the guest agent, as one error class. */
import { SshError, type SshErrorCode } from '@sandbox-ssh/protocol'

/** Why a program could not be started; `core.exec.failed.kind`. */
export type ExecFailureKind =
  | 'not_found'
  | 'permission_denied'
  | 'not_executable'
  | 'bad_cwd'
  | 'bad_args'
  | 'resource_limit'
  | 'user_setup_failed'
  | 'out_of_memory'
  | 'pty_setup_failed'
  | 'other'

/** What the agent says about a message it could not use; `core.error.kind`. */
export type CoreErrorKind =
  | 'malformed_message'
  | 'unsupported_message_type'
  | 'unsupported_protocol_generation'
  | 'invalid_flags'
  | 'invalid_payload'
  | 'invalid_session'

/** Every reason an agent operation can fail; switch on it, never on the message. */
export type AgentErrorKind =
  | ExecFailureKind
  | CoreErrorKind
  /** A filesystem operation failed in the guest; see `errno`. */
  | 'fs'
  /** A TCP connection could not be made, or broke; see `errno`. */
  | 'tcp'
  /** The sandbox's agent is too old for this; nothing was sent. */
  | 'unsupported'
  /** The agent sent something that is not the agent protocol. */
  | 'protocol'
  /** The carrier ended, or the client was closed, while this was under way. */
  | 'closed'
  /** The relay handshake took too long. */
  | 'timeout'
  /** An AbortSignal fired. */
  | 'aborted'
  /** A bound on what we hold for the guest was reached. */
  | 'limit'

/** What else an AgentError knows. */
export interface AgentErrorOptions {
  /** Linux error number, where the agent told one. */
  readonly errno?: number | undefined
  readonly cause?: unknown
}

/**
 * An operation of the guest agent failed, or the agent is gone.
 *
 * @example
 * import { AgentError, sandbox } from '@sandbox-ssh/sandbox-bridge'
 *
 * await using agent = await sandbox('local:devbox').connectAgent()
 * const asked = agent.fs('Stat', { path: '/nowhere', follow_symlink: true })
 * const error = await asked.catch((caught: unknown) => caught)
 * console.log(error instanceof AgentError && error.kind) // …
 */
export class AgentError extends SshError {
  override readonly name = 'AgentError'
  readonly kind: AgentErrorKind
  /** Linux error number (`ENOENT` is 2), if one was given. */
  readonly errno: number | undefined

  constructor(kind: AgentErrorKind, message: string, options: AgentErrorOptions = {}) {
    super(codeOf(kind), message, options.cause === undefined ? undefined : { cause: options.cause })
    this.kind = kind
    this.errno = options.errno
  }
}

/**
 * The Linux error number in one of the agent's texts, `stat: No such file (os error 2)`. The words
 * come from whichever C library the agent was linked with; the number is what can be relied on.
 */
export function parseErrno(text: string): number | undefined {
  // The last one counts: a path quoted in the text may contain the same words.
  const at = text.lastIndexOf('(os error ')
  const match = at < 0 ? null : /^\(os error (\d{1,5})\)/.exec(text.slice(at, at + 17))
  return match?.[1] === undefined ? undefined : Number(match[1])
}

function codeOf(kind: AgentErrorKind): SshErrorCode {
  switch (kind) {
    case 'protocol':
      return 'SSH_PROTOCOL'
    case 'closed':
      return 'SSH_CONNECTION_LOST'
    case 'timeout':
      return 'SSH_TIMEOUT'
    case 'aborted':
      return 'SSH_ABORTED'
    case 'limit':
      return 'SSH_LIMIT'
    default:
      return 'SSH_REQUEST_REFUSED'
  }
}
