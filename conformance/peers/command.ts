// The commands that servers without a shell run in the trials.

/** What a command does. */
export interface Command {
  /** Whether it sends back what it reads. */
  readonly copies: boolean
  /** Its exit status. */
  readonly code: number
}

/** Takes `cat`, `exit N` and `cat; exit N`, with the meaning that they have in a shell. */
export function parseCommand(text: string): Command | undefined {
  const match = /^(?:(cat)|(?:(cat); )?exit (\d+))$/.exec(text)
  if (match === null) return undefined
  return { copies: match[1] !== undefined || match[2] !== undefined, code: Number(match[3] ?? 0) }
}
