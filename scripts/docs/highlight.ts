// Code as HTML: keywords, strings, comments and numbers are told apart, and names that have a page
// become links. Enough for the languages of the samples, and no more.

const keywords = new Set(
  (
    'abstract as asserts async await break case catch class const continue declare default delete ' +
    'do else export extends false finally for from function get if implements import in infer ' +
    'instanceof interface is keyof let new null of private protected public readonly return ' +
    'satisfies set static super switch this throw true try type typeof undefined unique using ' +
    'var void while yield'
  ).split(' '),
)

const shellWords = new Set('case do done elif else esac export fi for if in then while'.split(' '))

/** Escapes text for HTML. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

/** Where a name leads, or undefined. */
export type NameLink = (name: string) => string | undefined

/** Code as HTML, without the `pre` around it. */
export function highlight(
  code: string,
  language: string,
  link: NameLink = () => undefined,
): string {
  switch (language) {
    case 'ts':
    case 'js':
    case 'json':
      return tokens(code, TYPESCRIPT, (text, kind) => {
        if (kind !== 'word') return marked(text, kind)
        if (keywords.has(text)) return marked(text, 'keyword')
        const href = link(text)
        return href === undefined ? escapeHtml(text) : `<a href="${href}">${escapeHtml(text)}</a>`
      })
    case 'console':
      return code.split('\n').map(consoleLine).join('\n')
    case 'sh':
    case 'bash':
      return shell(code)
    default:
      return escapeHtml(code)
  }
}

const TYPESCRIPT =
  /(?<comment>\/\/.*|\/\*[\s\S]*?\*\/)|(?<string>'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|(?<number>\b\d[\w.]*)|(?<word>[A-Za-z_$][\w$]*)/g

const SHELL =
  /(?<comment>(?<=^|\s)#.*)|(?<string>'[^']*'|"(?:\\.|[^"\\])*")|(?<number>(?<=\s)--?[\w-]+)|(?<word>[A-Za-z_]\w*)/gm

function shell(code: string): string {
  return tokens(code, SHELL, (text, kind) =>
    kind === 'word' ? (shellWords.has(text) ? marked(text, 'keyword') : text) : marked(text, kind),
  )
}

function consoleLine(line: string): string {
  const prompt = /^[$>] /.exec(line)?.[0]
  if (prompt === undefined) return `<span class="output">${escapeHtml(line)}</span>`
  return `<span class="prompt">${escapeHtml(prompt)}</span>${shell(line.slice(prompt.length))}`
}

function marked(text: string, kind: string): string {
  return `<span class="${kind}">${escapeHtml(text)}</span>`
}

function tokens(
  code: string,
  pattern: RegExp,
  show: (text: string, kind: string) => string,
): string {
  let html = ''
  let from = 0
  for (const match of code.matchAll(pattern)) {
    const kind = Object.entries(match.groups ?? {}).find(([, text]) => text !== undefined)?.[0]
    html += escapeHtml(code.slice(from, match.index)) + show(match[0], kind ?? '')
    from = match.index + match[0].length
  }
  return html + escapeHtml(code.slice(from))
}
