/**
 * Text of a peer for an error, a log or a trace: one line without control and format characters (no
 * escape sequences, nothing that turns the writing round), cut to `charactersMax`.
 */
export function printable(text: string, charactersMax = 300): string {
  return text.replace(/\p{C}+/gu, ' ').slice(0, charactersMax)
}
