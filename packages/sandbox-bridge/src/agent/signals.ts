/**
 * Linux signals by number. SSH names signals without `SIG` (RFC 4254 §6.10); the agent takes and
 * gives Linux numbers, which are those of x86 and ARM and of every guest that matters here.
 */

const NAMES: readonly string[] = [
  'HUP',
  'INT',
  'QUIT',
  'ILL',
  'TRAP',
  'ABRT',
  'BUS',
  'FPE',
  'KILL',
  'USR1',
  'SEGV',
  'USR2',
  'PIPE',
  'ALRM',
  'TERM',
  'STKFLT',
  'CHLD',
  'CONT',
  'STOP',
  'TSTP',
  'TTIN',
  'TTOU',
  'URG',
  'XCPU',
  'XFSZ',
  'VTALRM',
  'PROF',
  'WINCH',
  'IO',
  'PWR',
  'SYS',
]

const NUMBERS: ReadonlyMap<string, number> = new Map(NAMES.map((name, index) => [name, index + 1]))

/**
 * Name without `SIG` of a signal number 1 to 31, or undefined.
 *
 * @example
 * import { signalName, signalNumber } from '@sandbox-ssh/sandbox-bridge'
 *
 * console.log(signalName(15), signalNumber('SIGTERM'), signalNumber('INFO')) // TERM 15 undefined
 */
export function signalName(number: number): string | undefined {
  return NAMES[number - 1]
}

/**
 * Number of a signal named with or without `SIG`, or undefined for one Linux does not have.
 *
 * @example
 * import { signalNumber } from '@sandbox-ssh/sandbox-bridge'
 *
 * // The exit status that a shell gives to a program which was killed.
 * console.log(128 + (signalNumber('KILL') ?? 0), signalNumber('SIGMADEUP')) // 137 undefined
 */
export function signalNumber(name: string): number | undefined {
  return NUMBERS.get(name.startsWith('SIG') ? name.slice(3) : name)
}
