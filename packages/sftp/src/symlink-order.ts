/**
 * Which of SYMLINK's two strings is the link. The draft says the first; OpenSSH sends the target
 * first, and so do paramiko, Go, sshfs, PuTTY and libssh2, whoever they talk to. Some look at the
 * other side's identification and swap only for OpenSSH, whom we do not impersonate.
 */

/**
 * Peers that keep the draft's order: Erlang and Twisted always, the others towards anyone who does
 * not call himself OpenSSH.
 */
const DRAFT_ORDER = /^SSH-2\.0-(AsyncSSH|Erlang|ssh2js|libssh[_-]\d|Twisted|WinSCP)/i

/** `target-first` (OpenSSH) or `link-first` (the draft), by the peer's identification line. */
export function symlinkOrder(identification: string | undefined): 'target-first' | 'link-first' {
  return identification !== undefined && DRAFT_ORDER.test(identification)
    ? 'link-first'
    : 'target-first'
}
