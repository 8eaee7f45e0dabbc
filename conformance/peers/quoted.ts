// Command lines inside command lines.

/** One that a shell reads as these words, with these variables in its environment. */
export function quoted(
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): string {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${word(value)}`)
  const prefix = variables.length === 0 ? [] : ['/usr/bin/env', ...variables]
  return [...prefix, ...command.map(word)].join(' ')
}

const word = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`
