/** From the words after `--` to the one command string that SSH has. */

/**
 * A single word is a command line for the remote shell, as it is. Several words are a program and
 * its arguments: each is quoted, so that it arrives as it was typed here and the local shell has
 * left it, whatever the remote shell would make of it.
 */
export function commandLine(words: readonly string[]): string {
  const [first = '', ...rest] = words
  return rest.length === 0 ? first : words.map(quote).join(' ')
}

/** One word for a POSIX shell. Plain words too: unquoted, `time` or `if` would be syntax. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}
