// The reference page of an entry of a package.

import type { ApiEntry, ApiExport, ApiMember } from './api.ts'
import type { DocExample } from './doc-comment.ts'
import { escapeHtml, highlight } from './highlight.ts'
import { anchor, codeBlock, type Rendered, type RenderOptions, renderMarkdown } from './markdown.ts'
import { topicsOf } from './topics.ts'

/** A place that shows how something is used. */
export interface Showing {
  readonly title: string
  readonly href: string
}

/** The file name of an entry's page. */
export function apiPageName(specifier: string): string {
  return `api-${specifier.replace('@sandbox-ssh/', '').replaceAll('/', '-')}.html`
}

/** Renders the page; `showings` are places other than the entry itself. */
export function renderApiPage(
  entry: ApiEntry,
  options: RenderOptions,
  showings: (name: string) => readonly Showing[],
): Rendered {
  const topics = topicsOf(entry).map((topic) => ({ ...topic, id: slug(topic.title) }))
  const contents = topics
    .map(
      ({ title, id, exports }) =>
        `<p><a class="topic" href="#${id}">${title}</a> ${exports.map(mention).join(' ')}</p>`,
    )
    .join('\n')
  const parts = topics.map(
    ({ title, id, exports }) =>
      `<h2 id="${id}">${title}${anchor(id)}</h2>\n` +
      exports.map((each) => renderExport(each, options, showings(each.name))).join(''),
  )
  const html =
    `<h1>${escapeHtml(entry.specifier)}</h1>\n${renderMarkdown(entry.doc.text, options).html}` +
    entry.doc.examples.map((example) => renderExample(example, options)).join('') +
    `<div class="contents">${contents}</div>\n${parts.join('')}`
  const headings = topics.map(({ title, id }) => ({ level: 2, id, html: title }))
  return { html, headings }
}

function mention({ name, kind }: ApiExport): string {
  return `<a class="${kind}" href="#${name}">${name}</a>`
}

function renderExport(
  { name, kind, signatures, doc, members, file }: ApiExport,
  options: RenderOptions,
  showings: readonly Showing[],
): string {
  const others = showings
    .map(({ title, href }) => `<a href="${href}">${escapeHtml(title)}</a>`)
    .join(', ')
  return [
    `<section class="export" id="${name}">`,
    `<h3><code>${name}</code> <span class="kind">${kind}</span>${anchor(name)}</h3>`,
    ...signatures
      // The heading has said as much as a bare `interface Name`.
      .filter((text) => text !== '' && text !== `${kind} ${name}`)
      .map((text) => `<pre class="signature"><code>${code(text, options)}</code></pre>`),
    renderMarkdown(doc.text, options).html,
    ...doc.examples.map((example) => renderExample(example, options)),
    members.length === 0 ? '' : renderMembers(name, members, options),
    `<p class="source">${others === '' ? '' : `Shown in ${others}. `}Source: ${file}</p>`,
    '</section>\n',
  ].join('\n')
}

function renderExample({ code: text }: DocExample, { name }: RenderOptions): string {
  return `<div class="example">${codeBlock(text, 'ts', name)}</div>`
}

function renderMembers(
  owner: string,
  members: readonly ApiMember[],
  options: RenderOptions,
): string {
  const visible = members.filter(({ doc }) => !doc.text.startsWith('Internal'))
  const rows = visible.map(({ name, signature, doc }) => {
    const id = `${owner}.${name.replaceAll(/\W/g, '')}`
    return [
      `<dt id="${id}"><code>${code(signature, options)}</code></dt>`,
      `<dd>${renderMarkdown(doc.text, options).html}`,
      ...doc.examples.map((example) => renderExample(example, options)),
      '</dd>',
    ].join('')
  })
  return `<dl class="members">${rows.join('\n')}</dl>`
}

function code(text: string, { name }: RenderOptions): string {
  // Members are indented in their declaration; what goes on over lines keeps its shape.
  const indent = /\n( +)[})\]]/.exec(text)?.[1] ?? ''
  return highlight(indent === '' ? text : text.replaceAll(`\n${indent}`, '\n'), 'ts', name)
}

function slug(title: string): string {
  return `topic-${title.toLowerCase().replaceAll(/\W+/g, '-')}`
}
