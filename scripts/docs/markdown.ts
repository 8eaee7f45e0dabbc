// Markdown as HTML: headings get anchors, links are turned by the caller, and code in the text that
// is the name of an export leads to its entry.

import { Marked, type Tokens } from 'marked'
import { escapeHtml, highlight, type NameLink } from './highlight.ts'

/** A heading of a page. */
export interface Heading {
  readonly level: number
  readonly id: string
  readonly html: string
}

/** A page as HTML. */
export interface Rendered {
  readonly html: string
  readonly headings: readonly Heading[]
}

/** How to render. */
export interface RenderOptions {
  /** The target of a link as it is to be on the page; undefined to leave plain text. */
  readonly link: (href: string) => string | undefined
  readonly name: NameLink
}

/** Renders a text. */
export function renderMarkdown(text: string, { link, name }: RenderOptions): Rendered {
  const headings: Heading[] = []
  const ids = new Map<string, number>()
  const marked = new Marked({
    renderer: {
      heading({ tokens, depth, text: raw }: Tokens.Heading): string {
        const id = uniqueSlug(raw, ids)
        const html = this.parser.parseInline(tokens)
        headings.push({ level: depth, id, html })
        return `<h${depth} id="${id}">${html}${anchor(id)}</h${depth}>\n`
      },
      code({ text: code, lang }: Tokens.Code): string {
        return codeBlock(code, lang?.split(' ')[0] ?? '', name)
      },
      codespan({ text: code }: Tokens.Codespan): string {
        const href = name(code.replace(/\(\)$/, ''))
        const html = `<code>${escapeHtml(code)}</code>`
        return href === undefined ? html : `<a class="name" href="${href}">${html}</a>`
      },
      link({ href, tokens }: Tokens.Link): string {
        // A link in a link is none; the outer one counts.
        const html = this.parser.parseInline(tokens).replaceAll(/<\/?a\b[^>]*>/g, '')
        const target = link(href)
        return target === undefined ? html : `<a href="${escapeHtml(target)}">${html}</a>`
      },
      image({ text: alternative }: Tokens.Image): string {
        return escapeHtml(alternative)
      },
      html({ text: html }: Tokens.HTML | Tokens.Tag): string {
        return escapeHtml(html)
      },
    },
  })
  const html = (marked.parse(text) as string)
    .replaceAll('<table>', '<div class="scroll"><table>')
    .replaceAll('</table>', '</table></div>')
  return { html, headings }
}

/** A block of code. */
export function codeBlock(code: string, language: string, name: NameLink): string {
  return `<pre><code>${highlight(code, language, name)}</code></pre>\n`
}

/** The mark behind a heading that leads to itself. */
export function anchor(id: string): string {
  return `<a class="anchor" href="#${id}" aria-label="link to this part">#</a>`
}

function uniqueSlug(text: string, ids: Map<string, number>): string {
  // As forges make them, so that links work in both places.
  const slug = text
    .toLowerCase()
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')
  const count = ids.get(slug) ?? 0
  ids.set(slug, count + 1)
  return count === 0 ? slug : `${slug}-${count}`
}
