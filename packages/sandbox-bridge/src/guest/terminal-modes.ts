/** SSH terminal modes (RFC 4254 §8) as arguments of stty(1), which knows how to set them. */

/** Modes that are a character: stty's name. */
const CHARACTERS: ReadonlyMap<string, string> = new Map([
  ['VINTR', 'intr'],
  ['VQUIT', 'quit'],
  ['VERASE', 'erase'],
  ['VKILL', 'kill'],
  ['VEOF', 'eof'],
  ['VEOL', 'eol'],
  ['VEOL2', 'eol2'],
  ['VSTART', 'start'],
  ['VSTOP', 'stop'],
  ['VSUSP', 'susp'],
  ['VREPRINT', 'rprnt'],
  ['VWERASE', 'werase'],
  ['VLNEXT', 'lnext'],
  ['VDISCARD', 'discard'],
  ['VSWTCH', 'swtch'],
])

/** Modes that are on or off, named alike by stty in lower case. */
const FLAGS: ReadonlySet<string> = new Set([
  'IGNPAR',
  'PARMRK',
  'INPCK',
  'ISTRIP',
  'INLCR',
  'IGNCR',
  'ICRNL',
  'IUCLC',
  'IXON',
  'IXANY',
  'IXOFF',
  'IMAXBEL',
  'IUTF8',
  'ISIG',
  'ICANON',
  'XCASE',
  'ECHO',
  'ECHOE',
  'ECHOK',
  'ECHONL',
  'NOFLSH',
  'TOSTOP',
  'IEXTEN',
  'ECHOCTL',
  'ECHOKE',
  'OPOST',
  'OLCUC',
  'ONLCR',
  'OCRNL',
  'ONOCR',
  'ONLRET',
  'PARENB',
  'PARODD',
])

/** Speeds that Linux has; 0 would hang the line up. */
const SPEEDS: ReadonlySet<number> = new Set([
  50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115200,
  230400, 460800, 500000, 576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000,
  3500000, 4000000,
])

/** Character value that switches a function off, RFC 4254 §8. */
const DISABLED = 255

/**
 * Arguments for `stty`. What Linux does not have is left out, as one unknown word would make stty
 * refuse them all.
 */
export function sttyArguments(modes: ReadonlyMap<string, number>): string[] {
  const words: string[] = []
  for (const [name, value] of modes) {
    const character = CHARACTERS.get(name)
    if (character !== undefined) {
      // In hexadecimal, because stty takes a single digit for the character itself.
      const code = value & 0xff
      words.push(character, code === DISABLED ? 'undef' : `0x${code.toString(16).padStart(2, '0')}`)
    } else if (FLAGS.has(name)) {
      words.push(`${value === 0 ? '-' : ''}${name.toLowerCase()}`)
    } else if (name === 'CS7' || name === 'CS8') {
      if (value !== 0) words.push(name.toLowerCase())
    } else if (name === 'TTY_OP_ISPEED' || name === 'TTY_OP_OSPEED') {
      if (SPEEDS.has(value))
        words.push(name === 'TTY_OP_ISPEED' ? 'ispeed' : 'ospeed', String(value))
    }
  }
  return words
}
