// Why a peer is not tried with something, said once for several rows.

/** The same reason for each of the rows. */
export function because(why: string, rows: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(rows.map((row) => [row, why]))
}

/** Certificates that must not be taken. */
export const userCertificates = [
  'a user certificate that has expired is refused',
  'a user certificate for another name is refused',
] as const

/** The same, of hosts. */
export const hostCertificates = [
  'a host certificate that has expired is refused',
  'a host certificate for another name is refused',
] as const

/** Forwards of Unix sockets. */
export const unixSockets = ['-L to a Unix socket', '-R of a Unix socket'] as const

/** Questions. */
export const questions = [
  'several questions in several rounds',
  'a wrong answer in the last round is refused',
] as const

/** What the keys of a connection are renewed by. */
export const peerRekeys = 'keys exchanged anew by the peer several times under load'
