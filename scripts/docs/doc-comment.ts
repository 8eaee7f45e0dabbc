// Doc comments as text: what they say, and their examples with the lines they stand on.

/** An example of a doc comment. */
export interface DocExample {
  readonly code: string
  /** Line of its first line, counted from the comment's first, which is 0. */
  readonly line: number
}

/** What a doc comment holds. */
export interface DocComment {
  /** Markdown, without the examples. */
  readonly text: string
  readonly examples: readonly DocExample[]
}

/** Takes a comment apart; `comment` begins with its slash and two stars. */
export function parseDocComment(comment: string): DocComment {
  const lines = comment
    .replace(/^\/\*\*/, '')
    .replace(/\s*\*\/$/, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, '').trimEnd())
  const text: string[] = []
  const examples: { code: string[]; line: number }[] = []
  lines.forEach((line, index) => {
    const tag = /^ ?@(\w+)\s*(.*)$/.exec(line)
    if (tag?.[1] === 'example') examples.push({ code: [], line: index + 1 })
    else if (tag !== null && examples.length === 0) text.push(`*${tag[1]}:* ${tag[2]}`)
    else if (examples.length > 0) examples.at(-1)?.code.push(line)
    else text.push(index === 0 ? line.trimStart() : line)
  })
  return {
    text: text.join('\n').trim(),
    examples: examples.map(({ code, line }) => ({ code: code.join('\n').trimEnd(), line })),
  }
}

/** All doc comments of a source with an example, each with the line it begins on (from 1). */
export function docExamplesOf(source: string): DocExample[] {
  const found: DocExample[] = []
  for (const { 0: comment, index } of source.matchAll(/^[ \t]*\/\*\*[\s\S]*?\*\//gm)) {
    const first = source.slice(0, index).split('\n').length
    for (const { code, line } of parseDocComment(comment.trimStart()).examples) {
      found.push({ code, line: first + line })
    }
  }
  return found
}
